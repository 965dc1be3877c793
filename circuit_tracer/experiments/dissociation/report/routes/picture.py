"""routes.svg: the fact's route and the truth check's side by side, and whether they are separate.

A disc is a supernode, its colour and form say whose it is; the same supernode in both routes has
the same letter. Below, the figures that decide (evidence.py).
"""

from __future__ import annotations

from circuit_tracer.experiments.dissociation.report.names import STYLES
from circuit_tracer.experiments.dissociation.report.routes.combined import Combined, combine
from circuit_tracer.experiments.dissociation.report.routes.evidence import evidence
from circuit_tracer.experiments.dissociation.report.routes.route import Arrow, Box, Route
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.spec import Route as Side
from circuit_tracer.experiments.dissociation.step_results import ROUTES as SIDES
from circuit_tracer.graphs.comparing.merging import Owner
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.render import palette
from circuit_tracer.render.chart import Sheet
from circuit_tracer.render.chart_marks import mark
from circuit_tracer.render.drawing import Look, draw, stripes
from circuit_tracer.render.legend import READING
from circuit_tracer.render.markup import title
from circuit_tracer.render.merged import COLORS, owner_mark, owner_node
from circuit_tracer.render.node_labels import TOKEN_SIZE
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.places import Placed
from circuit_tracer.render.shapes import centred, kind_box, node_group
from circuit_tracer.render.svg_page import bold, ink, line, quiet, shift
from circuit_tracer.render.text import (
    printable,
    shorten_front_to_width,
    shorten_to_width,
    text_width,
)

HEAD = 40.0
NAMES = 380.0
VIA = 8.0
"""Size of the heads under a token."""


def routes_svg(report: Report, routes: TwoRoutes) -> str:
    """The figure."""
    drawing = combine(routes)
    layout = drawing.layout
    item = report.item
    what = f"{item.item}, {item.value}: " if item is not None else ""
    sheet = Sheet(
        printable(f"{what}{report.verdict.headline}"),
        f"{printable(report.question)} ({report.model.name})",
        width=layout.width,
    )
    start = drawing.start
    for number, (left, right) in enumerate(
        ((layout.columns[0].left, start), (start, layout.width))
    ):
        one = _side_title(report, SIDES[number], routes.both[number], right - left - 12)
        sheet.parts.append(shift(left + 4, sheet.y - 12, one))
    top = sheet.y + HEAD - 10
    sheet.parts.append(shift(0, top, *_graph(routes, drawing)))
    sheet.parts.append(line((start, sheet.y - 16), (start, top + layout.height), palette.QUIET))
    sheet.y = top + layout.height + 30
    _legend(report, sheet)
    for panel in evidence(report):
        sheet.rows(panel, names=NAMES)
    sheet.note(_note(report, routes))
    return sheet.svg(f"{report.name}: two routes")


# The picture


def _graph(routes: TwoRoutes, drawing: Combined) -> list[str]:
    """Stripes, arrows, boxes and the axis."""
    layout, graph, arrows = drawing.layout, drawing.graph, drawing.arrows
    words = {i: " ".join(arrow.heads) for i, arrow in enumerate(arrows) if arrow.heads}
    shares = [abs(arrow.share) for arrow in arrows]
    look = Look(
        color=lambda edge: COLORS[_owner(drawing, arrows[edge])],
        tooltip=lambda edge, _: _arrow_title(drawing, arrows[edge]),
        node=lambda placed: _node(drawing, placed),
    )
    return [
        stripes(layout, graph.info.n_layers),
        *_early_line(routes, drawing),
        draw(graph, drawing.selection, layout, look, lambda _: words, shares=shares),
        *_axis(drawing),
    ]


def _node(drawing: Combined, placed: Placed) -> str:
    box = drawing.boxes[placed.row]
    tooltip = _box_title(box, drawing.graph.nodes.label[placed.row])
    if box.kind is NodeKind.FEATURE:
        return owner_node(placed, box.kind, box.owner, tooltip)
    return node_group(box.kind, tooltip, kind_box(placed, box.kind, 0.75))


def _owner(drawing: Combined, arrow: Arrow) -> Owner:
    """That of the supernode it starts from, else of the one it leads to."""
    source, target = drawing.boxes[arrow.source], drawing.boxes[arrow.target]
    return source.owner if source.kind is NodeKind.FEATURE else target.owner


def _arrow_title(drawing: Combined, arrow: Arrow) -> str:
    labels = drawing.graph.nodes.label
    return title(
        f"{labels[arrow.source]} → {labels[arrow.target]}",
        f"{percent(arrow.influence)} of the influence, {percent(arrow.share)} of what goes in",
        f"through {', '.join(arrow.heads)}" if arrow.heads else "",
    )


def _box_title(box: Box, label: str) -> str:
    if box.kind is not NodeKind.FEATURE:
        via = f"via {' '.join(box.heads)}" if box.heads else ""
        kind = "token" if box.kind is NodeKind.EMBEDDING else "target"
        return title(f"{kind} {box.name}", via)
    layers = dict.fromkeys(f"L{layer}" for layer in box.layers)
    count = f"{len(box.rows)} feature{'s' * (len(box.rows) > 1)}"
    ablated = f"{box.chosen} of them in the ablated set" if box.chosen else ""
    facts = f"{'–'.join(layers)}, {count}, influence {percent(box.influence)}"
    return title(label, facts, ablated)


