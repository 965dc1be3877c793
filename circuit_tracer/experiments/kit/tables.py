"""Tables of a report as plain text cells, and Markdown in which foreign text stays text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tracer.render.text import printable

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
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are escaped; columns of numbers are flush right."""
    sides = ["--:" if _is_number(column) else "---" for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(cell(one) for one in row) + " |" for row in (columns, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(sides)}|", *lines[1:]])


def _is_number(column: Sequence[str]) -> bool:
    return all(one[:1] in "+−?0123456789" for one in column)


def cell(words: str) -> str:
    """Text as Markdown that stays text: on one line, nothing in it a link, tag or column."""
    plain = printable(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _INTERVAL.sub(r"[\1]", _ACTING.sub(r"\\\g<0>", plain))
