"""Where the boxes of the two routes stand: tokens side by side at the bottom, layers up.

Both routes share their layers' bands, so that what stands at the same height is computed at the
same depth. In a band boxes at the same token are stacked, the lower layer below. Tokens that have
no supernode take no more room than their text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from circuit_tracer.experiments.dissociation.report.routes.route_side import RouteBox, RouteSide
from circuit_tracer.render.legend import wrap
from circuit_tracer.render.places import Band, Box
from circuit_tracer.render.text import printable, shorten_to_width, text_width

NAME = 10.5
DETAIL = 8.6
TOKEN = 10.5
WIDE = 116.0
PAD = 6.0
TOKEN_HEIGHT = 20.0
HEADS_HEIGHT = 12.0
"""What a token's box grows by if heads are named in it."""
COLUMN_GAP = 10.0
ASIDE = 66.0
"""How far a token stands to the right of its column's boxes where its arrows pass them by."""
STACK_GAP = 16.0
BAND_GAP = 40.0
BOLD = 1.1


@dataclass(frozen=True)
class PlacedBox:
    """One box on the page."""

    index: int
    """Into `RouteSide.boxes`."""
    box: Box
    lines: tuple[str, ...]
    """Its name, broken."""
    is_plain: bool = False
    """A token without arrows: text without a box."""

    @property
    def x(self) -> float:
        """Centre."""
        return (self.box.left + self.box.right) / 2

    @property
    def y(self) -> float:
        """Centre."""
        return (self.box.top + self.box.bottom) / 2


@dataclass(frozen=True)
class SideLayout:
    """One route placed; its upper left corner is (0, 0)."""

    width: float
    placed: Mapping[int, PlacedBox]
    """By index of the box."""


def bands(sides: Sequence[RouteSide]) -> tuple[dict[int, Band], float]:
    """The stripes of targets, layers that have boxes, and tokens (-1); and their height in all."""
    top = sides[0].n_layers
    tokens = [token_height(side, i) for side in sides for i in range(len(side.boxes))]
    heights: dict[int, float] = {top: TOKEN_HEIGHT + 12, -1: max(tokens)}
    for side in sides:
        for (_, level), stack in _stacks(side).items():
            height = sum(_height(side, box) for box in stack) + STACK_GAP * (len(stack) - 1)
            heights[level] = max(heights.get(level, 0.0), height)
    found, y = {}, 0.0
    for level in sorted(heights, reverse=True):
        above = 0.0 if level == top else BAND_GAP / 2
        middle = y + above + heights[level] / 2
        bottom = middle + heights[level] / 2 + (6.0 if level < 0 else BAND_GAP / 2)
        found[level] = Band(level, y, bottom, middle)
        y = bottom
    return found, y


def lay_out_side(side: RouteSide, stripes: Mapping[int, Band]) -> SideLayout:
    """Every box of one route in the shared bands."""
    stacks = _stacks(side)
    used = {arrow.source for arrow in side.arrows}
    crowded = {position for position, _ in stacks}
    crowded |= {box.position for box in side.boxes if box.kind == "target"}
    placed: dict[int, PlacedBox] = {}
    left = 0.0
    for index, box in enumerate(side.boxes):
        is_leading = side.has_leading and box.position == 0
        if box.kind != "token" or (is_leading and index not in used):
            continue
        words = shorten_to_width(printable(box.name), TOKEN, WIDE - 12)
        own = text_width(words, TOKEN) + (14 if index in used else 2)
        if named_heads(side, index):
            own = max(own, text_width(named_heads(side, index), DETAIL) + 10)
        wide = max(own, WIDE) if box.position in crowded else own
        x, y = left + wide / 2, stripes[-1].middle
        aside = ASIDE if box.position in crowded and _passes_by(side, index) else 0.0
        tall = token_height(side, index)
        at = x + aside
        placed[index] = _placed(index, at, y, own, tall, (words,), plain=index not in used)
        _stack_up(side, box.position, x, stripes, stacks, placed)
        left = max(left + wide, at + own / 2) + COLUMN_GAP
    return SideLayout(left - COLUMN_GAP, placed)


