"""`dissociate` in the terminal: the verdict first, then the tables that it rests on."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

from circuit_tracer.experiments.dissociation.report.brief import brief_tables
from circuit_tracer.experiments.dissociation.report.compare import Comparison, comparison_rows
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.render.terminal import WIDTH, add_plain, plain_table
from circuit_tracer.render.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

MARKS = {"yes": ("+", "green"), "no": ("-", "red"), "unclear": ("?", "yellow")}


def page(report: Report, *, width: int = WIDTH) -> RenderableType:
    """The whole report on a few screens."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_verdict(report, width), Text("")]
    for table in brief_tables(report):
        parts += [Text(table.step, style="bold"), _table(table), Text("")]
    for note in report.notes:
        parts.append(Text("\n".join(textwrap.wrap(printable(note), width)), style="dim"))
    return Group(*parts)


def comparison_page(found: Comparison) -> RichTable:
    """One line a figure, one column a model."""
    columns, rows = comparison_rows(found.models, found.measures)
    note = "95 % intervals over objects; apart: no two models' intervals meet."
    return _table(Table("", columns, tuple(rows), note))


def _verdict(report: Report, width: int) -> Text:
    from rich.text import Text

    text = Text()
    text.append(f"{printable(report.verdict.headline)}\n", style="bold")
    text.append("\n".join(textwrap.wrap(printable(report.verdict.paragraph), width)) + "\n")
    for one in report.verdict.findings:
        mark, style = MARKS[one.holds]
        text.append(f"  {mark} ", style=style)
        lines = textwrap.wrap(printable(f"{one.name}: {one.sentence}"), width - 4)
        text.append("\n    ".join(lines) + "\n")
    text.rstrip()
    return text


def _table(table: Table) -> RichTable:
    from rich.text import Text

    shown = plain_table(table.note)
    for number, name in enumerate(table.columns):
        side: Literal["left", "right"] = "left" if number == 0 else "right"
        shown.add_column(Text(printable(name)), justify=side, overflow="fold")
    for row in table.rows:
        add_plain(shown, *row)
    return shown
