"""The trust panel under a drawn graph: the verdict, its key figures, and the first reasons.

Marks differ in shape as well as in colour: a disc with a plus speaks for the graph, a
triangle with an exclamation mark is to be kept in mind, a square with a cross speaks against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from circuit_tracer.render import palette
from circuit_tracer.render.legend import LINE, SIZE, Legend, wrap
from circuit_tracer.render.markup import Attribute, element, figure, text
from circuit_tracer.render.text import shorten_to_width, text_width

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
class StoredReason:
    """One finding in words."""

    mark: Mark
    """"+" speaks for the graph, "-" against it, "~" is to be kept in mind."""
    text: str


@dataclass(frozen=True)
class StoredFigure:
    """One of the few figures that a drawn graph shows."""

    mark: Mark
    name: str
    value: str
    bar: str
    """What it is measured by."""


@dataclass(frozen=True)
class StoredVerdict:
    """What `circuit-tracer trust` concluded, in its words."""

    level: Level
    headline: str
    reasons: tuple[StoredReason, ...] = ()
    figures: tuple[StoredFigure, ...] = ()
    is_brief: bool = False
    """Whether only what takes a second was tested."""


def trust_panel(found: StoredVerdict, width: float) -> Legend:
    """The panel, `width` wide."""
    inner = width - 2 * PAD
    heading, y = _heading(found, inner)
    left = inner if inner < SIDE_BY_SIDE else 0.48 * inner
    figures, below = _figures(found.figures, left, y)
    if inner < SIDE_BY_SIDE:
        reasons, bottom = _reasons(found, 0.0, inner, below + 6)
    else:
        reasons, bottom = _reasons(found, left + 2 * PAD, inner - left - 2 * PAD, y)
    height = max(below, bottom) + PAD - 4
    color = COLORS[LEVEL_MARKS[found.level]]
    frame = element(
        "rect", x=0, y=0, width=width, height=height, rx=4, fill=palette.STRIPE, stroke=palette.RULE
    )
    edge = element("rect", x=0, y=0, width=4, height=height, rx=2, fill=color)
    inside = element("g", *heading, *figures, *reasons, transform=f"translate({figure(PAD + 2)} 0)")
    return Legend(element("g", frame, edge, inside, class_="trust"), height)


def _heading(found: StoredVerdict, width: float) -> tuple[list[str], float]:
    """The headline, and where what follows begins."""
    tested = "Trust, tested briefly" if found.is_brief else "Trust"
    parts, y = [], PAD - 2
    for line in wrap(f"{tested}: {found.headline}", 11.5, width / 1.1):
        y += LINE
        parts.append(text(line, 0, y, font_size=11, font_weight="bold", fill=palette.INK))
    return parts, y + 7


def _figures(figures: Sequence[StoredFigure], width: float, top: float) -> tuple[list[str], float]:
    """One line a figure: mark, name, value, and the bound it is compared with."""
    parts, y = [], top
    names = max((text_width(one.name, SIZE) for one in figures), default=0.0)
    at = min(INDENT + names + 10, 0.55 * width)
    values = max((text_width(one.value, SIZE) for one in figures), default=0.0)
    for one in figures:
        y += LINE
        bar = at + values + 10
        parts += [
            mark(one.mark, 5.0, y - 3.2),
            text(
                shorten_to_width(one.name, SIZE, at - INDENT - 6),
                INDENT,
                y,
                font_size=SIZE,
                fill=palette.INK,
            ),
            text(one.value, at, y, font_size=SIZE, font_weight="bold", fill=palette.INK),
            text(
                shorten_to_width(one.bar, SIZE, width - bar),
                bar,
                y,
                font_size=SIZE,
                fill=palette.QUIET,
            ),
        ]
    return parts, y


def _reasons(
    found: StoredVerdict, left: float, width: float, top: float
) -> tuple[list[str], float]:
    """The first reasons, those against the graph before the others."""
    parts, y = [], top
    for one in first_reasons(found.reasons):
        for i, line in enumerate(wrap(one.text, SIZE, width - INDENT)):
            y += LINE if i == 0 else LINE - 3
            if i == 0:
                parts.append(mark(one.mark, left + 5, y - 3.2))
            parts.append(text(line, left + INDENT, y, font_size=SIZE, fill=palette.INK))
    left_out = len(found.reasons) - min(len(found.reasons), MOST_REASONS)
    if left_out:
        y += LINE
        said = f"{left_out} more in trust.json"
        parts.append(text(said, left + INDENT, y, font_size=SIZE, fill=palette.QUIET))
    return parts, y


def first_reasons(reasons: Sequence[StoredReason]) -> list[StoredReason]:
    """At most `MOST_REASONS`, what speaks against the graph first."""
    return sorted(reasons, key=lambda one: "-~+".index(one.mark))[:MOST_REASONS]


def mark(sign: str, x: float, y: float) -> str:
    """A sign of its own shape, around (x, y)."""
    color = COLORS[sign]
    style: dict[str, Attribute] = {"stroke": palette.PAPER, "stroke_width": 1.4}
    if sign == "+":
        return element(
            "g",
            element("circle", cx=x, cy=y, r=4.6, fill=color),
            element("line", x1=x - 2.6, y1=y, x2=x + 2.6, y2=y, **style),
            element("line", x1=x, y1=y - 2.6, x2=x, y2=y + 2.6, **style),
        )
    if sign == "~":
        corners = ((x, y - 5.2), (x - 5.2, y + 4.0), (x + 5.2, y + 4.0))
        path = " ".join(f"{figure(a)},{figure(b)}" for a, b in corners)
        return element(
            "g",
            element("polygon", points=path, fill=color),
            element("line", x1=x, y1=y - 2.6, x2=x, y2=y + 1.0, **style),
            element("line", x1=x, y1=y + 1.9, x2=x, y2=y + 3.2, **style),
        )
    return element(
        "g",
        element("rect", x=x - 4.4, y=y - 4.4, width=8.8, height=8.8, rx=1, fill=color),
        element("line", x1=x - 2.3, y1=y - 2.3, x2=x + 2.3, y2=y + 2.3, **style),
        element("line", x1=x - 2.3, y1=y + 2.3, x2=x + 2.3, y2=y - 2.3, **style),
    )
