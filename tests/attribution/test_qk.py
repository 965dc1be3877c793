"""QK attribution: terms against the model's own scores, autograd on the frozen model, and removal
of sources on one side of one head.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import largest_products, qk_sides
from circuit_tracer.attribution.largest_products import strongest_products
from circuit_tracer.attribution.qk import HeadScores
from circuit_tracer.attribution.reopening import FrozenPrompt
from circuit_tracer.errors import ModelError, UsageError
from circuit_tracer.graphs.qk_terms import Parts, QkAttribution, Source
from circuit_tracer.models.parts import Rotary
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import Frozen, frozen
from tests.attribution.spying import spied
from tests.device import on_host
from tests.rounding import rounding
from tests.tiny import FAMILIES, WINDOW, each_family_with

DTYPES = [(dtype, rounding(dtype)) for dtype in (torch.float32, torch.float64)]
ALL = 100_000
QUERY, KEY = 8, 6

each_family = pytest.mark.parametrize("family", FAMILIES)


def attributed(both: Frozen, **options: Any) -> QkAttribution:
    asked = {"layer": 2, "head": 1, "query": QUERY, "key": KEY, **options}
    prompt = FrozenPrompt(both.capture, both.replacement)
    of_head = {name: asked.pop(name) for name in ("layer", "head", "n_terms") if name in asked}
    return HeadScores(prompt, both.model.wiring, **of_head).attribution(**asked)


def column_of(both: Frozen, source: Source) -> int:
    """The oracle's column of a source, the constant after all others."""
    columns, features = both.network.columns, both.network.features
    if source.kind == "embedding":
        return source.position
    if source.kind == "constant":
        return columns.count
    if source.kind == "error":
        return int(columns.error[source.layer, source.position])
    here = (features.layer == source.layer) & (features.position == source.position)
    row = (here & (features.index == source.feature)).nonzero()
    return int(columns.feature[int(row)])


def dense_terms(both: Frozen, parts: Parts) -> Tensor:
    """(columns + 1, columns + 1) of all terms."""
    sources = {s for t in (*parts.positive, *parts.negative) for s in t[:2]}
    found = {source: column_of(both, source) for source in sources}
    n = both.network.columns.count + 1
    dense = torch.zeros(n, n, dtype=both.capture.logits.dtype)
    for query, key, value in (*parts.positive, *parts.negative):
        dense[found[query], found[key]] = value
    return dense


def oracle_side(both: Frozen, side: str, layer: int, head: int, at: int) -> Tensor:
    """(h, columns + 1): autograd's rows, and what of the module's own query or key they leave."""
    network = both.network
    rows = (network.query_rows if side == "query" else network.key_rows)(layer, head, at)
    whole = getattr(network.attentions[layer], side)[0, head, at]
    return torch.cat([rows, (whole - rows.sum(1))[:, None]], dim=1)


@each_family_with("dtype, tolerance", DTYPES[1], DTYPES[0])
def test_terms_sum_to_the_models_own_scores(
    family: str, dtype: torch.dtype, tolerance: float
) -> None:
    both = frozen(family, dtype=dtype, kind="clt", skip=True)
    own = spied(both.model.module, both.capture.token_ids)
    for layer, seen in enumerate(own):
        largest = float(seen.scores.abs().max())
        for head, query, key in ((0, 8, 8), (1, 8, 6), (3, 5, 2)):
            asked = {"layer": layer, "head": head, "query": query, "key": key}
            found = attributed(both, **asked, against=[], n_terms=1)
            score = float(seen.scores[head, query, key])
            assert found.parts.value == pytest.approx(score, abs=tolerance * largest)
            assert found.parts.by_kind.sum() == pytest.approx(score, abs=tolerance * largest)
            assert found.parts.residual < tolerance


