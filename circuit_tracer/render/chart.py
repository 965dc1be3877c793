"""Charts of measured numbers: a sheet that takes panels from top to bottom and becomes an SVG.

Two kinds of panel: rows of figures on a common axis (a name, a dot on its interval over the
control's band, the numbers), and lines over a common axis, their names at their ends. Every mark
has its numbers in its `<title>`. The same bytes for the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.chart_marks import (
    Axis,
    Band,
    Scale,
    Style,
    band,
    dot,
    mark,
    ribbon,
    rules,
)
from circuit_tracer.render.markup import Attribute, element, text, title
from circuit_tracer.render.numbers import decimals, minus, number, percent, with_interval
from circuit_tracer.render.svg_page import (
    BOLD,
    MARGIN,
    bold,
    document,
    ink,
    line,
    paper,
    paragraph,
    points,
    quiet,
    shift,
)
from circuit_tracer.render.text import shorten_to_width, text_width

WIDTH = 800.0
SIZE = 10.0
HEADING = 11.0
PLAIN = Style(palette.INK, "disc")
TITLE = 15.0
ROW = 22.0
"""Height of a row."""
LINES_HEIGHT = 150.0
ENDS = 112.0
"""Room for the names at the ends of lines."""
APART = 13.0
"""Least distance of two such names."""
GAP = 22.0
"""Between panels, and between lines and what follows."""
Drawn = tuple[str, float]
"""Markup, and the y after it."""


@dataclass(frozen=True)
class Row:
    """One figure of a panel, or a line of text among them."""

    name: str
    figure: Interval | None = None
    """None for a line of text."""
    style: Style = PLAIN
    control: Band | None = None


@dataclass(frozen=True)
class RowPanel:
    """Rows under each other on one axis."""

    name: str
    rows: Sequence[Row]
    axis: Axis
    sign: bool = False
    """Whether numbers are written with "+"."""
    strong: float | None = None
    """Where a dashed line stands: chance, or nothing changed."""
    marks_in_names: bool = False
    """Whether the rows' names carry their marks."""
    color: str = palette.INK
    """Of the panel's name."""

    def words(self, figure: Interval) -> str:
        """A figure as written."""
        return with_interval(figure, percent=self.axis.percent, sign=self.sign)


@dataclass(frozen=True)
class Line:
    """A figure that changes along an axis."""

    name: str
    points: Sequence[tuple[float, Interval]]
    color: str
    dashes: str = ""
    control: Sequence[Band] | None = None
    """What a control came out as at each point: the band, in place of the points' intervals."""

    def known(self) -> list[tuple[float, Interval]]:
        """Points that were measured."""
        return [(x, figure) for x, figure in self.points if math.isfinite(figure.value)]

    def drawn(self) -> Iterator[Interval | Band]:
        """All that an axis has to cover."""
        return chain((figure for _, figure in self.points), self.control or ())

    def edges(self) -> list[tuple[float, float, float]]:
        """The ends of the band at each point."""
        if self.control is None:
            return [(x, figure.low, figure.high) for x, figure in self.known()]
        spans = zip(self.points, self.control, strict=True)
        return [(x, control.low, control.high) for (x, _), control in spans]


@dataclass(frozen=True)
class LinePanel:
    """Lines over a common axis."""

    name: str
    lines: Sequence[Line]
    x_name: str
    x_labels: Mapping[float, str]
    """The places on the axis, rising, with what is written there where there is room."""
    axis: Axis
    """Upwards."""
    strong: float | None = None
    """A value whose level is dashed: chance."""
    strong_name: str = ""
    level: float = math.nan
    """A value whose level is dotted: nothing changed."""


