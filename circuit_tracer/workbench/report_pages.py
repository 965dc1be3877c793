"""The page of a report that a folder holds: of an experiment, a transcript's steps, or edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from circuit_tracer.experiments.edits.results import EDITS_FILE
from circuit_tracer.experiments.kit.stages import STAGES
from circuit_tracer.experiments.steps.report.figure import steps_html
from circuit_tracer.experiments.steps.results import STEPS_FILE
from circuit_tracer.render.report_page import report_page
from circuit_tracer.workbench.editing import EDITS_PAGE, edits_page, read_edits
from circuit_tracer.workbench.report_folder import REPORT_HTML, REPORT_PAGE
from circuit_tracer.workbench.stepping import STEPS_PAGE, read_steps
from circuit_tracer.workbench.viewing import is_page, write_text_page


def _experiment(folder: Path) -> str:
    """report.md with its figures."""
    drawn = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    text = (folder / REPORT_PAGE).read_text(encoding="utf-8")
    return report_page(folder.name, text, drawn)


PAGES: Mapping[str, tuple[str, Callable[[Path], str]]] = {
    REPORT_PAGE: (REPORT_HTML, _experiment),
    STEPS_FILE: (STEPS_PAGE, lambda folder: steps_html(read_steps(folder))),
    EDITS_FILE: (EDITS_PAGE, lambda folder: edits_page(read_edits(folder))),
}
"""By the file that a report's folder has, its page and what makes it."""


def report_in(path: Path) -> Path | None:
    """The file of the report that lies in a folder, or that is named itself; None for none."""
    files = [path] if path.name in PAGES else [path / name for name in PAGES]
    for file in files:
        if file.is_file() and (file.name != REPORT_PAGE or (file.parent / STAGES).is_dir()):
            return file
    return None


def write_report_page(file: Path, out: Path | None, *, overwrite: bool) -> Path:
    """Write a report as one HTML page, by default into its folder in place of an earlier one;
    returns its file. Raises OutputError and GraphFileError for a report that cannot be read."""
    name, page_of = PAGES[file.name]
    final = out or file.parent / name
    again = overwrite or (out is None and is_page(final))
    return write_text_page(page_of(file.parent), final, overwrite=again)
