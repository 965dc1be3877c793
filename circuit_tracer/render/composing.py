"""Several figures on one page: a grid of panels with letters, every panel as wide as its columns.

Rows are as high as their highest panel. Panels are SVG documents of our own; a file that somebody
else could have written is let in only if it is made of shapes and text (`checked`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.render.markup import figure, title
from circuit_tracer.render.page_size import size_of
from circuit_tracer.render.svg_page import bold, document, ink, paper
from circuit_tracer.render.text import printable, shorten_to_width

WIDTH = 1000.0
"""Units across the page; its width on paper is another matter."""
MARGIN, GAP, HEAD = 16.0, 22.0, 24.0
TITLE, LETTER = 17.0, 15.0
NAMESPACE = "{http://www.w3.org/2000/svg}"
SHAPES = frozenset(
    {"svg", "g", "rect", "circle", "ellipse", "line", "path", "polyline", "polygon", "text"}
    | {"tspan", "title"}
)
_LEADING = re.compile(r"^\s*(<\?xml[^>]*\?>)?\s*")
_ROOT = re.compile(r"<svg [^>]*>")
_VIEW = re.compile(r'viewBox="([^"]*)"')
_FONT = re.compile(r'font-(?:family|size)="[^"]*"')


@dataclass(frozen=True)
class Panel:
    """One figure of the page."""

    svg: str
    title: str = ""
    span: int = 1
    """Columns it takes."""


def compose(panels: Sequence[Panel], *, columns: int = 2, name: str = "") -> str:
    """The page as an SVG document, the same bytes for the same panels.

    Raises UsageError for no panels or a panel wider than the page.
    """
    if not panels or columns < 1:
        raise UsageError("a page needs at least one panel and one column")
    width_of_one = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    y = MARGIN + (TITLE + 14 if name else 0.0)
    parts, number = [], 0
    for row in _rows(panels, columns):
        x, highest = MARGIN, 0.0
        for panel in row:
            width = panel.span * width_of_one + (panel.span - 1) * GAP
            size = size_of(panel.svg)
            height = size.height * width / size.width
            parts += [
                _heading(panel, number, x, y, width),
                _nested(panel, x, y + HEAD, width, height),
            ]
            highest = max(highest, height)
            x += width + GAP
            number += 1
        y += HEAD + highest + GAP
    height = y - GAP + MARGIN
    heading = shorten_to_width(printable(name), TITLE, WIDTH - 2 * MARGIN)
    if name:
        parts.insert(0, bold(heading, MARGIN, MARGIN + TITLE - 3, TITLE))
    ground = [title(name or "Figure"), paper(WIDTH, height, margin=0)]
    return document(WIDTH, height, [*ground, *parts], margin=0)


def checked(svg: str, name: str) -> str:
    """An SVG text that came from a file, if it is shapes and text alone; else UsageError."""
    if "<!DOCTYPE" in svg or "<!ENTITY" in svg:
        raise UsageError(f"{name} has a document type, which no figure of circuit-tracer has")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise UsageError(f"{name} is no SVG ({reason(error)}); draw it again") from error
    for part in root.iter():
        tag = str(part.tag).removeprefix(NAMESPACE)
        active = [a for a in part.attrib if a.lower().startswith("on") or "href" in a.lower()]
        outside = [v for v in part.attrib.values() if "url(" in v or "javascript:" in v.lower()]
        if tag not in SHAPES or active or outside or "style" in part.attrib:
            raise UsageError(
                f"{name} holds more than shapes and text ({tag}); give a figure that "
                "circuit-tracer drew"
            )
    size_of(svg)
    return svg


def _rows(panels: Sequence[Panel], columns: int) -> list[list[Panel]]:
    rows: list[list[Panel]] = []
    left = 0
    for panel in panels:
        if not 1 <= panel.span <= columns:
            raise UsageError(
                f"a panel spans {panel.span} columns of {columns}; give 1 to {columns}"
            )
        if panel.span > left:
            rows.append([])
            left = columns
        rows[-1].append(panel)
        left -= panel.span
    return rows


def _heading(panel: Panel, number: int, x: float, y: float, width: float) -> str:
    letter = chr(65 + number) if number < 26 else str(number + 1)
    words = shorten_to_width(printable(panel.title), 13.0, width - 24)
    beside = ink(words, x + 20, y + LETTER - 0.5, font_size=13)
    return bold(letter, x, y + LETTER, LETTER) + beside


def _nested(panel: Panel, x: float, y: float, width: float, height: float) -> str:
    """The panel's document inside another: its root gets a place and a size."""
    content = _LEADING.sub("", panel.svg).rstrip()
    root = _ROOT.match(content)
    view = None if root is None else _VIEW.search(root[0])
    if root is None or view is None:
        raise UsageError(f'the panel "{panel.title}" has no viewBox; draw it again')
    place = " ".join(
        f'{key}="{figure(value)}"'
        for key, value in (("x", x), ("y", y), ("width", width), ("height", height))
    )
    fonts = "".join(f" {one}" for one in _FONT.findall(root[0]))
    return f'<svg {place} viewBox="{view[1]}"{fonts}>' + content[root.end() :]
