"""The trust report as an SVG figure: three panels and the verdict; the same bytes each time.

Left: what stays of the target with the kept features alone and without them, by node threshold,
over the band of matched random sets. Middle: the cosine of foretold and measured responses, by
distance in layers. Right: rank correlations with their intervals: of knock-on effects (discs;
rings: norms and attention answer in the forecast, too), and of influence with ablations (diamonds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from circuit_tracer.render import palette
from circuit_tracer.render.axes import Axis, axis
from circuit_tracer.render.legend import wrap
from circuit_tracer.render.markup import Attribute, element, figure, text, title
from circuit_tracer.render.text import printable, shorten_to_width

if TYPE_CHECKING:
    from circuit_tracer.experiments.trust.run import Trust
    from circuit_tracer.experiments.trust.sufficiency import Sufficiency
    from circuit_tracer.graphs.bootstrap import Interval

WIDTH = 900.0
MARGIN, TOP, PANEL, BOTTOM = 20.0, 84.0, 210.0, 44.0
SIZE = 10.0
NAMES = {"held": "attention, norms held", "constrained": "attention held", "free": "nothing held"}
COLORS = {"held": palette.FEATURE, "constrained": palette.POSITIVE, "free": palette.NEGATIVE}
DASHES = {"held": "", "constrained": "6 3", "free": "2 3"}


@dataclass(frozen=True)
class _Axes:
    """One panel: its place, and the spans of its two axes."""

    left: float
    right: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A point on paper."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * (self.right - self.left), TOP + PANEL * (1 - up)


def trust_svg(report: Trust) -> str:
    """The figure of a full report."""
    found = report.measured
    lines = wrap(f"{report.verdict.headline}", 11.0, WIDTH - 2 * MARGIN)
    parts = [
        title(f"Trust report: {report.prompt}"),
        element("rect", width=WIDTH, height=TOP + PANEL + BOTTOM + 40, fill=palette.PAPER),
        text(
            shorten_to_width(printable(report.prompt), 14.0, WIDTH - 2 * MARGIN - 60),
            MARGIN,
            24,
            font_size=14,
            font_weight="bold",
            fill=palette.INK,
        ),
        *(
            text(line, MARGIN, 42 + 14 * i, font_size=11, fill=palette.INK)
            for i, line in enumerate(lines[:2])
        ),
    ]
    for one in found.sufficiency:
        if one.held == "free":
            parts += _sufficiency(one, found.node_threshold)
    parts += _distance(report)
    parts += _correlations(report)
    height = TOP + PANEL + BOTTOM + 40
    document = element(
        "svg",
        *(f"\n{part}" for part in parts if part),
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        width=figure(WIDTH),
        height=figure(height),
        viewBox=f"0 0 {figure(WIDTH)} {figure(height)}",
        font_family=palette.FONT,
        font_size=SIZE,
    )
    return document + "\n"


def _with_room(shown: Axis) -> tuple[float, float]:
    """The axis, and a little more, so that a dot at its upper end is whole."""
    return shown.low, shown.high + 0.05 * (shown.high - shown.low)


def _frame(axes: _Axes, name: str, y_ticks: Sequence[float], *, percent: bool) -> list[str]:
    parts = [
        text(name, axes.left, TOP - 8, font_size=SIZE, font_weight="bold", fill=palette.INK),
    ]
    for value in y_ticks:
        _, y = axes.at(axes.x[0], value)
        label = f"{100 * value:.0f} %" if percent else f"{value:g}"
        parts.append(element("line", x1=axes.left, y1=y, x2=axes.right, y2=y, stroke=palette.RULE))
        parts.append(text(label, axes.left - 6, y + 3.5, text_anchor="end", fill=palette.QUIET))
    return parts


def _x_labels(axes: _Axes, labels: Sequence[tuple[float, str]], name: str) -> list[str]:
    y = TOP + PANEL
    parts = [
        text(label, axes.at(x, 0)[0], y + 15, text_anchor="middle", fill=palette.QUIET)
        for x, label in labels
    ]
    middle = (axes.left + axes.right) / 2
    return [*parts, text(name, middle, y + 31, text_anchor="middle", fill=palette.INK)]


def _line(axes: _Axes, points: Sequence[tuple[float, float]], color: str, dash: str) -> list[str]:
    known = [(x, y) for x, y in points if math.isfinite(y)]
    placed = [axes.at(x, y) for x, y in known]
    if not placed:
        return []
    style = {"stroke_dasharray": dash} if dash else {}
    path = " ".join(f"{figure(x)},{figure(y)}" for x, y in placed)
    dots = [
        element("circle", title(f"{value:.2f}"), cx=x, cy=y, r=2.8, fill=color)
        for (x, y), (_, value) in zip(placed, known, strict=True)
    ]
    line = element("polyline", points=path, fill="none", stroke=color, stroke_width=1.8, **style)
    return [line, *dots]


def _band(axes: _Axes, edges: Sequence[tuple[float, float, float]], color: str) -> str:
    known = [edge for edge in edges if math.isfinite(edge[1])]
    there = [axes.at(x, low) for x, low, _ in known]
    back = [axes.at(x, high) for x, _, high in reversed(known)]
    path = " ".join(f"{figure(x)},{figure(y)}" for x, y in (*there, *back))
    return element("polygon", points=path, fill=color, fill_opacity=0.16) if known else ""


def _sufficiency(found: Sufficiency, own: float) -> list[str]:
    measured = [
        value
        for point in found.points
        for random in (point.random_sufficiency, point.random_necessity)
        for value in (point.sufficiency, point.necessity, random.low, random.high)
    ]
    shown = axis(measured, low=0.0, high=1.0, step=0.25)
    axes = _Axes(58.0, 312.0, (0.0, len(found.points) - 1.0), _with_room(shown))
    parts = _frame(axes, "What stays of the target", shown.ticks, percent=True)
    bands: list[str] = []
    lines: list[str] = []
    for name, color, dash in (
        ("sufficiency", palette.FEATURE, ""),
        ("necessity", palette.NEGATIVE, "6 3"),
    ):
        values = [getattr(point, name) for point in found.points]
        random = [getattr(point, f"random_{name}") for point in found.points]
        bands.append(_band(axes, [(i, r.low, r.high) for i, r in enumerate(random)], color))
        lines += _line(axes, list(enumerate(values)), color, dash)
    parts += [*bands, *lines]
    parts += _key(axes, [("kept features alone", palette.FEATURE, "")], 0)
    parts += _key(axes, [("without them", palette.NEGATIVE, "6 3")], 1)
    labels = [
        (float(i), f"{point.threshold:g}{'*' if point.threshold == own else ''}")
        for i, point in enumerate(found.points)
    ]
    name = "node threshold (* the graph's); bands: random sets"
    return [*parts, *_x_labels(axes, labels, name)]


def _key(axes: _Axes, entries: list[tuple[str, str, str]], row: int) -> list[str]:
    """A line of a legend under the panel."""
    y, parts = TOP + PANEL + 48 + 13 * row, []
    for label, color, dash in entries:
        style = {"stroke_dasharray": dash} if dash else {}
        x = axes.left
        parts.append(
            element(
                "line", x1=x, y1=y - 3, x2=x + 22, y2=y - 3, stroke=color, stroke_width=1.8, **style
            )
        )
        parts.append(text(label, x + 28, y, fill=palette.QUIET))
    return parts


def _distance(report: Trust) -> list[str]:
    curves = report.measured.distance
    if not curves:
        return []
    last = max(point.layers_on for one in curves for point in one.points)
    cosines = [point.cosine for one in curves for point in one.points]
    shown = axis(cosines, low=0.0, high=1.0, step=0.25)
    axes = _Axes(376.0, 612.0, (1.0, float(last)), _with_room(shown))
    parts = _frame(axes, "Cosine of foretold and measured response", shown.ticks, percent=False)
    for row, one in enumerate(curves):
        points = [(float(point.layers_on), point.cosine) for point in one.points]
        parts += _line(axes, points, COLORS[one.held], DASHES[one.held])
        parts += _key(axes, [(NAMES[one.held], COLORS[one.held], DASHES[one.held])], row)
    labels = [(float(i), str(i)) for i in range(1, last + 1)]
    return [*parts, *_x_labels(axes, labels, "layers on")]


@dataclass(frozen=True)
class _Point:
    """One rank correlation of the right panel."""

    across: float
    figure: Interval
    shape: Literal["disc", "ring", "diamond"]
    color: str


def _correlations(report: Trust) -> list[str]:
    """Knock-on effects as discs, with norms answering in the forecast as rings; influence against
    ablation as diamonds."""
    knock_on, ranked = report.measured.knock_on, report.measured.ranking
    if knock_on is None:
        return []
    ways = knock_on.by_held
    ranks = [one.everything.spearman for one in ways] + [one.answering.spearman for one in ways]
    ranks += [] if ranked is None else [one.influence for one in ranked.by_held]
    ends = [end for one in ranks for end in (one.value, one.low, one.high)]
    shown = axis(ends, low=-0.5, high=1.0, step=0.5)
    axes = _Axes(676.0, 866.0, (0.0, float(len(ways))), _with_room(shown))
    parts = _frame(axes, "Rank correlations (Spearman)", shown.ticks, percent=False)
    left, y = axes.at(0, 0.72)
    right, _ = axes.at(len(ways), 0.72)
    parts.append(
        element("line", x1=left, y1=y, x2=right, y2=y, stroke=palette.QUIET, stroke_dasharray="2 3")
    )
    parts.append(text("0.72", right + 2, y + 3.5, fill=palette.QUIET))
    beside = {} if ranked is None else {one.held: one.influence for one in ranked.by_held}
    for i, one in enumerate(ways):
        color = COLORS[one.held]
        points = [_Point(i + 0.18, one.everything.spearman, "disc", color)]
        if one.held != "held":
            points.append(_Point(i + 0.5, one.answering.spearman, "ring", color))
        if one.held in beside:
            points.append(_Point(i + 0.82, beside[one.held], "diamond", color))
        parts += [mark for point in points for mark in _point(axes, point)]
    words = {"held": "attn., norms", "constrained": "attention", "free": "nothing"}
    labels = [(i + 0.5, words[one.held]) for i, one in enumerate(ways)]
    parts += _x_labels(axes, labels, "held; lines: 95 % of bootstrap draws")
    return [*parts, *_shapes_key(axes, ranked is not None)]


def _point(axes: _Axes, point: _Point) -> list[str]:
    value = point.figure.value
    if math.isnan(value):
        return []
    x, y = axes.at(point.across, value)
    parts = []
    if math.isfinite(point.figure.low):
        _, low = axes.at(0, point.figure.low)
        _, high = axes.at(0, point.figure.high)
        line: dict[str, Attribute] = {"stroke": point.color, "stroke_width": 1.6}
        parts.append(element("line", x1=x, y1=low, x2=x, y2=high, **line))
    parts.append(_shape(point.shape, x, y, point.color, title(f"{value:.2f}")))
    _, below = axes.at(
        0, min(value, point.figure.low) if math.isfinite(point.figure.low) else value
    )
    label = text(f"{value:.2f}", x, below + 13, text_anchor="middle", font_size=9, fill=palette.INK)
    return [*parts, label]


def _shape(shape: str, x: float, y: float, color: str, *inside: str) -> str:
    if shape == "diamond":
        corners = ((x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y))
        path = " ".join(f"{figure(a)},{figure(b)}" for a, b in corners)
        return element("polygon", *inside, points=path, fill=color)
    if shape == "ring":
        style: dict[str, Attribute] = {"fill": palette.PAPER, "stroke": color, "stroke_width": 1.8}
        return element("circle", *inside, cx=x, cy=y, r=3.6, **style)
    return element("circle", *inside, cx=x, cy=y, r=4, fill=color)


def _shapes_key(axes: _Axes, has_ranking: bool) -> list[str]:
    rows = [("disc", "knock-on effects"), ("ring", "the same, norms answer in the forecast")]
    rows += [("diamond", "influence against ablation")] if has_ranking else []
    parts = []
    for i, (shape, words) in enumerate(rows):
        y = TOP + PANEL + 48 + 13 * i
        parts.append(_shape(shape, axes.left - 14, y - 3, palette.QUIET))
        parts.append(text(words, axes.left - 4, y, fill=palette.QUIET))
    return parts
