"""Tokens, supernodes and targets of the two routes, drawn where the layout puts them.

A supernode says by colour and form whose it is: dark and round in both routes, blue and square in
the fact's, orange with cut corners in the truth check's.
"""

from __future__ import annotations

from collections.abc import Mapping

from circuit_tracer.experiments.dissociation.report.plot import COLORS
from circuit_tracer.experiments.dissociation.report.routes.layout import (
    DETAIL,
    HEADS_HEIGHT,
    NAME,
    PAD,
    TOKEN,
    PlacedBox,
    named_heads,
)
from circuit_tracer.experiments.dissociation.report.routes.route_side import (
    RouteBox,
    RoutePart,
    RouteSide,
)
from circuit_tracer.render import palette
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.places import Box
from circuit_tracer.render.text import percent, printable, shorten_to_width

PARTS: dict[RoutePart, str] = {
    "shared": "in both routes (same letter: the same)",
    "fact": "in the fact route alone",
    "judgement": "in the other route alone",
}


def draw_box(side: RouteSide, placed: PlacedBox, letters: Mapping[int, str]) -> str:
    """One box; `letters` mark, by index, what both routes have."""
    own = side.boxes[placed.index]
    if own.kind == "token":
        return _token(side, own, placed, letters.get(placed.index, ""))
    if own.kind == "target":
        return _target(side, own, placed)
    ink = palette.PAPER if own.part == "shared" else palette.INK
    detail = f"{_layers(own)} · {_count(own)} · {percent(own.influence)}"
    lines = [
        text(
            line,
            placed.x,
            placed.box.top + PAD + NAME - 1 + i * (NAME + 2),
            font_size=NAME,
            font_weight="bold" if i == 0 else "normal",
            text_anchor="middle",
            fill=ink,
        )
        for i, line in enumerate(placed.lines)
    ]
    lines.append(
        text(
            detail,
            placed.x,
            placed.box.bottom - PAD,
            font_size=DETAIL,
            text_anchor="middle",
            fill=palette.RULE if own.part == "shared" else "#4a4e55",
        )
    )
    ablated = f"{own.chosen} of them in the ablated set" if own.chosen else ""
    tooltip = title(own.name, detail, PARTS[own.part], ablated)
    badge = _badge(placed, letters.get(placed.index, ""))
    return element("g", tooltip, frame(placed.box, own.part), *lines, badge, class_="supernode")


def _layers(box: RouteBox) -> str:
    if box.first_layer == box.last_layer:
        return f"L{box.first_layer}"
    return f"L{box.first_layer}–{box.last_layer}"


def _count(box: RouteBox) -> str:
    return "1 feature" if box.features == 1 else f"{box.features} features"


def frame(box: Box, part: RoutePart) -> str:
    """Dark and round: shared; blue and square: fact; orange with cut corners: judgement."""
    wide, tall = box.right - box.left, box.bottom - box.top
    color = COLORS[part]
    if part == "judgement":
        cut = 7.0
        points = (
            (box.left + cut, box.top),
            (box.right - cut, box.top),
            (box.right, box.top + cut),
            (box.right, box.bottom - cut),
            (box.right - cut, box.bottom),
            (box.left + cut, box.bottom),
            (box.left, box.bottom - cut),
            (box.left, box.top + cut),
        )
        return element(
            "polygon",
            points=" ".join(f"{figure(x)},{figure(y)}" for x, y in points),
            fill=palette.mixed(color, 0.16),
            stroke=color,
            stroke_width=1.6,
        )
    is_shared = part == "shared"
    return element(
        "rect",
        x=box.left,
        y=box.top,
        width=wide,
        height=tall,
        rx=9 if is_shared else 0,
        fill=color if is_shared else palette.mixed(color, 0.13),
        stroke=color,
        stroke_width=1.6,
    )


def _badge(placed: PlacedBox, letter: str) -> str:
    if not letter:
        return ""
    x, y = placed.box.left + 3, placed.box.top + 1
    return element(
        "circle", cx=x, cy=y, r=7.5, fill=palette.PAPER, stroke=COLORS["shared"], stroke_width=1.4
    ) + text(letter, x, y + 3.3, font_size=9.5, font_weight="bold", text_anchor="middle")


def _token(side: RouteSide, own: RouteBox, placed: PlacedBox, letter: str) -> str:
    heads = named_heads(side, placed.index)
    words = text(
        placed.lines[0],
        placed.x,
        placed.y + TOKEN * 0.35 - (HEADS_HEIGHT / 2 if heads else 0.0),
        font_size=TOKEN,
        text_anchor="middle",
        fill=palette.QUIET if placed.is_plain else palette.INK,
    )
    if placed.is_plain:
        return words
    box = placed.box
    back = element(
        "rect",
        x=box.left,
        y=box.top,
        width=box.right - box.left,
        height=box.bottom - box.top,
        rx=4,
        fill=palette.mixed(palette.TOKEN, 0.75),
        stroke=COLORS["shared"] if letter else palette.TOKEN_EDGE,
        stroke_width=1.6 if letter else 1,
    )
    if heads:
        words += text(
            heads,
            placed.x,
            placed.box.bottom - 5,
            font_size=DETAIL,
            text_anchor="middle",
            fill=palette.INK,
        )
    return element(
        "g", title(f"token {own.name}", heads), back, words, _badge(placed, letter), class_="token"
    )


def _target(side: RouteSide, own: RouteBox, placed: PlacedBox) -> str:
    box = placed.box
    first, _, other = printable(own.name).partition(" - ")
    value = f"{own.influence:+.1f} logits" if side.is_contrast else percent(own.influence)
    room = box.right - box.left - 8
    lead = shorten_to_width(first, 11.0, room / 1.14)
    below = f"over {other}: {value}" if side.is_contrast and other else value
    back = element(
        "rect",
        x=box.left,
        y=box.top,
        width=box.right - box.left,
        height=box.bottom - box.top,
        rx=4,
        fill=palette.TARGET,
    )
    return element(
        "g",
        title(own.name, value),
        back,
        text(
            lead,
            placed.x,
            placed.y - 1,
            font_size=11,
            font_weight="bold",
            text_anchor="middle",
            fill=palette.TARGET_INK,
        ),
        text(
            shorten_to_width(below, DETAIL, room),
            placed.x,
            placed.y + 10,
            font_size=DETAIL,
            text_anchor="middle",
            fill=palette.RULE,
        ),
        class_="target",
    )
