"""The shapes of the figure: nodes, edges and their tooltips, as SVG markup."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.head_loadings import Carrier
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.curves import Curve
from circuit_tracer.render.describe import edge_lines, node_lines
from circuit_tracer.render.edge_labels import carrier_lines
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.node_labels import LABEL_GAP, LABEL_SIZE, TOKEN_SIZE
from circuit_tracer.render.places import Placed

THINNEST = 0.6
THICKEST = 4.4


def stroke_width(share: float) -> float:
    """Width of an edge that is this share (0..1) of its target's input."""
    return THINNEST + (THICKEST - THINNEST) * min(max(share, 0.0), 1.0)


def stroke_opacity(flow: float) -> float:
    """Edges that carry little of the influence step back; `flow` is a share of the largest."""
    return 0.25 + 0.65 * float(min(max(flow, 0.0), 1.0) ** 0.6)


def edge_shape(
    graph: Graph, curve: Curve, share: float, flow: float, carried: Sequence[Carrier] = ()
) -> str:
    """One edge: solid if it pushes its target up, dashed if down; the heads are in its tooltip."""
    path = [f"{figure(x)},{figure(y)}" for x, y in curve.points]
    return element(
        "path",
        title(*edge_lines(graph, curve.edge, share), *carrier_lines(carried)),
        d=f"M{path[0]} C{path[1]} {path[2]} {path[3]}",
        **stroke(float(graph.edges.weight[curve.edge]) < 0, share, flow),
    )


def edge_color(negative: bool) -> str:
    """The colour of an edge's sign."""
    return palette.NEGATIVE if negative else palette.POSITIVE


def stroke(negative: bool, share: float, flow: float) -> dict[str, str | float]:
    """The line of an edge as attributes."""
    width = stroke_width(share)
    line: dict[str, str | float] = {
        "fill": "none",
        "stroke": edge_color(negative),
        "stroke_width": width,
        "stroke_opacity": stroke_opacity(flow),
    }
    if negative:
        line["stroke_dasharray"] = f"{figure(4 + width)} {figure(2.5 + 0.5 * width)}"
    return line


def node_shape(pruned: PrunedGraph, placed: Placed) -> str:
    """One node with its label and its `<title>`."""
    nodes = pruned.graph.nodes
    kind = NodeKind(int(nodes.kind[placed.row]))
    if kind is NodeKind.FEATURE:
        parts = [feature_mark(placed.x, placed.y, placed.radius, bool(nodes.expanded[placed.row]))]
    elif kind is NodeKind.ERROR:
        parts = [error_mark(placed.x, placed.y, placed.radius)]
    else:
        parts = [box_mark(placed, kind, token_shade(pruned, placed.row))]
    if kind in (NodeKind.FEATURE, NodeKind.ERROR):
        parts = [_backing(placed), *parts, _side_label(placed, kind)]
    tooltip = title(*node_lines(pruned, placed.row))
    return element("g", tooltip, *parts, class_=f"node {kind.word}")


def feature_mark(x: float, y: float, radius: float, expanded: bool = True) -> str:
    """A disc; hollow if the feature's inputs were not computed."""
    return element(
        "circle",
        cx=x,
        cy=y,
        r=radius - 0.5,
        fill=palette.FEATURE if expanded else palette.PAPER,
        stroke=palette.FEATURE_EDGE,
        stroke_width=1 if expanded else 1.6,
    )


def error_mark(x: float, y: float, radius: float) -> str:
    """A grey diamond with a cross in it."""
    arm = radius * 0.42
    diamond = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
    cross = (
        f"M{figure(x - arm)},{figure(y - arm)} L{figure(x + arm)},{figure(y + arm)} "
        f"M{figure(x - arm)},{figure(y + arm)} L{figure(x + arm)},{figure(y - arm)}"
    )
    return element(
        "polygon",
        points=" ".join(f"{figure(px)},{figure(py)}" for px, py in diamond),
        fill=palette.ERROR,
        stroke=palette.ERROR_EDGE,
        stroke_width=1,
    ) + element("path", d=cross, stroke=palette.PAPER, stroke_width=1.2, fill="none")


def token_shade(pruned: PrunedGraph, row: int) -> float:
    """How dark a token's box is, 0..1: by its influence, the strongest token 1."""
    strongest = float(
        pruned.influence[pruned.graph.nodes.of_kind(NodeKind.EMBEDDING)].max(initial=0)
    )
    return sqrt(float(pruned.influence[row]) / strongest) if strongest > 0 else 0.0


def box_mark(placed: Placed, kind: NodeKind, shade: float) -> str:
    """A box with its text in it: a token or a target."""
    is_target = kind is NodeKind.LOGIT
    box = element(
        "rect",
        x=placed.mark.left,
        y=placed.mark.top,
        width=placed.mark.right - placed.mark.left,
        height=placed.mark.bottom - placed.mark.top,
        rx=4,
        fill=palette.TARGET if is_target else palette.mixed(palette.TOKEN, shade),
        stroke=palette.TARGET if is_target else palette.TOKEN_EDGE,
        stroke_width=1,
    )
    return box + text(
        placed.label,
        placed.x,
        placed.y + TOKEN_SIZE * 0.35,
        font_size=TOKEN_SIZE,
        text_anchor="middle",
        fill=palette.TARGET_INK if is_target else palette.INK,
    )


def _backing(placed: Placed) -> str:
    """White under the label, so that an edge passing below it leaves it readable."""
    left = placed.x
    return element(
        "rect",
        x=left,
        y=placed.y - LABEL_SIZE / 2 - 1,
        width=placed.box.right - left + 1,
        height=LABEL_SIZE + 2,
        rx=3,
        fill=palette.PAPER,
        fill_opacity=0.82,
    )


def _side_label(placed: Placed, kind: NodeKind) -> str:
    return text(
        placed.label,
        placed.mark.right + LABEL_GAP,
        placed.y + LABEL_SIZE * 0.35,
        font_size=LABEL_SIZE,
        fill=palette.QUIET if kind is NodeKind.ERROR else palette.INK,
    )
