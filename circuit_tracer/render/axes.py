"""Ends and ticks of a chart's axis: it shows all that was measured, in steps that read well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MOST_STEPS = 6
"""Between two ends of an axis, unless it is asked for more."""


class Axis(NamedTuple):
    """What an axis spans, and where it has labels."""

    low: float
    high: float
    ticks: tuple[float, ...]


def axis(values: Sequence[float], *, low: float, high: float, step: float) -> Axis:
    """An axis from `low` to `high`, longer where a finite value lies outside.

    Ends are whole steps; these are doubled (0.25, 0.5, 1, 2, ...) until there are few enough.
    """
    known = [value for value in values if math.isfinite(value)]
    least, most = min([low, *known]), max([high, *known])
    while (most - least) / step > MOST_STEPS:
        step *= 2
    low, high = (step * end for end in (math.floor(least / step), math.ceil(most / step)))
    return Axis(low, high, tuple(_ticks(low, high, step)))


def _ticks(low: float, high: float, step: float) -> list[float]:
    """Multiples of `step` from low to high."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * i, 9) for i in range(first, last + 1)]
