"""`dissociation.json`: a dissociation report as JSON and back."""

from __future__ import annotations

import json
from pathlib import Path

from circuit_tracer.errors import GraphFileError, reason
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.graphs.files.json_values import from_plain, to_json

DISSOCIATION_FILE = "dissociation.json"


def write_report(report: Report, path: Path) -> None:
    """As JSON; NaN becomes null."""
    path.write_text(to_json(report, indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> Report:
    """A report from its file or folder. GraphFileError, with what is wrong, for anything else."""
    path = path / DISSOCIATION_FILE if path.is_dir() else path
    try:
        return from_plain(Report, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as e:
        raise GraphFileError(
            f"{path} is no report that dissociate wrote ({reason(e)}); give the folder it wrote"
        ) from e
