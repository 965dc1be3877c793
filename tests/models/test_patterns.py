"""Patterns of a long text are made again from queries and keys; the model's own are the measure."""

from __future__ import annotations

import pytest
import torch

from circuit_tracer.attribution import TraceSettings
from circuit_tracer.attribution.replacement import build_replacement
from circuit_tracer.attribution.sweep import lowered
from circuit_tracer.attribution.totals_tracing import TracedTotals, trace_totals
from circuit_tracer.models import frozen as attention
from circuit_tracer.models import patterns
from circuit_tracer.models.patterns import RecomputedPatterns, pattern_of
from tests.tiny import FAMILIES, random_dictionary, tiny_model

PROMPT = "the banana is yellow yes a lemon is blue"


@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_made_again_are_the_models(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(family)
    ids = model.tokenize(PROMPT)
    stored = model.capture(ids)
    monkeypatch.setattr(patterns, "LARGEST_STORED", 0)
    made = model.capture(ids)
    assert isinstance(made.patterns, RecomputedPatterns)
    for layer, whole in enumerate(stored.patterns):
        assert torch.allclose(made.patterns[layer], whole, atol=1e-5)
        block = pattern_of(made, layer).block(3, 6)
        assert torch.allclose(block, whole[:, 3:6, :6], atol=1e-5)
    first = model.capture(ids, 4)
    assert torch.allclose(first.patterns[1], stored.patterns[1][:, :4, :4], atol=1e-5)


def test_patterns_made_again_for_bf16_cotangents_are_rounded_as_stored_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores in bfloat16 are off by up to a quarter where they are 60, and a softmax takes their
    exponential."""
    model = tiny_model("llama")
    for layer in model.module.model.layers:
        layer.self_attn.q_proj.weight *= 8
    dictionary, ids = random_dictionary(model), model.tokenize(PROMPT)
    stored = build_replacement(model.capture(ids), model.wiring, dictionary)
    monkeypatch.setattr(patterns, "LARGEST_STORED", 0)
    made = build_replacement(model.capture(ids), model.wiring, dictionary)
    pairs = (lowered(one, torch.bfloat16).layers for one in (stored, made))
    for one, other in zip(*pairs, strict=True):
        assert other.attention.pattern.dtype == torch.bfloat16
        assert torch.allclose(one.attention.pattern, other.attention.pattern, rtol=2e-2, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "gpt2"])
def test_totals_are_the_same_where_no_pattern_is_stored(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family, dtype=torch.float32)
    dictionary = random_dictionary(model, kind="clt")

    def found() -> TracedTotals:
        return trace_totals(model, dictionary, PROMPT, TraceSettings())

    usual = found()
    monkeypatch.setattr(patterns, "LARGEST_STORED", 0)
    monkeypatch.setattr(attention, "QUERY_BLOCK", 2)
    monkeypatch.setattr(patterns.StoredPattern, "block", None)  # none is looked at
    for one, other in zip(usual.info.totals, found().info.totals, strict=True):
        assert one.total == pytest.approx(other.total, rel=1e-3, abs=1e-4)
        assert one.constant == pytest.approx(other.constant, rel=1e-3, abs=1e-4)
