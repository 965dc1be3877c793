"""The report's few figures for the panel of a drawn graph, with the bounds they are held to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from circuit_tracer.experiments.trust.marks import (
    FREE,
    GATES,
    HIDDEN,
    KNOCK_ON,
    RANKED,
    REPLACED,
    at_least,
    grade,
)
from circuit_tracer.experiments.trust.measurements import Measurements
from circuit_tracer.experiments.trust.reasons import sufficiency_mark
from circuit_tracer.render.numbers import decimals, percent
from circuit_tracer.render.trust_panel import KeyFigure, Mark


def key_figures(found: Measurements) -> Iterator[KeyFigure]:
    """Those that were measured."""
    yield from _exact(found)
    scores = found.scores
    if found.has_errors:
        value = scores.replacement
        yield KeyFigure(
            grade(value, *REPLACED), "replacement", decimals(value), f"good from {REPLACED[0]}"
        )
    hidden = scores.unexpanded_share + scores.dropped_share
    yield KeyFigure(
        grade(hidden, *HIDDEN), "not looked at", percent(hidden), f"good to {percent(HIDDEN[0])}"
    )
    yield from _tested(found)


def _exact(found: Measurements) -> Iterator[KeyFigure]:
    sums, direct = found.conservation, found.direct
    yield KeyFigure(
        "+" if sums.holds else "-",
        "sums of edges",
        f"{sums.residual:.0e}",
        f"allowed {sums.tolerance:.0e}",
    )
    if direct is not None:
        yield KeyFigure(
            "+" if direct.holds else "-",
            "edges, all else held",
            f"{direct.error:.0e}",
            f"allowed {direct.tolerance:.0e}",
        )


def _tested(found: Measurements) -> Iterator[KeyFigure]:
    if found.knock_on is not None:
        held, free = (found.knock_on.at(way).everything.spearman for way in ("held", "free"))
        yield KeyFigure(
            grade(held.value, *KNOCK_ON),
            "knock-on, as in the graph",
            decimals(held.value),
            f"good from {KNOCK_ON[0]}",
        )
        yield KeyFigure(
            at_least(free.value, FREE),
            "knock-on, nothing held",
            decimals(free.value),
            f"good from {FREE}",
        )
    if found.ranking is not None:
        value = found.ranking.at("constrained").influence.value
        yield KeyFigure(
            at_least(value, RANKED),
            "influence against ablation",
            decimals(value),
            f"good from {RANKED}",
        )
    point = found.kept_alone
    if point is not None:
        random = percent(point.random_sufficiency.high)
        yield KeyFigure(
            "~" if math.isnan(point.sufficiency) else sufficiency_mark(point),
            "target, by kept features",
            "?" if math.isnan(point.sufficiency) else percent(point.sufficiency),
            f"good from 80 %; random to {random}",
        )
    for gate in found.gates:
        if gate.change == -1.0:
            mark: Mark = "-" if gate.spearman < GATES else "~"
            bar = f"bad below {GATES}"
            yield KeyFigure(mark, "real gates, order of edges", decimals(gate.spearman), bar)
