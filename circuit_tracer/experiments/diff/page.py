"""report.md, the whole comparison in one page of Markdown, and the figures under its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection

from circuit_tracer.experiments.diff.charts import (
    dose_svg,
    edges_svg,
    features_svg,
    spread_svg,
)
from circuit_tracer.experiments.diff.report import DIFF_FILE, DiffReport, tables
from circuit_tracer.experiments.kit.page import (
    finding_blocks,
    identity_words,
    reproducing_blocks,
    step_blocks,
)
from circuit_tracer.experiments.kit.tables import cell

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
    blocks = [
        f"# {cell(report.name)}",
        cell(report.question),
        f"**{cell(report.verdict.headline)}**",
        *step_blocks(tables(report), drawn.get),
        *finding_blocks(report.verdict.findings, report.notes),
        *reproducing_blocks(report, settings, of="items", command=command, file=DIFF_FILE),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def figures(report: DiffReport) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {name: draw(report) for name, draw in FIGURES.values()}
    return {name: svg for name, svg in drawn.items() if svg is not None}
