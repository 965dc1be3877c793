"""Float32 products are taken in full, whatever the process allows: TF32 and bfloat16 would be no
measure of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.head_ways import head_parts
from circuit_tracer.attribution.qk import explain_score
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.tiny import random_dictionary, tiny_llama

PROMPT = "the banana is yellow yes a lemon is blue"


@pytest.fixture
def lowest() -> Iterator[None]:
    """A process that takes the quickest products there are."""
    before: Any = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def audited(model: Model, dictionary: Dictionary, _: PrunedGraph) -> None:
    trace(model, dictionary, PROMPT, TraceSettings(cotangents="bf16"))


def scored(model: Model, dictionary: Dictionary, pruned: PrunedGraph) -> None:
    explain_score(model, dictionary, pruned, layer=2, head=1, query=6, key=3)


@pytest.mark.parametrize("ask", [audited, scored, head_loadings, head_parts])
@pytest.mark.usefixtures("lowest")
def test_all_that_a_graph_is_asked_is_computed_in_full(
    ask: Callable[[Model, Dictionary, PrunedGraph], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama()
    dictionary = random_dictionary(model)
    pruned = prune(trace(model, dictionary, PROMPT).graph)
    seen: list[str] = []
    for name in ("values", "pull"):
        original = getattr(FrozenAttention, name)

        def heard(self: FrozenAttention, given: torch.Tensor, original: Any = original) -> Any:
            seen.append(torch.get_float32_matmul_precision())
            return original(self, given)

        monkeypatch.setattr(FrozenAttention, name, heard)
    ask(model, dictionary, pruned)
    assert set(seen) == {"highest"}
    assert torch.get_float32_matmul_precision() == "medium"