def _early_line(routes: TwoRoutes, drawing: Combined) -> list[str]:
    """Where the early layers end; nothing where early or late ones have no boxes."""
    layout, bands = drawing.layout, drawing.layout.bands
    early = [one.top for one in bands if 0 <= one.layer < routes.early_layers]
    n_layers = drawing.graph.info.n_layers
    if not early or not any(routes.early_layers <= one.layer < n_layers for one in bands):
        return []
    y = min(early)
    return [
        line((0, y), (layout.width, y), palette.QUIET, stroke_dasharray="6 4"),
        quiet("late ↑", 4, y - 5, font_size=8.5),
        quiet("early ↓", 4, y + 12, font_size=8.5),
    ]


def _axis(drawing: Combined) -> list[str]:
    """Tokens without a box, and under the others the heads that rewrite them in place."""
    layout = drawing.layout
    placed = [drawing.boxes[row] for row in layout.placed]
    token_at = {box.position: box for box in placed if box.kind is NodeKind.EMBEDDING}
    y = layout.bands[-1].middle
    parts = [quiet("token", 6, y + 3.5, font_size=10)]
    for column in layout.columns:
        box = token_at.get(column.first)
        if box is None:
            words = column.label or "…"
            parts.append(centred(words, column.centre, y, TOKEN_SIZE, palette.QUIET))
        elif box.heads:
            for i, name in enumerate(("via", *box.heads)):
                at = y + 21 + i * (VIA + 1)
                parts.append(quiet(name, column.centre, at, font_size=VIA, text_anchor="middle"))
    return parts


# Words


def _side_title(report: Report, name: Side, side: Route, room: float) -> str:
    color = STYLES[name].color
    prompt = shorten_front_to_width(
        printable(side.pruned.graph.info.prompt.strip()), 11.0, room * 0.6
    )
    asked = f"“{prompt}” → {_answer(side)}"
    return (
        mark(6, 2, STYLES[name], size=5.5)
        + bold(route_name(report, name), 18, 6, 13, color)
        + ink(shorten_to_width(asked, 11.0, room - 18), 18, 23, font_size=11)
    )


def route_name(report: Report, name: Side) -> str:
    """ "Fact route"; the other one is a truth check only if a claim is judged in it."""
    if name == "fact":
        return "Fact route"
    item = report.item
    claims = [one.is_claim for one in report.families if item and one.name == item.judgement]
    return "Truth-check route" if all(claims) else "Judgement route"


def _answer(side: Route) -> str:
    """The first target in words."""
    if not side.targets:
        return "?"
    target = side.target(side.targets[0])
    first, _, other = side.targets[0].name.partition(" - ")
    if not target.is_contrast:
        return f"{printable(first)} ({percent(target.probability)})"
    return f"{printable(first)} rather than {printable(other)}"


def _legend(report: Report, sheet: Sheet) -> None:
    """The three forms of disc with what they stand for, in lines that fit."""
    words = {
        Owner.BOTH: "in both routes (same letter: the same)",
        Owner.FIRST: "in the fact route alone",
        Owner.SECOND: f"in the {route_name(report, 'judgement').lower()} alone",
    }
    x = 0.0
    for owner, meaning in words.items():
        room = 40 + text_width(meaning, 9.5)
        if x and x + room > sheet.width:
            x, sheet.y = 0.0, sheet.y + 16
        sheet.parts.append(owner_mark(x + 8, sheet.y, 6.0, owner))
        sheet.parts.append(ink(meaning, x + 20, sheet.y + 3.5, font_size=9.5))
        x += room
    sheet.y += 18


def _note(report: Report, routes: TwoRoutes) -> str:
    covered = " and ".join(percent(side.covered) for side in routes.both)
    scores = " and ".join(f"{side.pruned.scores.replacement:.2f}" for side in routes.both)
    return (
        "A disc is a supernode, its area by influence: features that do the same; where they fire "
        f"(at) and what they promote (says). {READING} Dashed ones push their target down; L3.H2 "
        "is head 2 of layer 3, which carries at least a fifth of the edge from token to token; "
        "via: heads that rewrite a token at its own place. Drawn supernodes have "
        f"{covered} of the features' influence; replacement scores {scores}. "
        f"{_alone(routes)}{_chosen(routes)}D: how much more each answer loses by its own features "
        "than by the other's, ablated on objects they were not chosen on; grey: shuffled labels. "
        f"95 % intervals over {len(report.behaviour.objects)} objects."
    )


def _chosen(routes: TwoRoutes) -> str:
    """How many of the drawn features were ablated: in the sets chosen on other objects."""
    found = []
    names = ((Owner.FIRST, "the fact's own"), (Owner.SECOND, "the other route's own"))
    for side, (owner, words) in zip(routes.both, names, strict=True):
        boxes = [box for box in side.supernodes if box.owner == owner]
        drawn = sum(len(box.rows) for box in boxes)
        if drawn:
            found.append(f"{sum(box.chosen for box in boxes)} of {words} {drawn}")
    if not found:
        return ""
    return f"Of the drawn features, {' and '.join(found)} are in the sets F and V. "


def _alone(routes: TwoRoutes) -> str:
    """Explain shared supernodes that only one side draws."""
    twins = [{b.twin for b in one.supernodes if b.owner == Owner.BOTH} for one in routes.both]
    if twins[0] == twins[1]:
        return ""
    return "Dark discs without a letter are too weak in the other route to be drawn there. "
