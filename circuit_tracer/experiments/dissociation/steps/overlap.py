"""2. Overlap of the two routes' graphs against a ceiling and a floor, over objects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal, get_args

import numpy as np

from circuit_tracer.experiments.dissociation.step_results import (
    OverlapKind,
    OverlapResult,
    OverlapRow,
)
from circuit_tracer.experiments.dissociation.steps.tracing import ItemGraphs, PairOverlap
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats

KINDS: tuple[OverlapKind, ...] = get_args(OverlapKind)
_Pairs = list[list[PairOverlap]]
"""The pairs of every object."""


def overlaps(graphs: Sequence[ItemGraphs], study: Study) -> OverlapResult | None:
    """From the pairs of all items that were compared; None without any."""
    items = [one.overlaps for one in graphs if one.overlaps]
    if not items:
        return None
    draws = study.bootstrap(len(items), 2)
    pooled = {kind: [[pair for pair in of if pair.kind == kind] for of in items] for kind in KINDS}
    rows = [_row(pooled[kind], draws, kind, "", "") for kind in KINDS]
    for kind in KINDS:
        for names in sorted({(one.first, one.second) for one in chain(*pooled[kind])}):
            pairs = [[x for x in of if (x.first, x.second) == names] for of in pooled[kind]]
            rows.append(_row(pairs, draws, kind, *names))
    means = [_means(pooled[kind], "overlap") for kind in KINDS]
    return OverlapResult(tuple(row for row in rows if row.pairs), _place(means, draws))


def _means(pairs: _Pairs, measure: Literal["overlap", "anywhere"]) -> Floats:
    """Per object; NaN where it has no such pair."""
    means = []
    for of_item in pairs:
        values = [getattr(one, measure) for one in of_item]
        known = [value for value in values if np.isfinite(value)]
        means.append(sum(known) / len(known) if known else float("nan"))
    return np.array(means)


def _row(pairs: _Pairs, draws: Bootstrap, kind: OverlapKind, first: str, second: str) -> OverlapRow:
    known = [one.p for one in chain(*pairs) if np.isfinite(one.p)]
    return OverlapRow(
        kind=kind,
        first=first,
        second=second,
        overlap=draws.mean(_means(pairs, "overlap")),
        anywhere=draws.mean(_means(pairs, "anywhere")),
        p=float(np.median(known)) if known else float("nan"),
        pairs=sum(map(len, pairs)),
    )


def _place(means: Sequence[Floats], draws: Bootstrap) -> Interval:
    """Of the routes' overlap between floor and ceiling, all three over the same objects."""
    if not all(np.isfinite(one).all() for one in means):
        return UNKNOWN

    def place(counts: Floats) -> Floats:
        between, high, low = (counts @ one for one in means)
        found: Floats = (between - low) / known_denominator(high - low)
        return found

    return draws.figure(place)