@each_family_with("dtype", (torch.float64,), (torch.float32,))
def test_softmax_of_the_scores_is_the_pattern(family: str, dtype: torch.dtype) -> None:
    """Also which keys there are: a sliding window hides some."""
    both = frozen(family, dtype=dtype)
    own = spied(both.model.module, both.capture.token_ids)
    for layer, seen in enumerate(own):
        found = attributed(both, layer=layer, head=2, key=8, against=[], n_terms=1)
        scores = torch.tensor([key.score for key in found.keys], dtype=torch.float64)
        if found.softcap is not None:
            scores = found.softcap * (scores / found.softcap).tanh()
        at = [key.position for key in found.keys]
        assert at == seen.pattern[2, QUERY].nonzero().squeeze(1).tolist()
        pattern = on_host(seen.pattern[2, QUERY, at]).double()
        near = rounding(torch.float32)  # transformers takes most softmaxes in it, whatever comes in
        assert torch.allclose(scores.softmax(-1), pattern, rtol=0, atol=near)
        assert found.attention == pytest.approx(float(seen.pattern[2, QUERY, 8]), abs=near)
    assert (found.softcap is not None) == (family == "gemma2")


@each_family
@pytest.mark.parametrize(
    ("kind", "layer", "dtype", "tolerance"),
    [("clt", 2, *DTYPES[1]), ("plt", 1, *DTYPES[0]), ("plt", 0, *DTYPES[1])],
    ids=["clt-2-float64", "plt-1-float32", "plt-0-float64"],
)
def test_every_term_is_a_product_of_gradients(
    family: str, kind: str, layer: int, dtype: torch.dtype, tolerance: float
) -> None:
    both = frozen(family, dtype=dtype, kind=kind, skip=True)
    found = attributed(both, layer=layer, n_terms=ALL, against=[])
    scaling = spied(both.model.module, both.capture.token_ids)[layer].scaling
    query = oracle_side(both, "query", layer, 1, QUERY)
    key = oracle_side(both, "key", layer, 1, KEY)
    expected = query.T @ key * scaling
    assert (dense_terms(both, found.parts) - expected).abs().max() < 10 * tolerance
    assert found.parts.complete
    assert [t.value for t in found.parts.positive] == sorted(
        (t.value for t in found.parts.positive), reverse=True
    )
    for side, columns in ((found.parts.query_sources, 1), (found.parts.key_sources, 0)):
        for source, value in side:
            whole = expected.sum(columns)[column_of(both, source)]
            assert value == pytest.approx(float(whole), abs=10 * tolerance)


def kind_numbers(both: Frozen) -> np.ndarray:
    """Number in `KINDS` of every column of the oracle, the constant's after them."""
    columns = both.network.columns
    kinds = np.full(columns.count + 1, 2)
    kinds[columns.feature.numpy()] = 0
    kinds[columns.error[columns.error >= 0].numpy()] = 1
    kinds[-1] = 3
    return kinds


@each_family
def test_sums_by_kind_are_those_of_the_terms(family: str) -> None:
    both = frozen(family, kind="clt", skip=True)
    found = attributed(both, n_terms=ALL, against=[])
    kinds, dense = kind_numbers(both), dense_terms(both, found.parts).numpy()
    for i in range(4):
        for j in range(4):
            block = dense[np.ix_(kinds == i, kinds == j)].sum()
            assert found.parts.by_kind[i, j] == pytest.approx(block, abs=1e-11)
    share = abs(found.parts.by_kind[0, 0]) / np.abs(found.parts.by_kind).sum()
    assert found.parts.feature_share == pytest.approx(share)


@each_family
def test_against_another_key_the_terms_sum_to_the_difference(family: str) -> None:
    both = frozen(family, kind="clt", skip=True)
    scaling = spied(both.model.module, both.capture.token_ids)[1].scaling
    found = attributed(both, layer=1, against=[8, 5], n_terms=ALL)
    scores = {key.position: key.score for key in found.keys}
    query, key = (oracle_side(both, s, 1, 1, at) for s, at in (("query", QUERY), ("key", KEY)))
    for other in found.against:
        difference = key - oracle_side(both, "key", 1, 1, other.key)
        expected = query.T @ difference * scaling
        assert (dense_terms(both, other.parts) - expected).abs().max() < 1e-11
        if other.key in scores and KEY in scores:
            apart = scores[KEY] - scores[other.key]
            assert other.parts.value == pytest.approx(apart, abs=1e-12)


