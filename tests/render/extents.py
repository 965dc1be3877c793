"""Where the text of a figure stands on its page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import NamedTuple

from circuit_tracer.render.text import text_width

SVG = "{http://www.w3.org/2000/svg}"
_MOVED = re.compile(r"translate\(([-\d.]+) ([-\d.]+)\)")


class Extent(NamedTuple):
    """A text with the box it takes up (as wide as the widest of the fonts makes it)."""

    words: str
    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Extent, *, slack: float = 1.0) -> bool:
        """Whether the two lie on each other by more than `slack`."""
        across = min(self.right, other.right) - max(self.left, other.left)
        return across > slack and min(self.bottom, other.bottom) - max(self.top, other.top) > slack


def extents(svg: str) -> list[Extent]:
    """Every text of the figure."""
    return list(_within(ElementTree.fromstring(svg), 0.0, 0.0, 10.0))


def _within(node: ElementTree.Element, x: float, y: float, size: float) -> Iterator[Extent]:
    moved = _MOVED.search(node.get("transform", ""))
    if moved:
        x, y = x + float(moved[1]), y + float(moved[2])
    size = float(node.get("font-size", size))
    if node.tag == f"{SVG}text":
        words = "".join(node.itertext())
        width = text_width(words, size)
        back = {"middle": width / 2, "end": width}.get(node.get("text-anchor", ""), 0.0)
        left = x + float(node.get("x", 0)) - back
        bottom = y + float(node.get("y", 0)) + 0.2 * size
        yield Extent(words, left, bottom - 0.95 * size, left + width, bottom)
    for child in node:
        yield from _within(child, x, y, size)


def page_size(svg: str) -> tuple[float, float]:
    """Width and height."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])
