"""All tables of a report, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from circuit_tracer.experiments.diff.report import behaviour, edges, features, fit, shift, where
from circuit_tracer.experiments.diff.results.report import DiffReport
from circuit_tracer.experiments.kit.tables import Table

OF_STEP: dict[str, Callable[[Any], Iterator[Table]]] = {
    "behaviour": behaviour.tables,
    "where": where.tables,
    "fit": fit.tables,
    "shift": shift.tables,
    "features": features.ranking,
    "doses": features.doses,
    "edges": edges.tables,
    "controls": features.controls,
}
"""By field of the report: its tables."""


def tables(report: DiffReport) -> list[Table]:
    """Of every step that was measured; tables without rows are left out."""
    found = ((getattr(report, step), make) for step, make in OF_STEP.items())
    return [one for result, make in found if result is not None for one in make(result) if one.rows]