def _passes_by(side: RouteSide, index: int) -> bool:
    """Whether arrows of a token go past boxes of its own column to other columns."""
    position = side.boxes[index].position
    away = [
        arrow
        for arrow in side.arrows
        if arrow.source == index and side.boxes[arrow.target].position != position
    ]
    return len(away) > 1


def token_height(side: RouteSide, index: int) -> float:
    """Of a token's box."""
    return TOKEN_HEIGHT + (HEADS_HEIGHT if named_heads(side, index) else 0.0)


def named_heads(side: RouteSide, index: int) -> str:
    """What is written into a token's box: "via L0.H3 L0.H1"; "" for a token without arrows."""
    box = side.boxes[index]
    is_used = any(arrow.source == index for arrow in side.arrows)
    return f"via {' '.join(box.heads)}" if box.heads and is_used else ""


def _stacks(side: RouteSide) -> dict[tuple[int, int], list[RouteBox]]:
    """The supernodes of each (position, layer), the highest first."""
    found: dict[tuple[int, int], list[RouteBox]] = {}
    for box in side.boxes:
        if box.kind == "supernode":
            found.setdefault((box.position, round(box.level)), []).append(box)
    return {
        cell: sorted(stack, key=lambda box: (-box.level, box.influence, box.twin))
        for cell, stack in found.items()
    }


def _stack_up(
    side: RouteSide,
    position: int,
    x: float,
    stripes: Mapping[int, Band],
    stacks: Mapping[tuple[int, int], Sequence[RouteBox]],
    placed: dict[int, PlacedBox],
) -> None:
    """Place the supernodes and targets of one column around x."""
    targets = [(i, b) for i, b in enumerate(side.boxes) if b.kind == "target"]
    here = [(i, b) for i, b in targets if b.position == position]
    for number, (index, _) in enumerate(here):
        wide = (WIDE - 6 * (len(here) - 1)) / len(here)
        at = x - WIDE / 2 + wide / 2 + number * (wide + 6)
        placed[index] = _placed(
            index, at, stripes[side.n_layers].middle, wide, TOKEN_HEIGHT + 8, ()
        )
    for (at_position, level), stack in stacks.items():
        if at_position != position:
            continue
        height = sum(_height(side, box) for box in stack) + STACK_GAP * (len(stack) - 1)
        top = stripes[level].middle - height / 2
        for box in stack:
            index, own = side.boxes.index(box), _height(side, box)
            placed[index] = _placed(index, x, top + own / 2, WIDE, own, _lines(side, box))
            top += own + STACK_GAP


def _placed(
    index: int,
    x: float,
    y: float,
    wide: float,
    height: float,
    lines: tuple[str, ...],
    *,
    plain: bool = False,
) -> PlacedBox:
    box = Box(x - wide / 2, y - height / 2, x + wide / 2, y + height / 2)
    return PlacedBox(index, box, lines, plain)


def _height(side: RouteSide, box: RouteBox) -> float:
    return 2 * PAD + (NAME + 2) * len(_lines(side, box)) + DETAIL + 1


def _lines(side: RouteSide, box: RouteBox) -> tuple[str, ...]:
    """What it says, then where it fires; the first line is bold. At most two lines."""
    says, place = box_words(box, printable(side.tokens[box.position]))
    room = WIDE - 2 * PAD
    if says:
        return (
            shorten_to_width(says, NAME, room / BOLD),
            shorten_to_width(place, NAME, room),
        )
    lines = wrap(place, NAME, room / BOLD)
    return (*lines[:1], *([shorten_to_width(" ".join(lines[1:]), NAME, room)] if lines[1:] else []))


def box_words(box: RouteBox, token: str) -> tuple[str, str]:
    """A supernode's name in plain words: "says yes", "at ?"; the first may be missing.

    What early features promote directly says little, nor does what a feature speaks against. An
    early one's own token comes first where its name is of others: "at banana, pineapple ...".
    """
    place, _, effect = (part.strip() for part in printable(box.name).partition("→"))
    is_telling = effect and not effect.startswith("not ") and not box.is_early
    known = token in place.replace('"', "").replace("/", " ").split()
    where = f"{token}, {place} …" if box.is_early and place and not known else place or token
    return (f"says {effect}" if is_telling else ""), f"at {where}"
