"""Patterns of a long text are made again from queries and keys; the model's own are the measure."""

from __future__ import annotations

import pytest
import torch

from circuit_tracer.attribution import TraceSettings
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
