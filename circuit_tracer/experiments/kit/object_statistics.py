"""Figures over objects with bootstrap intervals: objects are drawn again, with all their prompts.

A draw is a row of counts, how often each object is in it, so that every figure that is a ratio of
sums (means, drops, AUC) is a product with the counts.

Shapes: n objects, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from circuit_tracer.experiments.dissociation.results import Interval
from circuit_tracer.graphs.graph import Bools, Floats, Ints

SURE = 2.0
"""Standard deviations of its draws that a denominator must lie above zero."""
NOTHING = Interval(float("nan"), float("nan"), float("nan"))


class Bootstrap:
    """The same draws of objects for every figure, so that differences are paired."""

    def __init__(self, n: int, *, resamples: int, seed: int) -> None:
        """Of `n` objects."""
        generator = np.random.default_rng(seed)
        self.counts = np.ones((1 + resamples, n))
        """(1 + R, n): the first row is the sample itself."""
        for row in range(1, 1 + resamples):
            drawn = generator.integers(n, size=n) if n else np.zeros(0, dtype=np.int64)
            self.counts[row] = np.bincount(drawn, minlength=n)

    def figure(self, of_counts: Callable[[Floats], Floats]) -> Interval:
        """From a function (1 + R, n) counts -> (1 + R,) values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return interval(of_counts(self.counts))

    def mean(self, values: Floats, known: Bools | None = None) -> Interval:
        """Mean of (n,) values, of those that are known alone."""
        if not len(values):
            return NOTHING
        there = np.isfinite(values) if known is None else known & np.isfinite(values)
        if not there.any():
            return NOTHING
        filled = np.where(there, values, 0.0)
        return self.figure(lambda counts: (counts @ filled) / (counts @ there.astype(float)))

    def drops(self, before: Floats, after: Floats) -> Floats:
        """(1 + R, ...) of (n,) before and (n, ...) after: 1 - sum after / sum before.

        NaN where the sum before is noise: there is nothing that could drop.
        """
        base = known_denominator(self.counts @ before)
        with np.errstate(invalid="ignore", divide="ignore"):
            shape = (-1, *[1] * (after.ndim - 1))
            found: Floats = 1 - np.tensordot(self.counts, after, axes=1) / base.reshape(shape)
        return found


def known_denominator(values: Floats) -> Floats:
    """(1 + R,) a denominator and its draws; all NaN unless it exceeds `SURE` of their deviations.

    A share of what may as well be zero says nothing, however narrow its interval looks.
    """
    is_known = values[0] > SURE * values[1:].std() if len(values) > 1 else values[0] > 0
    return values if is_known else np.full_like(values, np.nan)


def interval(values: Floats) -> Interval:
    """The first value and the middle 95 % of the others; NaN draws are left out."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn) or not np.isfinite(values[0]):
        return Interval(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Interval(float(values[0]), low, high)


def middle(values: Floats) -> tuple[float, float]:
    """The middle 95 % of values."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, (0.025, 0.975)).tolist()
    return low, high


def auc_counts(
    counts: Floats, positive: Floats, negative: Floats, of_positive: Ints, of_negative: Ints
) -> Floats:
    """(1 + R,) chance that a positive scores above a negative, ties half, objects by counts.

    `of_positive` and `of_negative` are the objects that the scores belong to.
    """
    above = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    p, q = counts[:, of_positive], counts[:, of_negative]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = ((p @ above) * q).sum(1) / (p.sum(1) * q.sum(1))
    return found