@dataclass
class Sheet:
    """A figure in the making: a title, a sentence on what is seen, then panels and notes."""

    heading: str
    below: str = ""
    width: float = WIDTH
    y: float = 0.0
    """Where the next panel starts."""
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Write the title."""
        self.parts.append(
            bold(shorten_to_width(self.heading, TITLE, self.width / BOLD), 0, 14, TITLE)
        )
        self.y = 31.0
        self.note(self.below, size=SIZE, color=palette.QUIET)
        self.y += 24

    def rows(self, *panels: RowPanel, names: float) -> None:
        """Panels side by side, whose rows have their names in the first `names` units."""
        words = [[panel.words(row.figure) for row in panel.rows if row.figure] for panel in panels]
        numbers = [14 + max((text_width(one, SIZE) for one in of), default=0.0) for of in words]
        between = 20.0 * (len(panels) - 1)
        wide = (self.width - names - sum(numbers) - between) / len(panels)
        left, bottom = names, self.y
        for place, (panel, room) in enumerate(zip(panels, numbers, strict=True)):
            scale = Scale(panel.axis, left, left + wide)
            markup, bottom = _rows(panel, scale, self.y, 0.0 if place == 0 else None)
            self.parts.append(markup)
            left += wide + room + 20
        self.y = bottom + 4

    def lines(self, *panels: LinePanel, across: int, left: float = 34.0) -> None:
        """Panels in rows of `across`, the labels of their axes in the first `left` units."""
        wide = (self.width - across * (left + ENDS) - (across - 1) * GAP) / across
        for place, panel in enumerate(panels):
            start = left + place % across * (left + wide + ENDS + GAP)
            self.parts.append(_lines(panel, start, wide, self.y))
            if place == len(panels) - 1:
                self.y += LINES_HEIGHT + 58
            elif place % across == across - 1:
                self.y += LINES_HEIGHT + 70

    def note(self, words: str, *, size: float = 9.0, color: str = palette.INK) -> None:
        """A paragraph."""
        markup, self.y = paragraph(words, 0, self.y, self.width, size=size, color=color)
        self.parts.append(markup)

    def svg(self, name: str) -> str:
        """The whole page."""
        inside = shift(
            MARGIN, MARGIN, *(f"\n{part}" for part in self.parts if part), font_size=SIZE
        )
        return document(self.width, self.y, [title(name), paper(self.width, self.y), inside])


# Rows


def _rows(panel: RowPanel, scale: Scale, y: float, names: float | None) -> Drawn:
    """The panel with its name's baseline at y; `names` is where names start, None without them."""
    top = y + 8
    bottom = top + ROW * len(panel.rows)
    parts = [bold(panel.name, scale.start, y, HEADING, panel.color)] if panel.name else []
    parts.append(rules(scale, top, bottom, strong=panel.strong))
    for place, row in enumerate(panel.rows):
        middle = top + ROW * (place + 0.5)
        parts.append(_name(panel, row, scale.start - 8, middle, names))
        parts.append(_figure(panel, row, scale, middle))
    return "".join(parts), bottom + 26


def _name(panel: RowPanel, row: Row, right: float, y: float, left: float | None) -> str:
    if left is None or not row.name:
        return ""
    if row.figure is None:
        return ink(row.name, left, y + 3.5, font_weight="bold")
    start = left + (16 if panel.marks_in_names else 6)
    words = ink(shorten_to_width(row.name, SIZE, right - start), start, y + 3.5)
    return words + (mark(left + 7, y, row.style, size=3.6) if panel.marks_in_names else "")


def _figure(panel: RowPanel, row: Row, scale: Scale, y: float) -> str:
    if row.figure is None:
        return ""
    words, parts = panel.words(row.figure), []
    if row.control is not None:
        ends = (panel.words(Interval.bare(end)) for end in row.control)
        control = "control, smallest, median, largest: " + ", ".join(ends)
        parts.append(band(scale, y, row.control, tooltip=control))
    parts.append(dot(scale, y, row.figure, row.style, tooltip=f"{row.name}: {words}"))
    return "".join([*parts, ink(words, scale.end + 8, y + 3.5)])


# Lines


