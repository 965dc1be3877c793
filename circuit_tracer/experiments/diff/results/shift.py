"""4. Where in the residual stream the tuned model differs, and what that looks like."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.graphs.bootstrap import Interval


@dataclass(frozen=True)
class ShiftRow:
    """The stream after one layer. Cosines are over items or documents."""

    layer: int
    size: Interval
    """Norm of the mean difference, tuned minus base, at the ends of held-out prompts, over the mean
    norm of the base's stream there."""
    with_contrast: Interval
    """Cosine of that difference with the base's contrast of two contexts; NaN without one."""
    text_size: Interval
    """As `size`, on the first five tokens of ordinary text."""
    text_with_contrast: Interval
    text_with_shift: Interval
    """Cosine of the difference on ordinary text with that on prompts."""


@dataclass(frozen=True)
class ShiftResult:
    """4. Shift."""

    rows: tuple[ShiftRow, ...]
    by_chance: float
    """Size of the cosine of two random directions, 1 / sqrt(d)."""
