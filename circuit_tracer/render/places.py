"""A finished layout: boxes, columns, stripes, and where every node stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


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
