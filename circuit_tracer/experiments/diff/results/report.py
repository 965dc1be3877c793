"""The whole report, `diff.json` in the report's folder; a step that was not measured is None."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from circuit_tracer.errors import GraphFileError
from circuit_tracer.experiments.diff.results.behaviour import BehaviourResult
from circuit_tracer.experiments.diff.results.edges import EdgesResult
from circuit_tracer.experiments.diff.results.features import (
    ControlsResult,
    DosesResult,
    FeaturesResult,
)
from circuit_tracer.experiments.diff.results.fit import FitResult
from circuit_tracer.experiments.diff.results.shift import ShiftResult
from circuit_tracer.experiments.diff.results.where import WhereResult
from circuit_tracer.graphs.files.json_values import from_plain, to_json
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.reading import readable

DIFF_FILE = "diff.json"
Holds = Literal["yes", "no", "unclear"]
"""Whether an interval shows it, shows the contrary, or leaves it open."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict and the rule that made it."""

    name: str
    """The step it rests on."""
    holds: Holds
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What the numbers support, in plain words (rules: experiments/diff/verdict.py)."""

    headline: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class DiffReport:
    """All of it."""

    name: str
    question: str
    base: Identity
    tuned: Identity
    dictionaries: tuple[Identity, ...]
    n_layers: int
    main: str
    """The family that choices are made in."""
    topics: dict[str, str]
    """What each topic is for."""
    loss_limit: float
    seed: int
    quick: bool
    resamples: int
    verdict: Verdict
    notes: tuple[str, ...]
    """Steps that were not measured, and why."""
    behaviour: BehaviourResult | None = None
    where: WhereResult | None = None
    fit: FitResult | None = None
    shift: ShiftResult | None = None
    features: FeaturesResult | None = None
    doses: DosesResult | None = None
    edges: EdgesResult | None = None
    controls: ControlsResult | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage; of a stage taken from an earlier run, what it took then."""
    versions: dict[str, str] = field(default_factory=dict)


def write_diff(report: DiffReport, path: Path) -> None:
    """As JSON; NaN becomes null."""
    path.write_text(to_json(report, indent=1) + "\n", encoding="utf-8")


def read_diff(path: Path) -> DiffReport:
    """A report from its file or folder. GraphFileError, with what is wrong, for anything else."""
    path = path / DIFF_FILE if path.is_dir() else path
    problem, advice = "is no report that diff wrote", "give the folder it wrote"
    with readable(path, GraphFileError, advice, problem=problem):
        return from_plain(DiffReport, json.loads(path.read_bytes()))
