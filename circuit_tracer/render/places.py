"""A finished layout: boxes, columns, stripes, and where every node stands; and its distances.

A page for a width on paper has units of its own, `unit_points` each: letters of 9 units, the
smallest on such a page, print at 6 points. Its columns and layers stand closer, and no more of the
page goes to margins than must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

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


class Box(NamedTuple):
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True)
class Placed:
    """One node on the page."""

    row: int
    mark: Box
    """The disc, diamond or box itself."""
    box: Box
    """Mark and label together."""
    label: str
    """What is written: to the right of a feature's or error's mark, inside a box."""
    upright: bool = False
    """Whether it is written from the bottom up."""

    @property
    def x(self) -> float:
        """Centre of the mark."""
        return (self.mark.left + self.mark.right) / 2

    @property
    def y(self) -> float:
        """Centre of the mark."""
        return (self.mark.top + self.mark.bottom) / 2

    @property
    def radius(self) -> float:
        """Half the width of the mark."""
        return (self.mark.right - self.mark.left) / 2


@dataclass(frozen=True)
class Column:
    """One token, or a run of tokens without nodes."""

    first: int
    """Token position; for a gap the first of `count` positions."""
    count: int
    left: float
    right: float
    label: str
    """The token as shown, "" for a gap."""

    @property
    def is_gap(self) -> bool:
        """Whether the column stands for tokens that are not drawn."""
        return not self.label

    @property
    def centre(self) -> float:
        """The middle of the column."""
        return (self.left + self.right) / 2


@dataclass(frozen=True)
class Band:
    """The stripe of one layer."""

    layer: int
    """-1 for the tokens, the number of layers for the targets."""
    top: float
    bottom: float
    middle: float
    """Where its nodes are centred."""


@dataclass(frozen=True)
class Layout:
    """Everything placed; the plot's upper left corner is (0, 0)."""

    width: float
    height: float
    placed: Mapping[int, Placed]
    """By row of the node table, ascending."""
    columns: tuple[Column, ...]
    bands: tuple[Band, ...]
    """From the targets down to the tokens."""
    cut: float
    """Share of the labels that had to be shortened."""
    upright: bool = False
    """Whether tokens are written from the bottom up."""
    smallest: float = 0.0
    """No letters on the page are to be smaller."""


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
