"""Letters, overlaps and margins of a figure, read from its SVG text alone.

Nothing of the layout is asked: texts are measured with the widths of DejaVu Sans, the widest of the
fonts that a figure names, and everything is placed in points on paper. tests/render checks the
widths against those that a browser measures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

from circuit_tracer.render.text import text_width

SVG = "{http://www.w3.org/2000/svg}"
POINTS = {"": 0.75, "mm": 72 / 25.4, "pt": 1.0}
"""Of a CSS pixel, a millimetre, a point."""
ASCENT, DESCENT = 0.76, 0.23
"""How far letters reach above and below their baseline, in parts of their size."""
BOLD = 1.14
"""How much wider bold letters are, about."""
SLACK = 0.25
"""Points by which two things may touch."""
_LENGTH = re.compile(r"([\d.]+)(mm|pt|)")
_MOVED = re.compile(r"translate\(([-\d.]+) ([-\d.]+)\)")
_TURNED = re.compile(r"rotate\(-90 ([-\d.]+) ([-\d.]+)\)")


class Thing(NamedTuple):
    """A text or a shape with the room it takes, in points from the upper left corner."""

    words: str
    """"" for a shape."""
    owner: int
    """Which node, edge label or other group it belongs to; 0 for none."""
    size: float
    """Of the letters in points; 0 for a shape."""
    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Thing) -> bool:
        """Whether the two lie on each other by more than they may touch."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > SLACK and down > SLACK


class Page(NamedTuple):
    """A figure as it was read."""

    width: float
    """Points."""
    height: float
    texts: list[Thing]
    boxes: list[Thing]
    """Marks and boxes of nodes."""


@dataclass(frozen=True)
class Measures:
    """What is wrong with a figure; everything 0 and letters of 6 points are wanted."""

    smallest_letters: float
    """Points."""
    texts: int
    text_on_text: int
    text_on_box: int
    """A label over a mark or box that is not its own."""
    outside: int
    """Texts and boxes that leave the page."""
    width_mm: float
    height_mm: float
    cut_labels: int
    """Texts that end in "…"."""

    @property
    def faults(self) -> int:
        """Overlaps and what leaves the page."""
        return self.text_on_text + self.text_on_box + self.outside


def measured(svg: str) -> Measures:
    """The measures of a finished figure."""
    page = read(svg)
    texts, things = page.texts, page.texts + page.boxes
    on_box = [(t, b) for t in texts for b in page.boxes if t.owner != b.owner and t.covers(b)]
    outside = [
        one
        for one in things
        if min(one.left, one.top) < -SLACK
        or one.right > page.width + SLACK
        or one.bottom > page.height + SLACK
    ]
    return Measures(
        smallest_letters=min((one.size for one in texts), default=0.0),
        texts=len(texts),
        text_on_text=sum(a.covers(b) for a, b in combinations(texts, 2)),
        text_on_box=len(on_box),
        outside=len(outside),
        width_mm=page.width / POINTS["mm"],
        height_mm=page.height / POINTS["mm"],
        cut_labels=sum(one.words.endswith("…") and len(one.words) > 1 for one in texts),
    )


def read(svg: str) -> Page:
    """Every text, and every mark or box of a node, where it lies on paper."""
    root = ElementTree.fromstring(svg)
    width, height = (_points(root.attrib[key]) for key in ("width", "height"))
    _, _, inner, _ = map(float, root.attrib["viewBox"].split())
    texts: list[Thing] = []
    boxes: list[Thing] = []
    groups = iter(range(1, 1_000_000))
    for thing in _things(root, 0.0, 0.0, width / inner, 0, groups):
        (texts if thing.words else boxes).append(thing)
    return Page(width, height, texts, boxes)


def _points(length: str) -> float:
    match = _LENGTH.fullmatch(length)
    assert match is not None, length
    return float(match[1]) * POINTS[match[2]]


def _things(
    part: ElementTree.Element,
    x: float,
    y: float,
    scale: float,
    owner: int,
    groups: Iterator[int],
) -> Iterator[Thing]:
    """Texts and boxes of a part whose origin is at (x, y) in points, a unit `scale` points."""
    moved = _MOVED.search(part.get("transform", ""))
    if moved:
        x, y = x + scale * float(moved[1]), y + scale * float(moved[2])
    if part.get("class", "").split(" ")[0] in ("node", "heads"):
        owner = next(groups)
    tag = part.tag.removeprefix(SVG)
    if tag == "text":
        yield _text(part, x, y, scale, owner)
    elif owner and tag in ("rect", "circle", "polygon") and "fill-opacity" not in part.attrib:
        left, top, right, bottom = _extent(part)
        at = x + scale * left, y + scale * top, x + scale * right, y + scale * bottom
        yield Thing("", owner, 0.0, *at)
    for child in part:
        if child.tag == f"{SVG}svg":  # a panel, with units of its own
            view = [float(one) for one in child.attrib["viewBox"].split()]
            place = [float(child.attrib[key]) for key in ("x", "y", "width")]
            inner = scale * place[2] / view[2]
            at_x, at_y = x + scale * place[0], y + scale * place[1]
            yield from _things(child, at_x, at_y, inner, owner, groups)
        else:
            yield from _things(child, x, y, scale, owner, groups)


def _text(part: ElementTree.Element, x: float, y: float, scale: float, owner: int) -> Thing:
    words = "".join(part.itertext())
    size = float(part.attrib["font-size"])
    width = text_width(words, size) * (BOLD if part.get("font-weight") == "bold" else 1.0)
    back = {"middle": width / 2, "end": width}.get(part.get("text-anchor", ""), 0.0)
    at_x, at_y = float(part.get("x", 0)), float(part.get("y", 0))
    if _TURNED.search(part.get("transform", "")):  # around (x, y): its start is below
        left, top, right, bottom = (
            at_x - ASCENT * size,
            at_y + back - width,
            at_x + DESCENT * size,
            at_y + back,
        )
    else:
        left, top = at_x - back, at_y - ASCENT * size
        right, bottom = left + width, at_y + DESCENT * size
    place = x + scale * left, y + scale * top, x + scale * right, y + scale * bottom
    return Thing(words, owner, scale * size, *place)


def _extent(shape: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in units."""
    if shape.tag == f"{SVG}circle":
        x, y, r = (float(shape.attrib[key]) for key in ("cx", "cy", "r"))
        return x - r, y - r, x + r, y + r
    if shape.tag == f"{SVG}polygon":
        points = [[float(n) for n in pair.split(",")] for pair in shape.attrib["points"].split()]
        xs, ys = zip(*points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)
    x, y, width, height = (float(shape.attrib[key]) for key in ("x", "y", "width", "height"))
    return x, y, x + width, y + height
