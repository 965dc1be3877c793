"""The trust panel under a drawn graph: the verdict, its key figures, and the first reasons.

Marks differ in shape as well as in colour: a disc with a plus speaks for the graph, a
triangle with an exclamation mark is to be kept in mind, a square with a cross speaks against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from circuit_tracer.render import palette
from circuit_tracer.render.legend import LINE
from circuit_tracer.render.markup import Attribute, element
from circuit_tracer.render.svg_page import (
    SMALL,
    Block,
    bold,
    ink,
    line,
    polygon,
    quiet,
    rect,
    shift,
)
from circuit_tracer.render.text import shorten_to_width, text_width, wrap

PAD = 10.0
MOST_REASONS = 4
SIDE_BY_SIDE = 560.0
"""Panels at least so wide have the reasons beside the figures, not under them."""
INDENT = 16.0
COLORS = {"+": palette.FEATURE, "~": palette.TOKEN_EDGE, "-": palette.NEGATIVE}
LEVEL_MARKS = {"sound": "+", "care": "~", "doubtful": "-", "broken": "-"}


Mark = Literal["+", "~", "-"]
"""Speaks for the graph; to be kept in mind; speaks against it."""
Level = Literal["sound", "care", "doubtful", "broken"]


@dataclass(frozen=True)
class Reason:
    """One finding in words."""

    mark: Mark
    """"+" speaks for the graph, "-" against it, "~" is to be kept in mind."""
    text: str


@dataclass(frozen=True)
class KeyFigure:
    """One figure in short, as it stands in the panel of a drawn graph."""

    mark: Mark
    name: str
    value: str
    bar: str
    """What it is measured by: "good from 0.72"."""


@dataclass(frozen=True)
class Verdict:
    """Whether to believe a graph, and why, as `circuit-tracer trust` words it."""

    level: Level
    headline: str
    reasons: tuple[Reason, ...] = ()
    figures: tuple[KeyFigure, ...] = ()


@dataclass(frozen=True)
class StoredVerdict(Verdict):
    """The verdict of a report in a file."""

    is_brief: bool = False
    """Whether only what takes a second was tested."""


def trust_panel(verdict: StoredVerdict, width: float) -> Block:
    """The panel, `width` wide."""
    inner = width - 2 * PAD
    heading, y = _heading(verdict, inner)
    left = inner if inner < SIDE_BY_SIDE else 0.48 * inner
    figures, below = _figures(verdict.figures, left, y)
    if inner < SIDE_BY_SIDE:
        reasons, bottom = _reasons(verdict, 0.0, inner, below + 6)
    else:
        reasons, bottom = _reasons(verdict, left + 2 * PAD, inner - left - 2 * PAD, y)
    height = max(below, bottom) + PAD - 4
    frame = rect(0, 0, width, height, rx=4, fill=palette.STRIPE, stroke=palette.RULE)
    edge = rect(0, 0, 4, height, rx=2, fill=COLORS[LEVEL_MARKS[verdict.level]])
    inside = shift(PAD + 2, 0, *heading, *figures, *reasons)
    return Block(element("g", frame, edge, inside, class_="trust"), height)


def _heading(verdict: StoredVerdict, width: float) -> tuple[list[str], float]:
    """The headline, and where what follows begins."""
    tested = "Trust, tested briefly" if verdict.is_brief else "Trust"
    parts, y = [], PAD - 2
    for row in wrap(f"{tested}: {verdict.headline}", 11.5, width / 1.1):
        y += LINE
        parts.append(bold(row, 0, y, 11))
    return parts, y + 7


def _figures(figures: Sequence[KeyFigure], width: float, top: float) -> tuple[list[str], float]:
    """One line a figure: mark, name, value, and the bound it is compared with."""
    parts, y = [], top
    names = max((text_width(key.name, SMALL) for key in figures), default=0.0)
    at = min(INDENT + names + 10, 0.55 * width)
    bar = at + 10 + max((text_width(key.value, SMALL) for key in figures), default=0.0)
    for key in figures:
        y += LINE
        name = shorten_to_width(key.name, SMALL, at - INDENT - 6)
        bound = shorten_to_width(key.bar, SMALL, width - bar)
        parts += [
            mark(key.mark, 5.0, y - 3.2),
            ink(name, INDENT, y, font_size=SMALL),
            bold(key.value, at, y, SMALL),
            quiet(bound, bar, y, font_size=SMALL),
        ]
    return parts, y


def _reasons(
    verdict: StoredVerdict, left: float, width: float, top: float
) -> tuple[list[str], float]:
    """The first reasons, those against the graph before the others."""
    parts, y = [], top
    for reason in first_reasons(verdict.reasons):
        for i, row in enumerate(wrap(reason.text, SMALL, width - INDENT)):
            y += LINE if i == 0 else LINE - 3
            if i == 0:
                parts.append(mark(reason.mark, left + 5, y - 3.2))
            parts.append(ink(row, left + INDENT, y, font_size=SMALL))
    left_out = len(verdict.reasons) - min(len(verdict.reasons), MOST_REASONS)
    if left_out:
        y += LINE
        parts.append(quiet(f"{left_out} more in trust.json", left + INDENT, y, font_size=SMALL))
    return parts, y


def first_reasons(reasons: Sequence[Reason]) -> list[Reason]:
    """At most `MOST_REASONS`, what speaks against the graph first."""
    return sorted(reasons, key=lambda reason: "-~+".index(reason.mark))[:MOST_REASONS]


def mark(sign: Mark, x: float, y: float) -> str:
    """A mark of its own shape and colour, around (x, y)."""

    def stroke(x1: float, y1: float, x2: float, y2: float) -> str:
        return line((x + x1, y + y1), (x + x2, y + y2), palette.PAPER, stroke_width=1.4)

    fill: dict[str, Attribute] = {"fill": COLORS[sign]}
    if sign == "+":
        ground = element("circle", cx=x, cy=y, r=4.6, **fill)
        return element("g", ground, stroke(-2.6, 0, 2.6, 0), stroke(0, -2.6, 0, 2.6))
    if sign == "~":
        ground = polygon(((x, y - 5.2), (x - 5.2, y + 4.0), (x + 5.2, y + 4.0)), **fill)
        return element("g", ground, stroke(0, -2.6, 0, 1.0), stroke(0, 1.9, 0, 3.2))
    ground = rect(x - 4.4, y - 4.4, 8.8, 8.8, rx=1, **fill)
    return element("g", ground, stroke(-2.3, -2.3, 2.3, 2.3), stroke(-2.3, 2.3, 2.3, -2.3))
