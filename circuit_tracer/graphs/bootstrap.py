"""The bootstrap of every interval: things are drawn with replacement, figures recomputed.

A draw is a row of counts, how often each thing is in it, so that every figure that is a ratio of
sums (means, drops, correlations, AUC) is a product with the counts. The interval is the middle
95 % of the figure over the draws (Efron's percentile interval).

Shapes: n things, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from circuit_tracer.graphs.graph import Bools, Floats


@dataclass(frozen=True)
class Interval:
    """A figure and the middle 95 % of its bootstrap; NaN where it can't be measured, and for the
    ends alone where it is one thing's, of which draws say nothing."""

    value: float
    low: float
    high: float

    @classmethod
    def bare(cls, value: float) -> Interval:
        """A figure without ends."""
        return cls(value, math.nan, math.nan)


UNKNOWN = Interval.bare(math.nan)
"""What was not measured."""


class Bootstrap:
    """The same draws for every figure, so that differences are paired."""

    def __init__(self, n: int, *, resamples: int, seed: int | np.random.Generator) -> None:
        """Of `n` things; a generator as `seed` is drawn from where it stands."""
        self.n, self.resamples = n, resamples
        self._generator = np.random.default_rng(seed)

    def draws(self) -> Iterator[Floats]:
        """(n,) counts of one resample after the other; they are to be drawn once."""
        for _ in range(self.resamples):
            drawn = self._generator.integers(max(self.n, 1), size=self.n)
            yield np.bincount(drawn, minlength=self.n).astype(np.float64)

    @cached_property
    def counts(self) -> Floats:
        """(1 + R, n): the first row is the sample itself."""
        return np.stack([np.ones(self.n), *self.draws()])

    def figure(self, of_counts: Callable[[Floats], Floats]) -> Interval:
        """From a function (1 + R, n) counts -> (1 + R,) values."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = interval(of_counts(self.counts))
        return found if self.n > 1 else Interval.bare(found.value)

    def mean(self, values: Floats, known: Bools | None = None) -> Interval:
        """Mean of (n,) values, of those that are known alone."""
        there = np.isfinite(values) if known is None else known & np.isfinite(values)
        if not there.any():
            return UNKNOWN
        filled = np.where(there, values, 0.0)
        found = self.figure(lambda counts: (counts @ filled) / (counts @ there.astype(float)))
        return found if there.sum() > 1 else Interval.bare(found.value)


def interval(values: Floats) -> Interval:
    """The first value and the middle 95 % of the others; NaN draws are left out."""
    if not np.isfinite(values[0]):
        return UNKNOWN
    return Interval(float(values[0]), *middle(values[1:]))


def middle(values: Floats) -> tuple[float, float]:
    """Ends of the middle 95 % of values; NaN is left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, (0.025, 0.975)).tolist()
    return low, high
