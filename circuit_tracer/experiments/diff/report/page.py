"""report.md, the whole comparison in one page of Markdown, and the figures under its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection

from circuit_tracer.experiments.diff.report.charts import dose_svg, features_svg, spread_svg
from circuit_tracer.experiments.diff.report.tables import tables
from circuit_tracer.experiments.diff.results.report import DIFF_FILE, DiffReport
from circuit_tracer.experiments.kit.page import (
    MEASUREMENTS_FILE,
    finding_blocks,
    identity_words,
    reproducing_blocks,
    step_blocks,
)
from circuit_tracer.experiments.kit.tables import cell

FIGURES: dict[str, tuple[str, Callable[[DiffReport], str | None]]] = {
    "1": ("spread.svg", spread_svg),
    "5": ("features.svg", features_svg),
    "7": ("dose.svg", dose_svg),
}
"""By the step's number in the report: its figure's file and what draws it (None: nothing to)."""


def report_markdown(report: DiffReport, figures: Collection[str] = (), *, command: str = "") -> str:
    """The page; `figures` are the files in its folder, `command` is what reproduces it."""
    blocks = [
        f"# {cell(report.name)}",
        cell(report.question),
        f"**{cell(report.verdict.headline)}**",
    ]
    blocks += step_blocks(tables(report), lambda number: _drawn(number, figures))
    findings = [(one.name, one.holds, one.sentence) for one in report.verdict.findings]
    blocks += finding_blocks(findings, report.notes)
    dictionaries = ", ".join(map(identity_words, report.dictionaries)) or "none"
    rows = [
        ("base", identity_words(report.base)),
        ("tuned", identity_words(report.tuned)),
        ("dictionaries", dictionaries),
        ("loss limit", f"{report.loss_limit:g} nats a token"),
        ("seed", str(report.seed)),
        ("bootstrap", f"{report.resamples:,} resamples of the items"),
        ("quick", "yes: fewer items and controls" if report.quick else "no"),
        ("time", f"{sum(report.seconds.values()):.0f} s"),
    ]
    files = (DIFF_FILE, MEASUREMENTS_FILE)
    blocks += reproducing_blocks(command, rows, report.versions, files)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _drawn(number: str, figures: Collection[str]) -> str | None:
    name = FIGURES[number][0] if number in FIGURES else ""
    return name if name in figures else None


def figures(report: DiffReport) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {name: draw(report) for name, draw in FIGURES.values()}
    return {name: svg for name, svg in drawn.items() if svg is not None}
