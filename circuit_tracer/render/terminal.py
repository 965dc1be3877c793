"""What the terminal's tables and texts are made of.

Every function of render/ that draws for a terminal returns a rich renderable that reads the same
without colour and fits 80 columns; `as_text` turns one into plain text. Text of prompts and labels
is never read as rich markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from circuit_tracer.render.fitted_table import FittedTable

WIDTH = 80
LABEL_CELLS = 30
UP, DOWN = "cyan", "yellow"


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
        caption=caption or None,
        caption_justify="left",
        caption_style="dim",
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
