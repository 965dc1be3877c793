"""Streams and scores by source position, against the source x source terms of QK attribution."""

from __future__ import annotations

import pytest
import torch

from circuit_tracer.attribution.qk import HeadScores
from circuit_tracer.attribution.reopening import FrozenPrompt
from circuit_tracer.attribution.replacement import build_replacement
from circuit_tracer.experiments.dissociation.steps.position_streams import score_terms, streams_from
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.opening import open_transcoders
from tests.tiny import WINDOW, random_dictionary, tiny_model

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
        query_source=VALUE,
        queries=(query,),
        key=OBJECT,
    )
    for layer, head in ((0, 1), (2, 3), (4, 0)):
        prompt = FrozenPrompt(capture, frozen)
        scores = HeadScores(prompt, model.wiring, layer=layer, head=head, n_terms=1_000_000)
        whole = scores.attribution(query, OBJECT, against=[]).parts
        expected = sum(
            term.value
            for term in (*whole.positive, *whole.negative)
            if term.query.position == VALUE and term.key.position == OBJECT
        )
        assert float(found[layer, head, 0]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_streams_of_all_positions_and_constants_are_the_stream(family: str, skip: bool) -> None:
    """What no position's sources write are biases and, at position 0, MLPs without their skip."""
    model = tiny_model(family, dtype=torch.float64)
    dictionary = random_dictionary(model, skip=skip)
    capture = model.capture([0, 2, 4, 6, 7])
    frozen = build_replacement(capture, model.wiring, dictionary)
    found = sum(
        streams_from(frozen, capture, model.wiring, position) for position in range(frozen.n_tokens)
    )
    stream = torch.zeros_like(frozen.embeddings)
    for layer in range(model.n_layers):
        assert torch.allclose(capture.resid_pre[layer] - found[layer], stream, atol=1e-8)
        attended = stream + frozen.layers[layer].attention.add(stream)
        read = stream if frozen.parallel else attended
        stream = attended + frozen.layers[layer].push_skip(read) + frozen.layers[layer].constant


def test_a_key_outside_the_window_has_no_terms() -> None:
    model = tiny_model("mistral", dtype=torch.float64)
    capture = model.capture([0, 2, 4, 6, 7, 8, 9])
    frozen = build_replacement(capture, model.wiring, random_dictionary(model))
    found = score_terms(frozen, capture, model.wiring, query_source=4, queries=(1, 5, 6), key=2)
    assert WINDOW == 4
    assert not found[..., 0].any()  # the key comes after the query
    assert found[..., 1].any()
    assert not found[..., 2].any()
