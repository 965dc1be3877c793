"""3. Whether a dictionary of the base still says what the tuned model computes."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.graphs.bootstrap import Interval


@dataclass(frozen=True)
class LayerFit:
    """One layer of a dictionary, on ordinary text."""

    layer: int
    fvu_base: float
    """Summed squared error over summed variance, in the base."""
    fvu_tuned: float
    l0_base: float
    """Active features a token."""
    l0_tuned: float


@dataclass(frozen=True)
class DictionaryFit:
    """One dictionary in both models."""

    name: str
    replaced: str
    """What is replaced by it: "all MLPs"."""
    layers: tuple[LayerFit, ...]
    loss_base: float
    """Nats a token on ordinary text."""
    loss_base_replaced: float
    loss_tuned: float
    loss_tuned_replaced: float
    right_base: Interval
    """Share of held-out prompts of the main form answered rightly."""
    right_base_replaced: Interval
    right_tuned: Interval
    right_tuned_replaced: Interval
    given_back: Interval
    """Share of the lost answers that the replacement alone brings back: what the dictionary does
    not hold of the change. NaN where none were surely lost."""


@dataclass(frozen=True)
class FitResult:
    """3. Dictionary fit."""

    dictionaries: tuple[DictionaryFit, ...]
