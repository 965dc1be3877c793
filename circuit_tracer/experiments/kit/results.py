"""What experiments' results have in common: findings, and the JSON file of a whole report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.json_values import from_plain, to_json
from circuit_tracer.reading import readable

Holds = Literal["yes", "no", "unclear"]
"""Whether an interval shows it, shows the contrary, or leaves it open."""
Report = TypeVar("Report")


@dataclass(frozen=True)
class Finding:
    """One sentence of a verdict and the rule that made it."""

    name: str
    """The step it rests on."""
    holds: Holds
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What the numbers support, in plain words."""

    headline: str
    """A clause: "one place of recall, two read-outs"."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class SpecReport:
    """What the report of every experiment that a spec asks for says about how it was made."""

    name: str
    question: str
    seed: int
    quick: bool
    resamples: int
    """Of the bootstrap."""
    notes: tuple[str, ...]
    """What was not measured, and why."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage; of a stage taken from an earlier run, what it took then."""
    versions: dict[str, str] = field(default_factory=dict)


def write_record(report: Any, path: Path) -> None:
    """A report as JSON; NaN becomes null."""
    path.write_text(to_json(report, indent=1) + "\n", encoding="utf-8")


def read_record(kind: type[Report], path: Path, *, file: str, command: str) -> Report:
    """A report that a command wrote, from its folder or the file in it.

    Raises GraphFileError, with what is wrong, for anything else.
    """
    path = path / file if path.is_dir() else path
    problem = f"is no report that {command} wrote"
    with readable(path, GraphFileError, "give the folder it wrote", problem=problem):
        return from_plain(kind, json.loads(path.read_bytes()))