def _lines(panel: LinePanel, left: float, wide: float, y: float) -> str:
    """The panel with its name's baseline at y, its axis from `left` on."""
    places = list(panel.x_labels)
    span = Axis(places[0], max(places[-1], places[0] + 1e-9), 1.0)
    top, right = y + 10, left + wide
    x, up = Scale(span, left, right), Scale(panel.axis, top + LINES_HEIGHT, top)
    parts = [
        bold(shorten_to_width(panel.name, SIZE, wide + ENDS), left, y, HEADING),
        rules(up, left, right, strong=panel.strong, level=True),
        *_x_labels(panel, x, up.start + 14),
        quiet(panel.x_name, left + wide / 2, up.start + 28, text_anchor="middle"),
    ]
    if panel.strong_name and panel.strong is not None:
        at = up.at(panel.strong) + 11
        parts.append(quiet(panel.strong_name, right, at, font_size=9, text_anchor="end"))
    if math.isfinite(panel.level):
        at = up.at(panel.level)
        dotted = line((left, at), (right, at), palette.QUIET, stroke_dasharray="2 3")
        words = _value(panel.axis, panel.level)
        parts.append(element("g", title(f"nothing changed: {words}"), dotted))
    for curve in panel.lines:
        parts.append(ribbon(x, up, curve.edges(), curve.color))
    parts += [_line(panel, curve, x, up) for curve in panel.lines]
    return "".join([*parts, *_end_names(panel.lines, right + 8, up)])


def _x_labels(panel: LinePanel, x: Scale, y: float) -> list[str]:
    """Labels where there is room."""
    parts, last, half = [], -math.inf, 0.0
    for place, words in panel.x_labels.items():
        wide = text_width(words, SIZE)
        if x.at(place) - last >= max(16.0, wide + 4, half + wide / 2 + 4):
            last, half = x.at(place), wide / 2
            parts.append(quiet(words, last, y, text_anchor="middle"))
    return parts


def _line(panel: LinePanel, curve: Line, x: Scale, up: Scale) -> str:
    known = curve.known()
    placed = [(x.at(at), up.at(value.value)) for at, value in known]
    if not placed:
        return ""
    style: dict[str, Attribute] = {"fill": "none", "stroke": curve.color, "stroke_width": 1.8}
    style |= {"stroke_dasharray": curve.dashes} if curve.dashes else {}
    dots = []
    for (across, y), (at, value) in zip(placed, known, strict=True):
        tooltip = (
            f"{curve.name}, {panel.x_name} {panel.x_labels[at]}: {_value(panel.axis, value.value)}"
        )
        dots.append(element("circle", title(tooltip), cx=across, cy=y, r=2.8, fill=curve.color))
    return element("polyline", points=points(placed), **style) + "".join(dots)


def _value(axis: Axis, value: float) -> str:
    if axis.percent:
        return minus(percent(value))
    return minus(number(value) if axis.is_log else decimals(value))


def _end_names(lines: Sequence[Line], left: float, up: Scale) -> list[str]:
    """The lines' names at their ends, in their order, at least `APART` from each other."""
    ends = [
        (up.at(curve.known()[-1][1].value), i) for i, curve in enumerate(lines) if curve.known()
    ]
    places: list[float] = []
    for y, _ in sorted(ends):
        places.append(max(y, places[-1] + APART) if places else y)
    over = max(places[-1] - (up.start + 4), 0.0) if places else 0.0
    parts = []
    for (y, i), place in zip(sorted(ends), places, strict=True):
        curve, at = lines[i], place - over
        parts.append(line((left - 6, y), (left + 4, at), curve.color, stroke_width=0.8))
        words = f"{curve.name} {_value(up.axis, curve.known()[-1][1].value)}"
        size = SIZE if text_width(words, SIZE) <= ENDS - 8 else 9.0
        short = shorten_to_width(words, size, ENDS - 8)
        parts.append(text(short, left + 7, at + 3.5, font_size=size, fill=curve.color))
    return parts