def test_competing_keys_are_those_with_most_attention() -> None:
    found = attributed(frozen())
    others = sorted((k for k in found.keys if k.position != KEY), key=lambda k: -k.attention)
    assert [other.key for other in found.against] == [k.position for k in others[:3]]


@each_family
def test_removing_a_feature_in_one_head_moves_the_score_by_its_terms(family: str) -> None:
    """On the query side only, by its product with the whole key; what the removal of another on the
    key side changes about that is the term of the two."""
    both = frozen(family, kind="clt", skip=True)
    network = both.network
    scaling = spied(both.model.module, both.capture.token_ids)[2].scaling
    found = attributed(both, n_terms=ALL, against=[]).parts

    def side(name: str, source: Source | None) -> Tensor:
        row = None
        if source is not None:
            row = int((network.columns.feature == column_of(both, source)).nonzero())
        network.forward(None if row is None else network.written_by(row, times=-1.0))
        vector: Tensor = getattr(network.attentions[2], name)[
            0, 1, QUERY if name == "query" else KEY
        ]
        network.forward()
        return vector

    term = next(t for t in found.positive if (t.query.kind, t.key.kind) == ("feature", "feature"))
    q, k = side("query", None), side("key", None)
    fewer_q, fewer_k = side("query", term.query), side("key", term.key)
    share = next(s.value for s in found.query_sources if s.source == term.query)
    assert float((fewer_q - q) @ k) * scaling == pytest.approx(-share, abs=1e-11)
    of_key = float((fewer_q - q) @ (fewer_k - k)) * scaling
    assert of_key == pytest.approx(term.value, abs=1e-11)
    assert term.value > 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_strongest_terms_of_neurons_are_those_of_all(family: str) -> None:
    both = frozen(family, dictionary=open_neurons)
    found = attributed(both, against=[], n_terms=12).parts
    scaling = spied(both.model.module, both.capture.token_ids)[2].scaling
    query = oracle_side(both, "query", 2, 1, QUERY)
    every = (query.T @ oracle_side(both, "key", 2, 1, KEY) * scaling).flatten().sort().values
    assert torch.allclose(torch.tensor([t.value for t in found.negative]).double(), every[:12])
    ours = torch.tensor([t.value for t in found.positive]).double()
    assert torch.allclose(ours, every.flip(0)[:12])
    assert found.complete
    assert found.by_kind[1].any() == found.by_kind[:, 1].any() == False  # noqa: E712 - no errors


def test_weak_sources_that_are_only_summed_change_no_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    both = frozen(kind="clt", skip=True)
    whole = attributed(both, n_terms=5).parts
    monkeypatch.setattr(qk_sides, "MOST_NUMBERS", 40 * 4)
    some = attributed(both, n_terms=5).parts
    assert np.allclose(some.by_kind, whole.by_kind, rtol=0, atol=1e-12)
    (ours, theirs) = (some.positive[0], whole.positive[0])
    assert (ours.query, ours.key) == (theirs.query, theirs.key)
    assert ours.value == pytest.approx(theirs.value, abs=1e-12)
    monkeypatch.setattr(qk_sides, "MOST_NUMBERS", 1 << 25)
    every = attributed(both, n_terms=ALL, against=[8]).against[0].parts
    values = {(t.query, t.key): t.value for t in (*every.positive, *every.negative)}
    monkeypatch.setattr(qk_sides, "MOST_NUMBERS", 30 * 4)
    fewer = attributed(both, n_terms=ALL, against=[8]).against[0].parts
    left = (*fewer.positive, *fewer.negative)
    assert 0 < len(left) < len(values)
    assert not fewer.complete
    assert np.allclose(fewer.by_kind, every.by_kind, rtol=0, atol=1e-12)
    for term in left:  # a difference is whole or not there
        assert term.value == pytest.approx(values[term.query, term.key], abs=1e-12)
    monkeypatch.setattr(qk_sides, "MOST_NUMBERS", 2 * 4)
    assert not attributed(both, n_terms=5).parts.complete


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", {"scale_attn_weights": False}),
        ("llama", {"n_kv_heads": 1, "attention_bias": True}),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0}}),
        ("qwen3", {"attention_bias": True}),
        ("olmo2", {"attention_bias": True}),
    ],
)
def test_variants_of_families_give_the_models_own_scores(
    family: str, options: dict[str, Any]
) -> None:
    both = frozen(family, model_options=_hashable(options))
    own = spied(both.model.module, both.capture.token_ids)
    for layer in range(3):
        found = attributed(both, layer=layer, n_terms=1)
        score = float(own[layer].scores[1, QUERY, KEY])
        assert found.parts.value == pytest.approx(score, abs=1e-12 * float(own[layer].scores.max()))


