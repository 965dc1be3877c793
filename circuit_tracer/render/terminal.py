"""What the terminal's tables and texts are made of.

Every function of render/ that draws for a terminal returns a rich renderable that reads the same
without colour and fits 80 columns; `as_text` turns one into plain text. Text of prompts and labels
is never read as rich markup.

A table fits any width: texts give way, numbers and names do not. Of a table that is too wide the
widest text column is narrowed first, then headings. What is still too wide runs over the edge,
where a terminal folds it: a number with "…" in it is none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from circuit_tracer.render.text import printable

WIDTH = 80
LABEL_CELLS = 30
UP, DOWN = "cyan", "yellow"
LEAST_TEXT = 12
"""Cells that a column of text keeps."""
LEAST_NAME = 16
"""Cells up to which a word, such as a node's name, is kept whole."""
LEAST_HEADING = 3
PADDING = 2


def as_text(renderable: RenderableType, *, width: int = WIDTH, color: bool = False) -> str:
    """The renderable as text of `width` columns, with colour codes only if asked for.

    Only what can be neither wrapped nor cut is wider: numbers, names, the steps of a route.
    """
    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(renderable, end="", crop=False)
    lines = out.getvalue().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines)


def plain_table(caption: str = "", *, header: bool = True) -> FittedTable:
    """A table without lines; the caption, if any, stands below."""
    return FittedTable(
        box=None,
        show_header=header,
        header_style="dim",
        pad_edge=True,
        padding=(0, 1, 0, 1),
        caption=Text(caption, style="dim") if caption else None,
        caption_justify="left",
    )


def titled(title: str, *parts: RenderableType) -> list[RenderableType]:
    """The parts under a bold title."""
    return [Text(title, style="bold"), *parts]


def note(words: str) -> RenderableType:
    """A line of explanation, indented also where it wraps."""
    return Padding(Text(words, style="dim"), (0, 0, 0, 2))


def in_lines(pieces: Sequence[str], width: int) -> list[str]:
    """Pieces in lines that fit the width; every line but the first is indented by two cells.

    A piece starts with the blanks that part it from the one before on the same line.
    """
    lines = list(pieces[:1])
    for piece in pieces[1:]:
        if cell_len(lines[-1] + piece) > width:
            lines.append("  " + piece.lstrip())
        else:
            lines[-1] += piece
    return lines


def sign_style(value: float) -> str:
    """The colour of a value's sign; the sign itself is always written too."""
    return UP if value > 0 else DOWN


class FittedTable(Table):
    """A table without lines whose columns are fitted to the width by what they hold."""

    def texts(self, *names: str) -> Self:
        """With more columns, of text on one line each."""
        for name in names:
            self.add_column(name, no_wrap=True)
        return self

    def numbers(self, *names: str) -> Self:
        """With more columns, of numbers."""
        for name in names:
            self.add_column(name, justify="right", no_wrap=True)
        return self

    def line(self, *cells: str, style: str = "") -> None:
        """Add a row of plain text: nothing in it is read as rich markup."""
        self.add_row(*(Text(printable(cell)) for cell in cells), style=style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """As a table of columns that all have a width."""
        widths = fitted(self.columns, options.max_width - PADDING * len(self.columns))
        table = copy.copy(self)
        table.columns = [copy.copy(column) for column in self.columns]
        for column, width in zip(table.columns, widths, strict=True):
            column.width, column.min_width = width, None
        whole = sum(widths) + PADDING * len(widths)
        yield from Table.__rich_console__(
            table, console, options.update(max_width=max(whole, options.max_width))
        )


def fitted(columns: list[Column], room: int) -> list[int]:
    """The columns' widths, together no more than `room` where that cuts no number and no name."""
    widths = [max(map(cell_len, (str(one.header), *_cells(one)))) for one in columns]
    cells = [_least_cells(column) for column in columns]
    for headings in ([_heading(column) for column in columns], [LEAST_HEADING] * len(columns)):
        floors = list(map(min, widths, map(max, headings, cells)))
        while sum(widths) > room:
            spare = [width - floor for width, floor in zip(widths, floors, strict=True)]
            if max(spare, default=0) <= 0:
                break
            widest = max(range(len(widths)), key=lambda i: (spare[i] > 0, widths[i]))
            widths[widest] -= 1
    return widths


def _least_cells(column: Column) -> int:
    """What a column's cells need with their texts cut or wrapped."""
    is_number = column.justify == "right"
    if is_number and column.no_wrap:
        return max(map(cell_len, _cells(column)), default=0)
    words = [word for cell in _cells(column) for word in cell.split()]
    longest = max(map(cell_len, words), default=0)
    if is_number:
        return longest
    is_names = all(len(cell.split()) < 2 for cell in _cells(column))
    if column.no_wrap and not is_names:
        return LEAST_TEXT
    return min(longest, LEAST_NAME)


def _cells(column: Column) -> Iterator[str]:
    for cell in column.cells:
        yield from str(cell).splitlines()


def _heading(column: Column) -> int:
    text = str(column.header)
    words = [text] if column.no_wrap else text.split()
    return max(map(cell_len, words), default=0)
