"""2. Which weights carry the change: put back into the tuned model, and put alone into the base."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.graphs.bootstrap import Interval

WEIGHTS = {"": "all", "QK": "queries, keys", "VO": "values, output", "MLP": "MLPs"}
WEIGHTS |= {"norm": "norms", "embedding": "embeddings"}
"""Kinds of weights in words."""


@dataclass(frozen=True)
class WhereRow:
    """Some weights: a kind, a range of layers, or both."""

    kind: str
    """"QK", "VO", "MLP", "norm", "embedding", or "" for all of them."""
    layers: tuple[int, int] | None
    """First and last; None for all, and outside of the layers."""
    changed: float
    """Norm of the change over the norm of the base's weights."""
    rank: int | None
    """Largest numerical rank of a changed matrix among them; None where none changed."""
    full_rank: int | None
    """What that matrix's rank could be."""
    right_back: Interval
    """Share of right answers of the tuned model with the base's weights in their place."""
    restored: Interval
    """The share of the lost answers that this brings back; NaN where none were surely lost."""
    right_alone: Interval
    """Share of right answers of the base with the tuned weights in their place."""
    induced: Interval
    """The share of the lost answers that this alone loses."""


@dataclass(frozen=True)
class WhereResult:
    """2. Where."""

    prompts: int
    """Of held-out topics in the main form, by which weights are located."""
    base: Interval
    """Share of right answers."""
    tuned: Interval
    rows: tuple[WhereRow, ...]
    """Kinds over all layers first, then layers, then kinds by layer; what did not change is
    left out."""
    unchanged: tuple[str, ...]
    """Kinds of which no weight changed."""
    layers: tuple[int, ...]
    """Layers in which a weight changed."""
    low_rank: bool
    """Whether every changed matrix has a numerical rank of at most an eighth of what it could."""
