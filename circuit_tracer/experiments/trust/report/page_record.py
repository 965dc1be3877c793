"""What the viewer shows of a trust report: its verdict, reasons and three curves.

The report is a file beside the graph, so it is taken for anybody's text: what is not of the shape
that `circuit-tracer trust` writes is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from circuit_tracer.experiments.trust.results_file import verdict_in
from circuit_tracer.render.text import printable

# By how the stored report calls them.
FROZEN = {"held": "all", "constrained": "attention", "free": "nothing"}
"""What was frozen while a response was measured, as the page names it."""


def trust_record(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The verdict with its reasons, and the points of the charts; None without a verdict."""
    try:
        verdict = verdict_in(report or {})
    except (KeyError, TypeError, ValueError):
        return None
    measured = _mapping(report, "measured")
    return {
        "level": verdict.level,
        "headline": printable(verdict.headline),
        "reasons": [
            {"mark": reason.mark, "text": printable(reason.text)} for reason in verdict.reasons
        ],
        "indirect": _indirect(_mapping(measured, "knock_on")),
        "sufficiency": _sufficiency(measured),
        "distance": _distance(measured),
    }


def _indirect(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    points = []
    for one in _mappings(found, "by_held"):
        spearman = _mapping(_mapping(one, "everything"), "spearman")
        figures = {name: _number(spearman.get(name)) for name in ("value", "low", "high")}
        points.append({"frozen": _frozen(one), **figures})
    return points


def _sufficiency(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """With nothing frozen: what the kept features alone keep of the target, by node threshold."""
    for one in _mappings(measured, "sufficiency"):
        if one.get("held") == "free":
            return [
                {
                    name: _number(point.get(name))
                    for name in ("threshold", "sufficiency", "necessity")
                }
                for point in _mappings(one, "points")
            ]
    return []


def _distance(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    curves = []
    for one in _mappings(measured, "distance"):
        points = [
            {"layers": int(point["layers_on"]), "cosine": _number(point.get("cosine"))}
            for point in _mappings(one, "points")
            if isinstance(point.get("layers_on"), int)
        ]
        if points:
            curves.append({"frozen": _frozen(one), "points": points})
    return curves


def _frozen(record: Mapping[str, Any]) -> str:
    # The stored report calls it "held".
    stored = str(record.get("held", ""))
    return FROZEN.get(stored, printable(stored))


def _mapping(record: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = (record or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _mappings(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = record.get(name)
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    return [one for one in found if isinstance(one, Mapping)]


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None
