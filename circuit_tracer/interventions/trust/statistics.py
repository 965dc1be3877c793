"""Rank and linear correlation, agreement of signs, and bootstrap intervals.

Pairs of one ablated feature are not independent, so whole features are drawn again, not pairs.

Shapes: m pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Floats, Ints

RESAMPLES = 200
MOST_PAIRS = 20_000
"""More pairs than these are thinned out at random before correlations are taken."""
MOST_DRAWN = 4_000
"""The same before they are drawn again and again."""


@dataclass(frozen=True)
class Figure:
    """A figure and the middle 95 % of its bootstrap; NaN where too few pairs are there."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Likeness:
    """How far what was foretold and what was measured go together, over pairs of nodes."""

    spearman: Figure
    pearson: Figure
    signs: Figure
    """Share of pairs whose signs agree."""
    pairs: int
    sources: int
    """Changed nodes among the pairs."""


def ranks(values: Floats) -> Floats:
    """(m,) ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Floats = ((ends - counts + ends - 1) / 2.0)[inverse]
    return found


def pearson(x: Floats, y: Floats) -> float:
    """Linear correlation; NaN where one of the two does not vary."""
    if len(x) < 3:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def spearman(x: Floats, y: Floats) -> float:
    """Rank correlation; NaN where one of the two does not vary."""
    return pearson(ranks(x), ranks(y))


def signs_agree(x: Floats, y: Floats) -> float:
    """Share of pairs with the same sign; NaN for none."""
    return float(np.mean(np.sign(x) == np.sign(y))) if len(x) else float("nan")


def likeness(foretold: Floats, measured: Floats, source: Ints, *, seed: int) -> Likeness:
    """Correlations over pairs (m,), with intervals over the sources that they belong to (m,)."""
    generator = np.random.default_rng(seed)
    n_pairs, n_sources = len(source), len(np.unique(source))
    foretold, measured, source = _thinned(MOST_PAIRS, generator, foretold, measured, source)
    values = _three(foretold, measured)
    foretold, measured, source = _thinned(MOST_DRAWN, generator, foretold, measured, source)
    groups = [np.flatnonzero(source == one) for one in np.unique(source)]
    draws = []
    for _ in range(RESAMPLES if len(groups) > 1 else 0):
        again = generator.integers(len(groups), size=len(groups))
        rows = np.concatenate([groups[i] for i in again])
        draws.append(_three(foretold[rows], measured[rows]))
    rank, linear, signs = (
        _figure(value, [draw[i] for draw in draws]) for i, value in enumerate(values)
    )
    return Likeness(rank, linear, signs, n_pairs, n_sources)


def _thinned(
    most: int, generator: np.random.Generator, x: Floats, y: Floats, source: Ints
) -> tuple[Floats, Floats, Ints]:
    if len(x) <= most:
        return x, y, source
    some = np.sort(generator.choice(len(x), most, replace=False))
    return x[some], y[some], source[some]


def _three(x: Floats, y: Floats) -> tuple[float, float, float]:
    return spearman(x, y), pearson(x, y), signs_agree(x, y)


def _figure(value: float, draws: list[float]) -> Figure:
    known = np.array([draw for draw in draws if np.isfinite(draw)])
    if not len(known):
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(known, (0.025, 0.975)).tolist()
    return Figure(value, low, high)
