"""An SVG page and the simple things that stand on it: boxes, lines, words, paragraphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from circuit_tracer.render import palette
from circuit_tracer.render.markup import Attribute, element, figure, text
from circuit_tracer.render.text import wrap

MARGIN = 18.0
SMALL = 9.0
"""Size of the letters of legends and notes."""
BOLD = 1.14
"""How much wider bold letters are, about."""
Point = tuple[float, float]


class Block(NamedTuple):
    """A part of a page."""

    markup: str
    """Starts at (0, 0)."""
    height: float


def document(width: float, height: float, parts: Sequence[str], *, margin: float = MARGIN) -> str:
    """An SVG page around markup that leaves a margin on every side of width x height."""
    size = (figure(width + 2 * margin), figure(height + 2 * margin))
    page = element(
        "svg",
        *(f"\n{part}" for part in parts),
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        width=size[0],
        height=size[1],
        viewBox=f"0 0 {size[0]} {size[1]}",
        role="img",
        font_family=palette.FONT,
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{page}\n'


def paper(width: float, height: float, *, margin: float = MARGIN) -> str:
    """The white ground of such a page."""
    return rect(0, 0, width + 2 * margin, height + 2 * margin, fill=palette.PAPER)


def shift(x: float, y: float, *parts: str, **attributes: Attribute) -> str:
    """Markup moved to (x, y)."""
    return element("g", *parts, transform=f"translate({figure(x)} {figure(y)})", **attributes)


def rect(x: float, y: float, width: float, height: float, **style: Attribute) -> str:
    """A rectangle."""
    return element("rect", x=x, y=y, width=width, height=height, **style)


def line(start: Point, end: Point, color: str, **style: Attribute) -> str:
    """A straight line."""
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return element("line", **ends, stroke=color, **style)


def polygon(places: Sequence[Point], *children: str, **style: Attribute) -> str:
    """A closed shape."""
    return element("polygon", *children, points=points(places), **style)


def points(places: Sequence[Point]) -> str:
    """Coordinates as an attribute."""
    return " ".join(f"{figure(x)},{figure(y)}" for x, y in places)


def diamond(x: float, y: float, reach: float) -> tuple[Point, ...]:
    """Its corners."""
    return ((x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y))


def ink(words: str, x: float, y: float, **more: Attribute) -> str:
    """Text in ink."""
    return text(words, x, y, fill=palette.INK, **more)


def quiet(words: str, x: float, y: float, **more: Attribute) -> str:
    """Text that steps back."""
    return text(words, x, y, fill=palette.QUIET, **more)


def bold(words: str, x: float, y: float, size: float, color: str = palette.INK) -> str:
    """A heading."""
    return text(words, x, y, font_size=size, font_weight="bold", fill=color)


def paragraph(
    words: str, x: float, y: float, width: float, *, size: float = SMALL, color: str = palette.INK
) -> tuple[str, float]:
    """The words in lines, and the y after them."""
    parts = []
    for row in wrap(words, size, width):
        parts.append(text(row, x, y, font_size=size, fill=color))
        y += size + 4
    return "".join(parts), y
