"""`dissociation.json`: a dissociation report as JSON and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from circuit_tracer.errors import GraphFileError, UsageError, reason
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.graphs.files.json_values import from_plain, to_json

DISSOCIATION_FILE = "dissociation.json"


def write_report(report: Report, path: Path) -> None:
    """As JSON; NaN becomes null."""
    path.write_text(to_json(report, indent=1) + "\n", encoding="utf-8")


def are_reports(paths: Sequence[Path]) -> bool:
    """Whether all of them are reports (folders or their JSON files), none a graph.

    UsageError for a mixture.
    """
    are = [path.name == DISSOCIATION_FILE or (path / DISSOCIATION_FILE).is_file() for path in paths]
    if any(are) and not all(are):
        raise UsageError(
            f"{paths[are.index(False)]} is no report of dissociate, but others are; compare graphs "
            "with graphs and reports with reports"
        )
    return all(are)


def read_report(path: Path) -> Report:
    """A report from its file or folder. GraphFileError, with what is wrong, for anything else."""
    path = path / DISSOCIATION_FILE if path.is_dir() else path
    try:
        return from_plain(Report, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
        raise GraphFileError(
            f"{path} is no report that dissociate wrote ({reason(e)}); give the folder it wrote"
        ) from e
