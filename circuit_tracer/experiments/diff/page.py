"""A comparison as report.md with its figures, and in the terminal: the verdict and brief tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from rich.console import RenderableType

from circuit_tracer.experiments.diff.charts import (
    dose_svg,
    edges_svg,
    features_svg,
    spread_svg,
)
from circuit_tracer.experiments.diff.controls import SHIFT
from circuit_tracer.experiments.diff.doses import INDUCING, ONE, TEN
from circuit_tracer.experiments.diff.report import DIFF_FILE, DiffReport, tables
from circuit_tracer.experiments.diff.testing import EditRow
from circuit_tracer.experiments.kit.page import identity_words, report_page
from circuit_tracer.experiments.kit.tables import (
    MARKS,
    Table,
    screen,
    shares,
    verdict_text,
    written,
)
from circuit_tracer.render.terminal import WIDTH

FIGURES: dict[str, tuple[str, Callable[[DiffReport], str | None]]] = {
    "1": ("spread.svg", spread_svg),
    "5": ("features.svg", features_svg),
    "6": ("edges.svg", edges_svg),
    "7": ("dose.svg", dose_svg),
}
"""By the step's number in the report: its figure's file and what draws it (None: nothing to)."""


def report_markdown(report: DiffReport, figures: Collection[str] = (), *, command: str = "") -> str:
    """The page; `figures` are the files in its folder, `command` is what reproduces it."""
    drawn = {step: name for step, (name, _) in FIGURES.items() if name in figures}
    settings = [
        ("base", identity_words(report.base)),
        ("tuned", identity_words(report.tuned)),
        ("dictionaries", ", ".join(map(identity_words, report.dictionaries)) or "none"),
        ("loss limit", f"{report.loss_limit:g} nats a token"),
    ]
    how = {"of": "items", "command": command, "file": DIFF_FILE}
    return report_page(report, report.verdict, tables(report), drawn, settings, **how)


def figures(report: DiffReport) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {name: draw(report) for name, draw in FIGURES.values()}
    return {name: svg for name, svg in drawn.items() if svg is not None}


SHOWN = [("restore", name) for name in (TEN, ONE, SHIFT)] + [("induce", INDUCING)]
"""Edits, by direction and name."""


def page(report: DiffReport, *, width: int = WIDTH) -> RenderableType:
    """The report on one screen."""
    findings = report.verdict.findings
    rules = ", ".join(f"{MARKS[one.holds][0]} {one.name}" for one in findings)
    notes = (f"Rules: {rules}. All figures: report.md.", *report.notes)
    brief = (one for step, result in report.measured for one in step.brief(result))
    shown = (one for one in (*brief, _tested(report)) if one.rows)
    head = verdict_text(report.verdict.headline, (), width=width)
    return screen(head, shown, notes, width=width)


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
