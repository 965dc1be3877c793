"""2. Overlap of the two routes' graphs against a ceiling and a floor, over objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.results import OverlapResult, OverlapRow
from circuit_tracer.experiments.dissociation.steps.tracing import ItemGraphs, PairOverlap
from circuit_tracer.experiments.dissociation.study import Settings
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats

Kind = Literal["fact x judgement", "ceiling", "floor"]
KINDS: tuple[Kind, ...] = ("fact x judgement", "ceiling", "floor")


class _Means(NamedTuple):
    """Per object; NaN where it has no such pair."""

    overlap: Floats
    anywhere: Floats


def overlaps(graphs: Sequence[ItemGraphs], settings: Settings) -> OverlapResult | None:
    """From the pairs of all items that were compared; None without any."""
    items = [one.overlaps for one in graphs if one.overlaps]
    if not items:
        return None
    draws = Bootstrap(len(items), resamples=settings.resamples, seed=settings.seed + 2)
    rows = [_row(items, draws, kind, "", "") for kind in KINDS]
    names = sorted({(one.kind, one.first, one.second) for item in items for one in item})
    for kind in KINDS:
        rows += [
            _row(items, draws, kind, first, second)
            for of_kind, first, second in names
            if of_kind == kind
        ]
    return OverlapResult(tuple(row for row in rows if row.pairs), _place(items, draws))


def _chosen(item: Sequence[PairOverlap], kind: str, first: str, second: str) -> list[PairOverlap]:
    return [
        one
        for one in item
        if one.kind == kind and (first, second) in (("", ""), (one.first, one.second))
    ]


def _means(items: Sequence[Sequence[PairOverlap]], kind: str, first: str, second: str) -> _Means:
    columns: tuple[list[float], list[float]] = ([], [])
    for item in items:
        chosen = _chosen(item, kind, first, second)
        for column, name in zip(columns, ("overlap", "anywhere"), strict=True):
            values = [getattr(one, name) for one in chosen]
            known = [value for value in values if np.isfinite(value)]
            column.append(sum(known) / len(known) if known else float("nan"))
    return _Means(np.array(columns[0]), np.array(columns[1]))


def _row(
    items: Sequence[Sequence[PairOverlap]], draws: Bootstrap, kind: Kind, first: str, second: str
) -> OverlapRow:
    means = _means(items, kind, first, second)
    pairs = [one for item in items for one in _chosen(item, kind, first, second)]
    known = [one.p for one in pairs if np.isfinite(one.p)]
    return OverlapRow(
        kind=kind,
        first=first,
        second=second,
        overlap=draws.mean(means.overlap),
        anywhere=draws.mean(means.anywhere),
        p=float(np.median(known)) if known else float("nan"),
        pairs=len(pairs),
    )


def _place(items: Sequence[Sequence[PairOverlap]], draws: Bootstrap) -> Interval:
    """Of the routes' overlap between floor and ceiling, all three over the same objects."""
    between, ceiling, floor = (_means(items, kind, "", "").overlap for kind in KINDS)
    if not all(np.isfinite(one).all() for one in (between, ceiling, floor)):
        return UNKNOWN

    def place(counts: Floats) -> Floats:
        x, high, low = (counts @ one for one in (between, ceiling, floor))
        found: Floats = (x - low) / known_denominator(high - low)
        return found

    return draws.figure(place)
