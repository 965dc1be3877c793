"""The whole report, `diff.json` in the report's folder; a step that was not measured is None."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tracer.experiments.diff import (
    behaviour,
    controls,
    doses,
    edges,
    features,
    fit,
    shift,
    where,
)
from circuit_tracer.experiments.diff.study import Step
from circuit_tracer.experiments.kit.results import SpecReport, Verdict, read_record
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.graph import Identity

DIFF_FILE = "diff.json"
STEPS: tuple[Step[Any], ...] = (
    behaviour.STEP,
    where.STEP,
    fit.STEP,
    shift.STEP,
    features.STEP,
    doses.STEP,
    edges.STEP,
    controls.STEP,
)
"""In their order; each may use what those before it found."""


@dataclass(frozen=True)
class DiffReport(SpecReport):
    """All of it."""

    base: Identity
    tuned: Identity
    dictionaries: tuple[Identity, ...]
    n_layers: int
    main: str
    """The family that choices are made in."""
    topics: dict[str, str]
    """What each topic is for."""
    loss_limit: float
    verdict: Verdict
    """Rules: experiments/diff/verdict.py."""
    behaviour: behaviour.BehaviourResult | None = None
    where: where.WhereResult | None = None
    fit: fit.FitResult | None = None
    shift: shift.ShiftResult | None = None
    features: features.FeaturesResult | None = None
    doses: doses.DosesResult | None = None
    edges: edges.EdgesResult | None = None
    controls: controls.ControlsResult | None = None

    @property
    def measured(self) -> Iterator[tuple[Step[Any], Any]]:
        """The steps that were measured, each with its result."""
        found = ((step, getattr(self, step.name)) for step in STEPS)
        return ((step, result) for step, result in found if result is not None)


def read_diff(path: Path) -> DiffReport:
    """A report from its file or folder. GraphFileError, with what is wrong, for anything else."""
    return read_record(DiffReport, path, file=DIFF_FILE, command="diff")


def tables(report: DiffReport) -> list[Table]:
    """Of every step that was measured; tables without rows are left out."""
    found = (one for step, result in report.measured for one in step.tables(result))
    return [one for one in found if one.rows]
