"""What the viewer shows of a trust report: its verdict, reasons and three curves.

The report is a file beside the graph, so it is taken for anybody's text: a part that is not of the
shape that `circuit-tracer trust` writes is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from circuit_tracer.experiments.trust.results import ByDistance, Frozen, IndirectWay, Sufficiency
from circuit_tracer.experiments.trust.results_file import verdict_in
from circuit_tracer.graphs.files.json_values import from_plain, plain
from circuit_tracer.render.text import printable

FROZEN: dict[Frozen, str] = {"attention, norms": "all"}
"""What was frozen while a response was measured, where the page names it otherwise."""
T = TypeVar("T")


def trust_record(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The verdict with its reasons, and the points of the charts; None without a verdict."""
    try:
        verdict = verdict_in(report or {})
    except (KeyError, TypeError, ValueError):
        return None
    record: dict[str, Any] = plain(
        {
            "level": verdict.level,
            "headline": printable(verdict.headline),
            "reasons": [
                {"mark": reason.mark, "text": printable(reason.text)} for reason in verdict.reasons
            ],
            "indirect": [
                {"frozen": _named(way.frozen), **asdict(way.everything.spearman)}
                for way in _measured(IndirectWay, report, "knock_on", "by_held")
            ],
            "sufficiency": [
                {name: getattr(point, name) for name in ("threshold", "sufficiency", "necessity")}
                for curve in _measured(Sufficiency, report, "sufficiency")
                if curve.frozen == "nothing"
                for point in curve.points
            ],
            "distance": [
                {
                    "frozen": _named(curve.frozen),
                    "points": [
                        {"layers": point.layers_on, "cosine": point.cosine}
                        for point in curve.points
                    ],
                }
                for curve in _measured(ByDistance, report, "distance")
                if curve.points
            ],
        }
    )
    return record


def _measured(kind: type[T], report: Any, *keys: str) -> tuple[T, ...]:
    """The entries of a measured part, by its stored keys; none where it is not of its shape."""
    part = report
    try:
        for key in ("measured", *keys):
            part = part[key]
        return tuple(from_plain(kind, one) for one in part)
    except (KeyError, TypeError, ValueError):
        return ()


def _named(frozen: Frozen) -> str:
    return FROZEN.get(frozen, frozen)
