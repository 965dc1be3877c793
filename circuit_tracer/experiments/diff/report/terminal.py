"""`diff` in the terminal: the verdict, then the tables that it rests on."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from circuit_tracer.experiments.diff.report.tables import tables
from circuit_tracer.experiments.diff.results.report import DiffReport
from circuit_tracer.experiments.kit.tables import MARKS, sections, verdict_text, wrapped
from circuit_tracer.render.terminal import WIDTH


def page(report: DiffReport, *, width: int = WIDTH) -> RenderableType:
    """The whole report on a few screens."""
    verdict = report.verdict
    findings = ((*MARKS[one.holds], f"{one.name}: {one.sentence}") for one in verdict.findings)
    return Group(
        verdict_text(verdict.headline, findings, width=width),
        Text(""),
        *sections(tables(report)),
        *(Text("\n".join(wrapped(note, width)), style="dim") for note in report.notes),
    )
