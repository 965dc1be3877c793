"""The folder of an experiment's report: what it may hold, and what goes when it is replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from circuit_tracer.errors import OutputError
from circuit_tracer.experiments.kit.page import MEASUREMENTS_FILE
from circuit_tracer.experiments.kit.results import write_record
from circuit_tracer.experiments.kit.stages import STAGES, holds_stages
from circuit_tracer.graphs import new_file
from circuit_tracer.render.report_page import report_page
from circuit_tracer.workbench.folders import write_texts
from circuit_tracer.workbench.viewing import is_page, write_text_page

REPORT_PAGE, REPORT_HTML = "report.md", "report.html"


def check_report_folder(folder: Path, command: str, overwrite: bool = False) -> None:
    """Refuse a folder that holds something else, before anything is opened; raises OutputError.

    `command` is the one whose reports it may hold.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file; choose another `name` or `out`")
    if folder.is_dir() and any(folder.iterdir()) and not holds_stages(folder):
        advice = ", so `overwrite` leaves it alone" if overwrite else ""
        raise OutputError(
            f"{folder} holds something other than a report of {command}{advice}; choose another "
            "`name` or `out`"
        )
    wanted = folder.absolute() / STAGES
    there = next(place for place in (wanted, *wanted.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        problem = "you may not write there" if there.is_dir() else "it is a file"
        raise OutputError(f"cannot write in {there}: {problem}; choose another `out`")


def write_report(
    folder: Path, report: object, *, file: str, page: str, drawn: Mapping[str, str]
) -> list[str]:
    """A report's page, figures and JSON file; returns the names of all files that make it."""
    write_texts({folder / name: text for name, text in {REPORT_PAGE: page, **drawn}.items()})
    with new_file(folder / file, overwrite=True) as path:
        write_record(report, path)
    return [REPORT_PAGE, file, MEASUREMENTS_FILE, *sorted(drawn)]


def is_report(path: Path) -> bool:
    """Whether a folder holds an experiment's report."""
    return (path / REPORT_PAGE).is_file() and (path / STAGES).is_dir()


def write_report_page(folder: Path, out: Path | None, *, overwrite: bool) -> Path:
    """Write a report as one HTML page with its figures, by default report.html in its folder, in
    place of an earlier one; returns its file."""
    drawn = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    text = (folder / REPORT_PAGE).read_text(encoding="utf-8")
    final = out or folder / REPORT_HTML
    again = overwrite or (out is None and is_page(final))
    return write_text_page(report_page(folder.name, text, drawn), final, overwrite=again)


def remove(folder: Path, names: Sequence[str]) -> None:
    """Take some files and folders out of a report's folder, those that are there."""
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
