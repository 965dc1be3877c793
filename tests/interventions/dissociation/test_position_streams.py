"""Streams and scores by source position, against the source x source terms of QK attribution."""

from __future__ import annotations

import pytest
import torch

from circuit_tracer.attribution.qk import qk_attribution
from circuit_tracer.attribution.replacement import build_replacement
from circuit_tracer.interventions.dissociation.position_streams import score_terms, streams_from
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.opening import open_transcoders

PROMPT = "is a banana yellow ?"
OBJECT, VALUE, VERDICT = 3, 4, 5


@pytest.mark.parametrize("transcoders", ["plt", "clt"])
@pytest.mark.parametrize("query", [VALUE, VERDICT])
def test_object_x_value_terms_are_sums_of_qk_terms(transcoders: str, query: int) -> None:
    model = open_model("sprout", dtype="float64", device="cpu")
    dictionary = open_transcoders(transcoders, model=model)
    capture = model.capture(model.tokenize(PROMPT))
    frozen = build_replacement(capture, model.wiring, dictionary)
    found = score_terms(
        frozen,
        capture,
        model.wiring,
        source_of_query=VALUE,
        source_of_key=OBJECT,
        queries=(query,),
        key=OBJECT,
    )
    for layer, head in ((0, 1), (2, 3), (4, 0)):
        whole = qk_attribution(
            frozen, capture, model.wiring, layer=layer, head=head, query=query, key=OBJECT,
            against=[], n_terms=1_000_000,
        ).parts  # fmt: skip
        expected = sum(
            term.value
            for term in (*whole.positive, *whole.negative)
            if term.query.position == VALUE and term.key.position == OBJECT
        )
        assert float(found[layer, head, 0]) == pytest.approx(expected, abs=1e-8)


def test_streams_of_all_positions_and_constants_are_the_stream() -> None:
    """What no position's sources write is what the zeroed first position's MLPs and biases give."""
    model = open_model("sprout", dtype="float64", device="cpu")
    dictionary = open_transcoders("plt", model=model)
    capture = model.capture(model.tokenize(PROMPT))
    frozen = build_replacement(capture, model.wiring, dictionary)
    found = sum(
        streams_from(frozen, capture, model.wiring, position) for position in range(frozen.n_tokens)
    )
    stream = torch.zeros_like(frozen.embeddings)
    for layer in range(model.n_layers):
        rest = capture.resid_pre[layer] - found[layer]
        assert torch.allclose(rest, stream, atol=1e-8)
        stream = stream + frozen.layers[layer].attention.add(stream) + frozen.layers[layer].constant
