"""`diff` in the terminal: the verdict, then a short table a step; the rest is in report.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from circuit_tracer.experiments.diff.controls import SHIFT
from circuit_tracer.experiments.diff.doses import INDUCING, ONE, TEN
from circuit_tracer.experiments.diff.report import DiffReport
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.experiments.kit.tables import (
    MARKS,
    Table,
    sections,
    shares,
    verdict_text,
    wrapped,
    written,
)
from circuit_tracer.render.terminal import WIDTH

SHOWN = [("restore", name) for name in (TEN, ONE, SHIFT)] + [("induce", INDUCING)]
"""Edits, by direction and name."""


def page(report: DiffReport, *, width: int = WIDTH) -> RenderableType:
    """The report on one screen."""
    findings = report.verdict.findings
    rules = ", ".join(f"{MARKS[one.holds][0]} {one.name}" for one in findings)
    notes = (f"Rules: {rules}. All figures: report.md.", *report.notes)
    brief = (one for step, result in report.measured for one in step.brief(result))
    return Group(
        verdict_text(report.verdict.headline, (), width=width),
        Text(""),
        *sections(one for one in (*brief, _tested(report)) if one.rows),
        *(Text("\n".join(wrapped(note, width)), style="dim") for note in notes),
    )


def _tested(report: DiffReport) -> Table:
    """The chosen features beside the controls."""
    return Table(
        "7. Tested on test topics, beside controls",
        ("features", "right", "restored or induced", "loss"),
        tuple(
            (
                f"{one.way}: {name}",
                written(one.right, "0%"),
                *shares(one.share),
                written(one.loss, "+.3f"),
            )
            for name, one in _edits(report)
        ),
    )


def _edits(report: DiffReport) -> Iterator[tuple[str, EditRow]]:
    if report.doses is not None:
        yield from _shown(report.doses.edits)
    if report.controls is not None:
        yield from ((one.words, one.best) for one in report.controls.tens)
        yield from _shown(report.controls.edits)


def _shown(edits: Iterable[EditRow]) -> Iterator[tuple[str, EditRow]]:
    return ((one.name, one) for one in edits if (one.way, one.name) in SHOWN)
