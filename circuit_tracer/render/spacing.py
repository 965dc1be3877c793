"""How much room a layout takes: a page of its own size, or one that fits a width on paper.

A page for a width on paper has units of its own, `unit_points` each: letters of 9 units, the
smallest on such a page, print at 6 points. Its columns and layers stand closer, and no more of the
page goes to margins than must.
"""

from __future__ import annotations

from dataclasses import dataclass

POINTS_PER_MM = 72 / 25.4
COLUMN_MM, COLUMN_MARGIN = 85.0, 5.0
"""Width of a journal's column, and the margin of figures drawn for it, in points."""
COLUMN = COLUMN_MM * POINTS_PER_MM - 2 * COLUMN_MARGIN
"""Points between the margins."""
SMALLEST_LETTERS = 9.0
"""Units high, on a page for a width on paper."""
UNIT_POINTS = (0.78, 0.67)
"""What a unit of such a page may be, in points: letters of 7, else of 6 points."""
PAPER_MARGIN = 3.0
PAPER_GUTTER = 22.0


@dataclass(frozen=True)
class Spacing:
    """Distances in a layout, in units of the page."""

    gutter: float = 46.0
    """Left of the first column, for the layers' names."""
    column_gap: float = 20.0
    narrow_column_gap: float = 11.0
    """Where there are more than a few tokens."""
    largest_gap: float = 80.0
    """What may be added between columns to fill the page."""
    layer_gap: float = 30.0
    token_gap: float = 52.0
    """Above the tokens, where most edges start."""
    line_gap: float = 9.0
    """Between the lines of nodes in one cell."""
    narrowest: float = 520.0
    """What the page is spread to."""
    widest: float = 900.0
    """Targets side by side are broken into lines that are no wider."""
    apart: int | None = None
    """From this position on everything stands to the right of all before it."""
    upright: bool = False
    """Whether tokens are written from the bottom up."""
    smallest: float = 0.0
    """No letters are smaller."""


SCREEN = Spacing()
"""Of a page that takes the room it needs."""


def on_paper(width: float, *, upright: bool) -> Spacing:
    """Distances on a page that is `width` units wide and no wider."""
    return Spacing(
        gutter=PAPER_GUTTER,
        column_gap=14.0,
        narrow_column_gap=6.0,
        layer_gap=15.0,
        token_gap=36.0,
        line_gap=3.0,
        narrowest=width,
        widest=width - PAPER_GUTTER,
        upright=upright,
        smallest=SMALLEST_LETTERS,
    )
