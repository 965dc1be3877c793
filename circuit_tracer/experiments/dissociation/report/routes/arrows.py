"""The arrows of the two routes: around the boxes, side by side where they meet one, heads on them.

An arrow to a box above leaves at the top and arrives at the bottom; one that would run through
boxes of its own column goes around them on the right. An arrow to a token further right leaves at
the top or the right and arrives from the left or from below, whichever crosses the fewest boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.report.plot import COLORS
from circuit_tracer.experiments.dissociation.report.routes.layout import PlacedBox, SideLayout
from circuit_tracer.experiments.dissociation.report.routes.route_side import RouteArrow, RouteSide
from circuit_tracer.render import palette
from circuit_tracer.render.curves import hits, sample
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.places import Box
from circuit_tracer.render.text import percent, text_width

HEADS = 9.0
THINNEST, THICKEST = 1.0, 6.5
WIDTH_OF_ALL = 14.0
"""Width of an arrow along which all influence would flow."""
Point = tuple[float, float]
_AWAY: dict[str, Point] = {
    "top": (0.0, -1.0),
    "bottom": (0.0, 1.0),
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
}


class _Ends(NamedTuple):
    """At which edges of its boxes an arrow leaves and arrives."""

    start: str
    end: str


@dataclass(frozen=True)
class DrawnArrow:
    """One arrow with its curve."""

    arrow: RouteArrow
    points: tuple[Point, Point, Point, Point]
    """Start, two control points, end."""
    end: str


def draw_arrows(side: RouteSide, layout: SideLayout) -> list[DrawnArrow]:
    """A curve for each arrow, in their order."""
    arrows = [a for a in side.arrows if a.source in layout.placed and a.target in layout.placed]
    ends = [_best_ends(side, arrow, layout) for arrow in arrows]
    ports = _ports(arrows, ends, layout)
    return [
        DrawnArrow(arrow, _curve(ports[i, "start"], ports[i, "end"], ends[i]), ends[i].end)
        for i, arrow in enumerate(arrows)
    ]


def _best_ends(side: RouteSide, arrow: RouteArrow, layout: SideLayout) -> _Ends:
    """The pair of edges whose curve meets the fewest other boxes."""
    source, target = layout.placed[arrow.source], layout.placed[arrow.target]
    if side.boxes[arrow.source].position == side.boxes[arrow.target].position:
        between = [
            one
            for one in layout.placed.values()
            if side.boxes[one.index].position == side.boxes[arrow.source].position
            and target.y < one.y < source.y
            and one.index not in (source.index, target.index)
        ]
        return _Ends("right", "right") if between else _Ends("top", "bottom")
    options = [_Ends("top", "left"), _Ends("top", "bottom"), _Ends("right", "left")]
    if source.x > target.x:
        options = [_Ends("top", "right"), _Ends("top", "bottom")]
    if target.box.bottom > source.box.top - 12:  # hardly higher: no room to arrive from below
        options = [one for one in options if one.end != "bottom"]
    others = [
        one for one in layout.placed.values() if one.index not in (source.index, target.index)
    ]
    boxes = np.array([_corners(one.box) for one in others]).reshape(-1, 4)
    curves = np.array([_curve(_port(source, o.start), _port(target, o.end), o) for o in options])
    points = sample(curves)
    own = np.array([_corners(one.box) for one in (source, target)])
    room = 3.0 + arrow_width(arrow.influence) / 2
    cost = hits(points, boxes, room) + 0.7 * hits(points, own, -2.0)
    return options[int(np.argmin(np.round(cost, 6)))]


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


def _port(placed: PlacedBox, edge: str, shift: float = 0.0) -> Point:
    box = placed.box
    if edge in ("top", "bottom"):
        return placed.x + shift, box.top if edge == "top" else box.bottom
    return box.left if edge == "left" else box.right, placed.y + shift


def _ports(
    arrows: Sequence[RouteArrow], ends: Sequence[_Ends], layout: SideLayout
) -> dict[tuple[int, str], Point]:
    """Where each arrow meets its boxes: (arrow, "start" or "end") -> point."""
    meeting: dict[tuple[int, str], list[tuple[float, int, str]]] = {}
    for i, (arrow, own_ends) in enumerate(zip(arrows, ends, strict=True)):
        source, target = layout.placed[arrow.source], layout.placed[arrow.target]
        for which, own, other in (("start", source, target), ("end", target, source)):
            at: str = getattr(own_ends, which)
            place = _order(at, which, own, other)
            meeting.setdefault((own.index, at), []).append((place, i, which))
    ports = {}
    for (index, edge), met in meeting.items():
        placed = layout.placed[index]
        across = edge in ("top", "bottom")
        size = placed.box.right - placed.box.left if across else placed.box.bottom - placed.box.top
        step = min(15.0 if across else 11.0, (size - 12) / max(len(met) - 1, 1))
        for place, (_, i, which) in enumerate(sorted(met)):
            shift = step * (place - (len(met) - 1) / 2)
            ports[i, which] = _port(placed, edge, shift)
    return ports


def _order(edge: str, which: str, own: PlacedBox, other: PlacedBox) -> float:
    """What arrows at one edge of a box are sorted by, so that few cross."""
    if edge in ("top", "bottom"):
        return other.x
    if edge == "left":
        return other.x  # from further left: higher up
    return other.y if which == "start" else -other.y


def _curve(start: Point, end: Point, ends: _Ends) -> tuple[Point, Point, Point, Point]:
    away, towards = _AWAY[ends.start], _AWAY[ends.end]
    if ends == ("right", "right"):
        reach = 12 + 0.11 * abs(start[1] - end[1])
        return start, (start[0] + reach, start[1]), (end[0] + reach, end[1]), end
    dx, dy = abs(end[0] - start[0]), abs(end[1] - start[1])
    pull = [0.55 * (dy if one[0] == 0 else dx) for one in (away, towards)]
    pull = [min(max(one, 14.0), 150.0) for one in pull]
    first = (start[0] + away[0] * pull[0], start[1] + away[1] * pull[0])
    second = (end[0] + towards[0] * pull[1], end[1] + towards[1] * pull[1])
    return start, first, second, end


def reach(drawn: Sequence[DrawnArrow]) -> float:
    """How far to the right the arrows go."""
    points = sample(np.array([one.points for one in drawn])) if drawn else np.zeros((1, 1, 2))
    return float(points[..., 0].max())


def arrow_shape(side: RouteSide, drawn: DrawnArrow) -> str:
    """The curve with its point; dashed if it lowers its target."""
    arrow = drawn.arrow
    source, target = side.boxes[arrow.source], side.boxes[arrow.target]
    color = arrow_color(side, arrow)
    width = arrow_width(arrow.influence)
    point = 4.0 + 1.1 * width
    away = _AWAY[drawn.end]
    tip = drawn.points[3]
    base = (tip[0] + away[0] * point, tip[1] + away[1] * point)
    half = 2.2 + 0.75 * width
    sides = (
        (base[0] + away[1] * half, base[1] + away[0] * half),
        (base[0] - away[1] * half, base[1] - away[0] * half),
    )
    start, first, second, _ = drawn.points
    path = [f"{figure(x)},{figure(y)}" for x, y in (start, first, second, base)]
    dashes = {"stroke_dasharray": f"{figure(3 + width)} {figure(2 + 0.6 * width)}"}
    return element(
        "g",
        title(
            f"{source.name} → {target.name}",
            f"{percent(arrow.influence)} of the influence, {percent(arrow.share)} of what goes in",
            f"through {', '.join(arrow.heads)}" if arrow.heads else "",
        ),
        element(
            "path",
            d=f"M{path[0]} C{path[1]} {path[2]} {path[3]}",
            fill="none",
            stroke=color,
            stroke_width=width,
            **(dashes if arrow.share < 0 else {}),
        ),
        element(
            "polygon",
            points=" ".join(f"{figure(x)},{figure(y)}" for x, y in (tip, *sides)),
            fill=color,
        ),
        opacity=0.72,
    )


def arrow_color(side: RouteSide, arrow: RouteArrow) -> str:
    """That of the supernode it starts from, else of the one it leads to."""
    source, target = side.boxes[arrow.source], side.boxes[arrow.target]
    if source.kind == "token" and target.kind == "target":
        return palette.QUIET
    return COLORS[source.part if source.kind == "supernode" else target.part]


def arrow_width(influence: float) -> float:
    """Width of an arrow by its share of the influence."""
    return min(THINNEST + WIDTH_OF_ALL * max(influence, 0.0), THICKEST)


def head_labels(side: RouteSide, drawn: Sequence[DrawnArrow], layout: SideLayout) -> list[str]:
    """The carrying heads on their arrows, moved along them until they cover nothing."""
    taken = [placed.box for placed in layout.placed.values()]
    parts = []
    for one in drawn:
        if not one.arrow.heads:
            continue
        words, color = " ".join(one.arrow.heads), arrow_color(side, one.arrow)
        box = _free_place(one, text_width(words, HEADS) + 6, taken)
        taken.append(box)
        parts.append(
            element(
                "rect",
                x=box.left,
                y=box.top,
                width=box.right - box.left,
                height=box.bottom - box.top,
                rx=3,
                fill=palette.PAPER,
                fill_opacity=0.92,
                stroke=color,
                stroke_width=0.8,
            )
            + text(
                words,
                (box.left + box.right) / 2,
                box.bottom - 3.2,
                font_size=HEADS,
                text_anchor="middle",
                fill=color,
            )
        )
    return parts


def _free_place(one: DrawnArrow, width: float, taken: Sequence[Box]) -> Box:
    """The place along the curve, nearest to its middle, that overlaps least with what is there."""
    points = sample(np.array([one.points]))[0]
    order = sorted(range(len(points)), key=lambda i: (abs(i - len(points) / 2), i))
    best: tuple[float, Box] | None = None
    for i in order:
        x, y = float(points[i, 0]), float(points[i, 1])
        box = Box(max(x - width / 2, 0.0), y - 6.5, max(x - width / 2, 0.0) + width, y + 6.5)
        cost = sum(_common(box, other) for other in taken)
        if best is None or cost < best[0] - 1e-6:
            best = cost, box
        if cost == 0:
            break
    assert best is not None
    return best[1]


def _common(one: Box, other: Box) -> float:
    """Area that two boxes share, the second grown a little."""
    across = min(one.right, other.right + 1.5) - max(one.left, other.left - 1.5)
    up = min(one.bottom, other.bottom + 1.5) - max(one.top, other.top - 1.5)
    return max(across, 0.0) * max(up, 0.0)
