"""routes.svg: the fact's route and the truth check's side by side, and whether they are separate.

Tokens at the bottom, layers up, the same height in both. A box is a supernode, its colour and form
say whose it is; the same supernode in both has the same letter. Arrows are as wide as the influence
along them and carry the attention heads that move it from token to token. Below, the figures that
decide (cards.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_tracer.experiments.dissociation.report.plot import COLORS, mark, page, paragraph
from circuit_tracer.experiments.dissociation.report.routes.arrows import (
    DrawnArrow,
    arrow_shape,
    draw_arrows,
    head_labels,
    reach,
)
from circuit_tracer.experiments.dissociation.report.routes.boxes import PARTS, draw_box, frame
from circuit_tracer.experiments.dissociation.report.routes.cards import cards, draw_cards
from circuit_tracer.experiments.dissociation.report.routes.layout import (
    SideLayout,
    bands,
    lay_out_side,
    named_heads,
)
from circuit_tracer.experiments.dissociation.report.routes.route_side import RouteBox, RouteSide
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.render import palette
from circuit_tracer.render.markup import element, text
from circuit_tracer.render.places import Band, Box
from circuit_tracer.render.svg import shift
from circuit_tracer.render.text import (
    percent,
    printable,
    shorten_front_to_width,
    shorten_to_width,
    text_width,
)

AXIS = 42.0
BETWEEN = 26.0
NARROWEST = 250.0
HEAD = 48.0
SIDES = ("fact", "judgement")


def routes_svg(report: Report, routes: TwoRoutes) -> str:
    """The figure."""
    sides = (routes.fact, routes.judgement)
    stripes, height = bands(sides)
    placed = [lay_out_side(side, stripes) for side in sides]
    drawn = [draw_arrows(*pair) for pair in zip(sides, placed, strict=True)]
    widths = [
        max(one.width, reach(arrows) + 4, NARROWEST)
        for one, arrows in zip(placed, drawn, strict=True)
    ]
    starts = (AXIS, AXIS + widths[0] + BETWEEN)
    width = starts[1] + widths[1]
    parts, y = _title(report, width)
    top = y + HEAD
    letters = _letters(sides)
    parts.append(shift(0, top, _stripes(routes, stripes, width), _axis(routes, stripes)))
    for number, side in enumerate(sides):
        left = starts[number]
        parts.append(shift(left, y, _side_title(report, SIDES[number], side, widths[number])))
        parts.append(shift(left, top, _route(side, placed[number], drawn[number], letters[number])))
    middle = starts[1] - BETWEEN / 2
    parts.append(_rule(middle, y, middle, top + height))
    below, y = _below(report, routes, top + height + 22, width)
    return page(f"{report.name}: two routes", [*parts, *below], width, y)


def _below(report: Report, routes: TwoRoutes, y: float, width: float) -> tuple[list[str], float]:
    """Key, figures and note."""
    key, y = _key(report, y, width)
    parts = [key]
    drawn, tall = draw_cards(cards(report), width)
    if drawn:
        parts += [_rule(0, y, width, y), shift(0, y + 12, drawn)]
        y += 18 + tall
    note, y = paragraph(_note(report, routes), 0, y + 8, width)
    return [*parts, note], y


def _title(report: Report, width: float) -> tuple[list[str], float]:
    item = report.item
    what = f"{item.item}, {item.value}: " if item is not None else ""
    words = shorten_to_width(printable(f"{what}{report.verdict.headline}"), 16.0, width / 1.14)
    below, y = paragraph(
        f"{printable(report.question)} ({report.model.name})",
        0,
        33,
        width,
        size=10.5,
        color=palette.QUIET,
    )
    head = text(words, 0, 15, font_size=16, font_weight="bold", fill=palette.INK)
    return [head, below], y + 12


def _side_title(report: Report, name: str, side: RouteSide, width: float) -> str:
    answer = _answer(side)
    room = width - 40 - text_width(answer, 11.0)
    asked = shorten_front_to_width(printable(side.prompt), 11.0, room)
    return (
        mark(6, 2, name, size=5.5)
        + text(route_name(report, name), 18, 6, font_size=13, font_weight="bold", fill=COLORS[name])
        + text(f"“{asked}” → {answer}", 18, 23, font_size=11, fill=palette.INK)
    )


def route_name(report: Report, name: str) -> str:
    """ "Fact route"; the other one is a truth check only if a claim is judged in it."""
    if name == "fact":
        return "Fact route"
    item = report.item
    claims = [one.is_claim for one in report.families if item and one.name == item.judgement]
    return "Truth-check route" if all(claims) else "Judgement route"


def _answer(side: RouteSide) -> str:
    """The first target in words."""
    found = [box for box in side.boxes if box.kind == "target"]
    if not found:
        return "?"
    first, _, other = found[0].name.partition(" - ")
    if not side.is_contrast:
        return f"{printable(first)} ({percent(found[0].influence)})"
    return f"{printable(first)} rather than {printable(other)}"


def _letters(sides: tuple[RouteSide, RouteSide]) -> tuple[dict[int, str], dict[int, str]]:
    """A letter for all that both sides draw: supernodes of the same features, and the same tokens
    that the same heads rewrite. By index of the box, for each side."""
    keys = [
        {key: i for i, box in enumerate(side.boxes) if (key := _same(side, i, box))}
        for side in sides
    ]
    both = [key for key in keys[0] if key in keys[1]]
    both.sort(key=lambda key: isinstance(key, tuple))
    found = [{own[key]: chr(65 + i % 26) for i, key in enumerate(both)} for own in keys]
    return found[0], found[1]


def _same(side: RouteSide, index: int, box: RouteBox) -> int | tuple[str, ...] | None:
    """What a box has in common with its like in the other route, and with no other."""
    if box.kind == "supernode":
        return box.twin + 1
    is_rewritten = box.kind == "token" and named_heads(side, index)
    return (box.name, *sorted(box.heads)) if is_rewritten else None


def _stripes(routes: TwoRoutes, stripes: Mapping[int, Band], width: float) -> str:
    """Every second layer on grey; a line where the early layers end."""
    parts = []
    for number, one in enumerate(stripes.values()):
        if number % 2:
            tall = one.bottom - one.top
            parts.append(
                element("rect", x=0, y=one.top, width=width, height=tall, fill=palette.STRIPE)
            )
    line = _early_line(routes, stripes)
    if line is not None:
        parts.append(
            element(
                "line",
                x1=0,
                y1=line,
                x2=width,
                y2=line,
                stroke=palette.QUIET,
                stroke_width=1,
                stroke_dasharray="6 4",
            )
        )
    return "".join(parts)


def _early_line(routes: TwoRoutes, stripes: Mapping[int, Band]) -> float | None:
    """Height between early and late layers; None where one of them has no boxes."""
    early = [one.top for level, one in stripes.items() if 0 <= level < routes.early_layers]
    late = [level for level in stripes if routes.early_layers <= level < routes.fact.n_layers]
    return min(early) if early and late else None


def _axis(routes: TwoRoutes, stripes: Mapping[int, Band]) -> str:
    top = routes.fact.n_layers
    parts = []
    for level, one in stripes.items():
        words = {-1: "token", top: "answer"}.get(level, f"L{level}")
        parts.append(text(words, 4, one.middle + 3.5, font_size=9.5, fill=palette.QUIET))
    line = _early_line(routes, stripes)
    if line is not None:
        parts.append(text("late ↑", 4, line - 5, font_size=8.5, fill=palette.QUIET))
        parts.append(text("early ↓", 4, line + 12, font_size=8.5, fill=palette.QUIET))
    return "".join(parts)


def _route(
    side: RouteSide,
    layout: SideLayout,
    drawn: Sequence[DrawnArrow],
    letters: Mapping[int, str],
) -> str:
    arrows = [arrow_shape(side, one) for one in drawn][::-1]
    boxes = [draw_box(side, placed, letters) for placed in layout.placed.values()]
    labels = head_labels(side, drawn, layout)
    return "".join(f"\n{part}" for part in (*arrows, *boxes, *labels))


def _key(report: Report, y: float, width: float) -> tuple[str, float]:
    """The three forms of box with what they stand for, in lines that fit."""
    parts, x = [], 0.0
    other = f"in the {route_name(report, 'judgement').lower()} alone"
    for part, words in {**PARTS, "judgement": other}.items():
        room = 34 + text_width(words, 9.5) + 18
        if x and x + room > width:
            x, y = 0.0, y + 18
        parts.append(frame(Box(x + 1, y - 7, x + 27, y + 7), part))
        parts.append(text(words, x + 34, y + 3.5, font_size=9.5, fill=palette.INK))
        x += room
    return "".join(parts), y + 20


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=palette.RULE)


def _note(report: Report, routes: TwoRoutes) -> str:
    held = " and ".join(percent(side.held) for side in (routes.fact, routes.judgement))
    scores = " and ".join(f"{side.replacement:.2f}" for side in (routes.fact, routes.judgement))
    return (
        "A box is a supernode: features that do the same; where they fire (at) and what they "
        "promote (says), layers, number, influence. Arrows: influence along them; dashed ones "
        "lower their target; L3.H2 is head 2 of layer 3, which carries at least a fifth of the "
        "arrow from token to token; via: heads that rewrite a token at its own place. Drawn boxes "
        f"hold {held} of the features' influence; replacement scores {scores}. "
        f"{_alone(routes)}{_chosen(routes)}D: how much more each answer loses by its own features "
        "than by the other's, ablated on objects they were not chosen on; grey: shuffled labels. "
        "95 % intervals over "
        f"{len(report.behaviour.objects)} objects."
    )


def _chosen(routes: TwoRoutes) -> str:
    """How many of the drawn features were ablated: in the sets chosen on other objects."""
    found = []
    for part, words in (("fact", "the fact's own"), ("judgement", "the other route's own")):
        side = routes.fact if part == "fact" else routes.judgement
        boxes = [box for box in side.boxes if box.kind == "supernode" and box.part == part]
        drawn = sum(box.features for box in boxes)
        if drawn:
            found.append(f"{sum(box.chosen for box in boxes)} of {words} {drawn}")
    return (
        f"Of the drawn features, {' and '.join(found)} are in the sets F and V. " if found else ""
    )


def _alone(routes: TwoRoutes) -> str:
    """Shared supernodes that only one side draws would puzzle."""
    twins = [
        {box.twin for box in side.boxes if box.kind == "supernode" and box.part == "shared"}
        for side in (routes.fact, routes.judgement)
    ]
    if twins[0] == twins[1]:
        return ""
    return "Dark boxes without a letter are too weak in the other route to be drawn there. "
