"""What edits do to families of prompts, as a figure and as a page."""

from __future__ import annotations

from collections.abc import Sequence

from circuit_tracer.experiments.edits.report.terminal import family_table, role_table
from circuit_tracer.experiments.edits.results import FamiliesReport, Family
from circuit_tracer.experiments.kit.page import finding_blocks
from circuit_tracer.experiments.kit.tables import cell, markdown_table
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.chart import Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import Axis, Style
from circuit_tracer.render.report_page import report_page

FIGURE = "edits.svg"
STEPS = 4
"""Of an axis, at most."""
STYLES = {
    "yes": Style(palette.POSITIVE, "disc"),
    "no": Style(palette.QUIET, "square"),
    "unclear": Style(palette.QUIET, "diamond"),
}
"""Of the marks, by whether the edit decides."""


def families_svg(report: FamiliesReport) -> str:
    """A row a family: the mean change of the contrast, and the share of items that flip."""
    sheet = Sheet(
        report.question,
        "Means over items with 95 % bootstrap intervals: of the change of the contrast in logits, "
        "and of items whose contrast changes its sign. Blue discs: the edit decides, or resolves a "
        "conflict; grey: it does not (squares), or that stays open (diamonds).",
    )
    changes = [one.change for one in report.families]
    axis = Axis.covering(changes, -1, 1, 0.5, most_steps=STEPS)
    flips = [one.flips for one in report.families]
    sheet.rows(
        RowPanel("Change of the contrast", _rows(report, changes), axis, sign=True, strong=0.0),
        RowPanel("Items that flip", _rows(report, flips), Axis(0.0, 1.0, 0.25, percent=True)),
        names=120,
    )
    return sheet.svg(f"What edits do: {report.name}")


def _rows(report: FamiliesReport, figures: Sequence[Interval]) -> list[Row]:
    triples = zip(report.families, report.findings, figures, strict=True)
    return [Row(one.name, figure, STYLES[finding.holds]) for one, finding, figure in triples]


def families_html(report: FamiliesReport) -> str:
    """The page of a report."""
    blocks = [
        f"# {cell(report.name)}",
        f"![What edits do]({FIGURE})",
        *family_blocks(report),
        *finding_blocks(report.findings, ()),
        *(block for one in report.families if one.roles for block in _roles(one)),
    ]
    name = f"Edits: {report.name}"
    return report_page(name, "\n\n".join(blocks), {FIGURE: families_svg(report)})


def family_blocks(report: FamiliesReport) -> tuple[str, str]:
    """As Markdown: a row a family, and an example of each."""
    figures = family_table(report)
    holds = [{"unclear": "open"}.get(one.holds, one.holds) for one in report.findings]
    rows = [(*row, verdict) for row, verdict in zip(figures.rows, holds, strict=True)]
    examples = [f"- {cell(one.name)}: {cell(' => '.join(one.example))}" for one in report.families]
    return markdown_table((*figures.columns, "decides"), rows), "\n".join(examples)


def _roles(family: Family) -> tuple[str, str]:
    table = role_table(family.roles)
    return f"## Influence by slot: {cell(family.name)}", markdown_table(table.columns, table.rows)
