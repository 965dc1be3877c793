"""Rank and linear correlation and agreement in sign, with bootstrap intervals.

Pairs of one ablated feature are not independent, so whole features are resampled, not pairs.

Shapes: m pairs, n resampled things, R resamples; counts are those of a `Bootstrap`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval
from circuit_tracer.graphs.files.json_values import stored_as
from circuit_tracer.graphs.graph import Floats, Ints

RESAMPLES = 200
MOST_PAIRS = 20_000
"""More pairs than these are thinned out at random before correlations are taken."""
MOST_DRAWN = 4_000
"""The same before they are resampled."""
SURE = 2.0
"""Standard deviations of its draws that a denominator must lie above zero."""


@dataclass(frozen=True)
class Likeness:
    """How far predictions and measurements go together, over pairs of nodes."""

    spearman: Interval
    pearson: Interval
    # The stored key keeps its first spelling.
    same_sign: Interval = field(metadata=stored_as("signs"))
    """Share of pairs with the same sign."""
    pairs: int
    sources: int
    """Changed nodes among the pairs."""


def ranks(values: Floats) -> Floats:
    """(m,) ranks from 0; equal values share their mean rank."""
    found: Floats = _ranks(values, np.ones((1, len(values))))[0]
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


def likeness(predicted: Floats, measured: Floats, source: Ints, *, seed: int) -> Likeness:
    """Correlations over pairs (m,), with intervals over the sources that they belong to (m,)."""
    generator = np.random.default_rng(seed)
    n_pairs, n_sources = len(source), len(np.unique(source))
    predicted, measured, source = _thinned(MOST_PAIRS, generator, predicted, measured, source)
    agree = np.sign(predicted) == np.sign(measured)
    values = (
        spearman(predicted, measured),
        pearson(predicted, measured),
        float(agree.mean()) if n_pairs else float("nan"),
    )
    predicted, measured, source = _thinned(MOST_DRAWN, generator, predicted, measured, source)
    groups, group = np.unique(source, return_inverse=True)
    counts = _resampled(len(groups), generator)[:, group]
    drawn = (
        _spearmans(predicted, measured, counts),
        _pearsons(predicted[None], measured[None], counts),
        counts @ (np.sign(predicted) == np.sign(measured)) / np.maximum(counts.sum(1), 1),
    )
    rank, linear, same_sign = (
        _figure(value, draws if len(groups) > 1 else draws[:0])
        for value, draws in zip(values, drawn, strict=True)
    )
    return Likeness(rank, linear, same_sign, n_pairs, n_sources)


def rank_figure(predicted: Floats, measured: Floats, *, seed: int) -> Interval:
    """Rank correlation over single things (m,), each resampled by itself."""
    counts = _resampled(len(predicted), np.random.default_rng(seed))
    return _figure(spearman(predicted, measured), _spearmans(predicted, measured, counts))


def drops(counts: Floats, before: Floats, after: Floats) -> Floats:
    """(1 + R, ...) of (n,) before and (n, ...) after: 1 - sum after / sum before.

    NaN where the sum before is noise: there is nothing that could drop.
    """
    base = known_denominator(counts @ before)
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = (-1, *[1] * (after.ndim - 1))
        found: Floats = 1 - np.tensordot(counts, after, axes=1) / base.reshape(shape)
    return found


def known_denominator(values: Floats) -> Floats:
    """(1 + R,) a denominator and its draws; all NaN unless it exceeds `SURE` of their deviations.

    A share of what may as well be zero says nothing, however narrow its interval looks.
    """
    is_known = values[0] > SURE * values[1:].std() if len(values) > 1 else values[0] > 0
    return values if is_known else np.full_like(values, np.nan)


def share(draws: Bootstrap, part: Floats, whole: Floats) -> Interval:
    """A sum over things (n,) as a share of another; unknown where that one is noise."""
    return draws.figure(lambda counts: (counts @ part) / known_denominator(counts @ whole))


def means_by(group: Ints, values: Floats, n: int) -> Floats:
    """(n, ...) means of the values (m, ...) of each group (m,); NaN for a group without any."""
    total = np.zeros((n, *values.shape[1:]))
    np.add.at(total, group, values)
    count = np.bincount(group, minlength=n).reshape(-1, *[1] * (values.ndim - 1))
    found: Floats = np.full_like(total, np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found


def known_mean(values: Floats) -> float:
    """Of values (n,) that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def known_or_least(value: float) -> float:
    """For orders in which what could not be measured is last."""
    return value if math.isfinite(value) else -math.inf


def auc(
    counts: Floats, positive: Floats, negative: Floats, of_positive: Ints, of_negative: Ints
) -> Floats:
    """(1 + R,) chance that a positive scores above a negative, ties half.

    `of_positive` and `of_negative` are the things (0..n-1) that the scores belong to.
    """
    above = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    p, q = counts[:, of_positive], counts[:, of_negative]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = ((p @ above) * q).sum(1) / (p.sum(1) * q.sum(1))
    return found


def _resampled(count: int, generator: np.random.Generator) -> Floats:
    """(RESAMPLES, count) how often each of so many things is drawn."""
    return Bootstrap(count, resamples=RESAMPLES, seed=generator).counts[1:]


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
    return (of_value.cumsum(1) - (of_value + 1) / 2.0)[:, place]


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


def _figure(value: float, draws: Floats) -> Interval:
    return interval(np.concatenate([[value], draws]))
