"""A report's tables and findings in the terminal, and as Markdown in which any text stays text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import (
    decimals,
    number,
    percent,
    signed_percent,
    whole_percent,
    with_interval,
)
from circuit_tracer.render.terminal import plain_table, titled
from circuit_tracer.render.text import printable

MARKS = {"yes": ("+", "green"), "no": ("-", "red"), "unclear": ("?", "yellow")}
"""By whether a finding holds: its mark and the mark's colour."""
_ACTING = re.compile(r"[\\|`*\[\]]|(?<!\w)_|_(?!\w)")
"""What Markdown acts on; an underscore between letters is none."""
_INTERVAL = re.compile(r"\\\[([-−+0-9.,% ]+)\\\](?!\()")
"""What is no link though it stands in brackets."""


@dataclass(frozen=True)
class Table:
    """One table of a report."""

    step: str
    """Heading it stands under; several tables may share one."""
    columns: tuple[str, ...]
    """Their names; all empty for a table without headings."""
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    title: str = ""
    """Its own heading, where several stand under one."""


FORMS: dict[str, Callable[[Any], str]] = {
    "%": lambda value: percent(_bare(value)),
    "+%": lambda value: signed_percent(_bare(value)),
    "0%": lambda value: whole_percent(_bare(value)),
    ".2": lambda value: decimals(_bare(value)),
    "+.2": lambda value: decimals(_bare(value), sign=True),
    "number": lambda value: number(_bare(value)),
    "[]": with_interval,
    "[+]": lambda value: with_interval(value, sign=True),
    "[%]": lambda value: with_interval(value, percent=True),
    "[+%]": lambda value: with_interval(value, percent=True, sign=True),
}
"""How a figure is written; in brackets, with its interval. All other forms are Python's."""


def table_of(
    step: str,
    things: Iterable[Any],
    columns: Sequence[str],
    cells: str,
    note: str = "",
    title: str = "",
) -> Table:
    """Things as rows. `cells`, separated by blanks, are what stands under the columns' names: an
    attribute of each thing and, after a colon, its form: "name size:.2f share:[%]"."""
    split = [one.partition(":") for one in cells.split()]
    parts = [(attrgetter(of), form) for of, _, form in split]
    rows = tuple(tuple(written(get(one), form) for get, form in parts) for one in things)
    return Table(step, tuple(columns), rows, note, title)


def written(value: Any, form: str = "") -> str:
    """A value in one of `FORMS` or of Python's; "" for None."""
    if value is None:
        return ""
    return FORMS[form](value) if form in FORMS else format(_bare(value), form)


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Interval) else value


def shares(*intervals: Interval) -> tuple[str, ...]:
    """ "83 % [79, 88]" of each."""
    return tuple(with_interval(one, percent=True) for one in intervals)


def signed(*intervals: Interval) -> tuple[str, ...]:
    """ "+0.83 [+0.79, +0.88]" of each."""
    return tuple(with_interval(one, sign=True) for one in intervals)


def rich_table(table: Table) -> RichTable:
    """A table for the terminal, its note below; columns of numbers are flush right."""
    shown = plain_table(escape(table.note), header=any(table.columns))
    for i, name in enumerate(table.columns):
        is_number = _is_number(row[i] for row in table.rows)
        side: Literal["left", "right"] = "right" if is_number else "left"
        shown.add_column(Text(printable(name)), justify=side, overflow="fold")
    for row in table.rows:
        shown.line(*row)
    return shown


def sections(tables: Iterable[Table]) -> Iterator[RenderableType]:
    """Tables for the terminal under their headings."""
    for table in tables:
        yield from titled(table.title or table.step, rich_table(table), Text(""))


def screen(head: Text, tables: Iterable[Table], notes: Iterable[str], *, width: int) -> Group:
    """A report for the terminal: a verdict, the tables that it rests on, notes."""
    said = (Text("\n".join(wrapped(note, width)), style="dim") for note in notes)
    return Group(head, Text(""), *sections(tables), *said)


def verdict_text(
    headline: str,
    findings: Iterable[tuple[str, str, str]],
    *,
    width: int,
    style: str = "bold",
    paragraph: str = "",
) -> Text:
    """A headline in its style and what it rests on: marks, each with its colour and its words."""
    text = Text("\n".join(wrapped(headline, width)), style=style)
    if paragraph:
        text.append("\n" + "\n".join(wrapped(paragraph, width)))
    for mark, color, words in findings:
        text.append(f"\n  {mark} ", style=color)
        text.append("\n    ".join(wrapped(words, width - 4)))
    return text


def wrapped(words: str, width: int) -> list[str]:
    """Lines of at most `width`; a number and its % stay together."""
    lines = textwrap.wrap(printable(words).replace(" %", "\u00a0%"), width)
    return [line.replace("\u00a0", " ") for line in lines]


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are escaped; columns of numbers are flush right."""
    sides = ["--:" if _is_number(column) else "---" for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell(one) for one in row) + " |" for row in (columns, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(sides)}|", *lines[1:]])


def _is_number(column: Iterable[str]) -> bool:
    return all(text[:1] in "+-−?0123456789" for text in column)


def cell(words: str) -> str:
    """Text as Markdown that stays text: on one line, nothing in it a link, tag or column."""
    plain = printable(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _INTERVAL.sub(r"[\1]", _ACTING.sub(r"\\\g<0>", plain))
