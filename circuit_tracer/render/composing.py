"""Several figures on one page: a grid of panels with letters, every panel as wide as its columns.

Rows are as high as their highest panel, titles take the lines they need. Panels are SVG documents
of our own; a file that somebody else could have written is let in only if it is made of shapes and
text (`checked`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.render.markup import figure, title
from circuit_tracer.render.page_size import size_of
from circuit_tracer.render.places import POINTS_PER_MM, UNIT_POINTS
from circuit_tracer.render.svg_page import BOLD, bold, document, ink, paper
from circuit_tracer.render.text import printable, shorten_to_width, wrap

WIDTH = 1000.0
"""Units across the page, unless it is made for a width on paper."""
MARGIN, GAP, HEAD = 16.0, 22.0, 24.0
PAPER_MARGIN, PAPER_GAP = 2.0, 16.0
"""On a page for a width on paper, whose units are `PAGE_UNIT` points."""
PAGE_UNIT = UNIT_POINTS[-1]
TITLE, LETTER, PANEL_TITLE = 17.0, 15.0, 12.0
LINE = 15.0
MOST_LINES = 3
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


@dataclass(frozen=True)
class Grid:
    """Where columns stand on a page."""

    columns: int = 2
    width: float = WIDTH
    """Of the page in its units."""
    margin: float = MARGIN
    gap: float = GAP

    def across(self, span: int) -> float:
        """Units that so many columns are wide."""
        one = (self.width - 2 * self.margin - (self.columns - 1) * self.gap) / self.columns
        return span * one + (span - 1) * self.gap

    def across_mm(self, span: int) -> float:
        """The same in millimetres, on a page for a width on paper."""
        return self.across(span) * PAGE_UNIT / POINTS_PER_MM


def paper_grid(width_mm: float, columns: int) -> Grid:
    """The columns of a page for a width on paper."""
    width = width_mm * POINTS_PER_MM / PAGE_UNIT
    return Grid(columns, width, PAPER_MARGIN, PAPER_GAP)


def compose(panels: Sequence[Panel], grid: Grid = Grid(), *, name: str = "") -> str:
    """The page as an SVG document, the same bytes for the same panels.

    Raises UsageError for no panels or a panel wider than the page.
    """
    if not panels or grid.columns < 1:
        raise UsageError("a page needs at least one panel and one column")
    y = grid.margin + (TITLE + 14 if name else 0.0)
    parts, number = [], 0
    for row in _rows(panels, grid.columns):
        x, highest = grid.margin, 0.0
        titles = [_title_lines(panel, grid.across(panel.span)) for panel in row]
        head = HEAD + LINE * (max(map(len, titles)) - 1)
        for panel, lines in zip(row, titles, strict=True):
            width, size = grid.across(panel.span), size_of(panel.svg)
            height = size.height * width / size.width
            parts += [
                _heading(lines, number, x, y),
                _nested(panel, x, y + head, width, height),
            ]
            highest = max(highest, height)
            x += width + grid.gap
            number += 1
        y += head + highest + grid.gap
    height = y - grid.gap + grid.margin
    heading = shorten_to_width(printable(name), TITLE, (grid.width - 2 * grid.margin) / BOLD)
    if name:
        parts.insert(0, bold(heading, grid.margin, grid.margin + TITLE - 3, TITLE))
    ground = [title(name or "Figure"), paper(grid.width, height, margin=0)]
    return document(grid.width, height, [*ground, *parts], margin=0)


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


def _title_lines(panel: Panel, width: float) -> list[str]:
    lines = wrap(printable(panel.title), PANEL_TITLE, width - 24) or [""]
    if len(lines) > MOST_LINES:
        rest = " ".join(lines[MOST_LINES - 1 :])
        lines[MOST_LINES - 1 :] = [shorten_to_width(rest, PANEL_TITLE, width - 24)]
    return lines


def _heading(lines: Sequence[str], number: int, x: float, y: float) -> str:
    """The panel's letter, and its title beside it."""
    letter = chr(65 + number) if number < 26 else str(number + 1)
    beside = [
        ink(words, x + 20, y + LETTER - 0.5 + i * LINE, font_size=PANEL_TITLE)
        for i, words in enumerate(lines)
    ]
    return bold(letter, x, y + LETTER, LETTER) + "".join(beside)


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
