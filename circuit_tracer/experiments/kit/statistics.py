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
    values = (
        spearman(foretold, measured),
        pearson(foretold, measured),
        signs_agree(foretold, measured),
    )
    foretold, measured, source = _thinned(MOST_DRAWN, generator, foretold, measured, source)
    groups, group = np.unique(source, return_inverse=True)
    counts = _drawn(len(groups), generator)[:, group]
    drawn = (
        _spearmans(foretold, measured, counts),
        _pearsons(foretold[None], measured[None], counts),
        counts @ (np.sign(foretold) == np.sign(measured)) / np.maximum(counts.sum(1), 1),
    )
    rank, linear, signs = (
        _figure(value, draws if len(groups) > 1 else draws[:0])
        for value, draws in zip(values, drawn, strict=True)
    )
    return Likeness(rank, linear, signs, n_pairs, n_sources)


def rank_figure(foretold: Floats, measured: Floats, *, seed: int) -> Figure:
    """Rank correlation over single things (m,), each drawn again by itself."""
    counts = _drawn(len(foretold), np.random.default_rng(seed))
    return _figure(spearman(foretold, measured), _spearmans(foretold, measured, counts))


def _drawn(count: int, generator: np.random.Generator) -> Floats:
    """(RESAMPLES, count) how often each of so many things is drawn."""
    found = np.zeros((RESAMPLES, count))
    for row, drawn in zip(
        found, generator.integers(max(count, 1), size=(RESAMPLES, count)), strict=True
    ):
        row += np.bincount(drawn, minlength=count)
    return found


def _spearmans(x: Floats, y: Floats, counts: Floats) -> Floats:
    """(draws,) rank correlations where pair i is there counts[draw, i] times."""
    return _pearsons(_ranks(x, counts), _ranks(y, counts), counts)


def _ranks(values: Floats, counts: Floats) -> Floats:
    """(draws, m) as `ranks`, each value there so many times."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    if not len(starts):
        return counts
    of_value = np.add.reduceat(counts[:, order], starts, axis=1)
    found: Floats = (of_value.cumsum(1) - (of_value + 1) / 2.0)[:, place]
    return found


def _pearsons(x: Floats, y: Floats, counts: Floats) -> Floats:
    """(draws,) linear correlations; NaN where one of the two does not vary."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    x = x - (share * x).sum(1, keepdims=True)
    y = y - (share * y).sum(1, keepdims=True)
    size = np.sqrt((share * x * x).sum(1) * (share * y * y).sum(1))
    found: Floats = np.full(len(counts), np.nan)
    np.divide((share * x * y).sum(1), size, out=found, where=size > 0)
    return found


def _thinned(
    most: int, generator: np.random.Generator, x: Floats, y: Floats, source: Ints
) -> tuple[Floats, Floats, Ints]:
    if len(x) <= most:
        return x, y, source
    some = np.sort(generator.choice(len(x), most, replace=False))
    return x[some], y[some], source[some]


def _figure(value: float, draws: Floats) -> Figure:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(known, (0.025, 0.975)).tolist()
    return Figure(value, low, high)