class _Frozen(dict[str, Any]):
    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def _hashable(options: dict[str, Any]) -> dict[str, Any]:
    return {k: _Frozen(v) if isinstance(v, dict) else v for k, v in options.items()}


@pytest.mark.parametrize("rows", [1, 3, 256])
@pytest.mark.parametrize("block", [4, 1 << 22])
@pytest.mark.parametrize("count", [1, 7, 2000])
def test_strongest_products_are_those_of_the_whole_product(
    rows: int, block: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largest_products, "ROWS", rows)
    monkeypatch.setattr(largest_products, "LARGEST_BLOCK", block)
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(n, 4, generator=generator).double() for n in (23, 31))
    a, b = a * torch.logspace(0, -4, 23)[:, None], b * torch.logspace(-3, 0, 31)[:, None]
    products = a @ b.T
    found = strongest_products(a, b, count)
    for part, values in (
        (found.positive, products[products > 0].sort(descending=True).values),
        (found.negative, products[products < 0].sort().values),
    ):
        assert torch.allclose(part.value, values[:count], rtol=1e-12)
        assert torch.allclose(products[part.row, part.column], part.value, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layer": 3}, r"no head 3.1: the model has layers 0 to 2"),
        ({"head": 4}, r"no head 2.4"),
        ({"head": -1}, r"no head"),
        ({"query": 40}, r"query position 40 is outside"),
        ({"query": 3, "key": 4}, r"cannot see position 4 from 3: it comes after the query"),
        ({"against": [12]}, r"cannot see position 12 from 8"),
        ({"against": [KEY]}, r"compete with itself"),
    ],
)
def test_impossible_places_get_a_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        attributed(frozen(), **options)


@each_family
def test_a_key_that_the_mask_hides_gets_a_sentence_and_no_score(family: str) -> None:
    both = frozen(family)
    own = spied(both.model.module, both.capture.token_ids)
    for layer, seen in enumerate(own):
        visible = (seen.pattern[1, QUERY] > 0).nonzero().squeeze(1).tolist()
        hidden = sorted({*range(both.replacement.n_tokens)} - {*visible})
        found = attributed(both, layer=layer, key=visible[0], against=[], n_terms=1)
        assert found.sees == (visible[0], QUERY) == (visible[0], visible[-1])
        for key in hidden:
            why = "comes after" if key > QUERY else f"sliding window of {WINDOW} tokens"
            for asked in ({"key": key}, {"key": visible[0], "against": [key]}):
                with pytest.raises(UsageError, match=rf"L{layer}\.H1 cannot see .*{why}"):
                    attributed(both, layer=layer, **asked)
    windowed = family in ("mistral", "gemma2", "gemma3")
    assert windowed == any(float(seen.pattern[1, QUERY, 0]) == 0 for seen in own)


def test_a_wrong_rotation_is_refused_and_names_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rotary = Wiring.rotary

    def wrong(self: Wiring, layer: int, n_tokens: int) -> Rotary:
        right = rotary(self, layer, n_tokens)
        assert right is not None
        return Rotary(right.cos, -right.sin.roll(1, 0))

    both = frozen()
    monkeypatch.setattr(Wiring, "rotary", wrong)
    with pytest.raises(ModelError, match=r"llama family, but the attention pattern of L2\.H1"):
        attributed(both)
