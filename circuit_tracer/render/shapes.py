"""The shapes of the figure: nodes, edges and their tooltips, as SVG markup."""

from __future__ import annotations

from math import sqrt

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.curves import Curve
from circuit_tracer.render.markup import Attribute, element, figure, text
from circuit_tracer.render.node_labels import LABEL_GAP, LABEL_SIZE, TOKEN_SIZE
from circuit_tracer.render.places import Box, Placed
from circuit_tracer.render.svg_page import diamond, polygon, rect

THINNEST = 0.6
THICKEST = 4.4


def stroke_width(share: float) -> float:
    """Width of an edge that is this share (0..1) of its target's input."""
    return THINNEST + (THICKEST - THINNEST) * min(max(share, 0.0), 1.0)


def edge_color(negative: bool) -> str:
    """The colour of an edge's sign."""
    return palette.NEGATIVE if negative else palette.POSITIVE


def stroke(negative: bool, share: float, flow: float, color: str) -> dict[str, Attribute]:
    """The line of an edge as attributes: dashed if it pushes its target down.

    Edges that carry little of the influence step back; `flow` is a share of the largest.
    """
    width = stroke_width(share)
    line: dict[str, Attribute] = {
        "fill": "none",
        "stroke": color,
        "stroke_width": width,
        "stroke_opacity": 0.25 + 0.65 * float(min(max(flow, 0.0), 1.0) ** 0.6),
    }
    if negative:
        line["stroke_dasharray"] = f"{figure(4 + width)} {figure(2.5 + 0.5 * width)}"
    return line


def edge_shape(curve: Curve, tooltip: str, line: dict[str, Attribute]) -> str:
    """One edge along its curve."""
    path = [f"{figure(x)},{figure(y)}" for x, y in curve.points]
    return element("path", tooltip, d=f"M{path[0]} C{path[1]} {path[2]} {path[3]}", **line)


def labelled_mark(placed: Placed, mark: str, tooltip: str, kind: NodeKind, ink: str) -> str:
    """A mark with its label at its right, on white, so that edges below leave it readable."""
    x, y = placed.x, placed.y
    width = placed.box.right - x + 1
    top = y - LABEL_SIZE / 2 - 1
    ground = rect(x, top, width, LABEL_SIZE + 2, rx=3, fill=palette.PAPER, fill_opacity=0.82)
    left, baseline = placed.mark.right + LABEL_GAP, y + LABEL_SIZE * 0.35
    label = text(placed.label, left, baseline, font_size=LABEL_SIZE, fill=ink)
    return node_group(kind, tooltip, ground, mark, label)


def node_group(kind: NodeKind, *parts: str) -> str:
    """What belongs to one node."""
    return element("g", *parts, class_=f"node {kind.word}")


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
    cross = (
        f"M{figure(x - arm)},{figure(y - arm)} L{figure(x + arm)},{figure(y + arm)} "
        f"M{figure(x - arm)},{figure(y + arm)} L{figure(x + arm)},{figure(y - arm)}"
    )
    style: dict[str, Attribute] = {"stroke": palette.ERROR_EDGE, "stroke_width": 1}
    return polygon(diamond(x, y, radius), fill=palette.ERROR, **style) + element(
        "path", d=cross, stroke=palette.PAPER, stroke_width=1.2, fill="none"
    )


def token_shade(pruned: PrunedGraph, row: int) -> float:
    """How dark a token's box is, 0..1: by its influence, the strongest token 1."""
    strongest = float(
        pruned.influence[pruned.graph.nodes.of_kind(NodeKind.EMBEDDING)].max(initial=0)
    )
    return sqrt(float(pruned.influence[row]) / strongest) if strongest > 0 else 0.0


def kind_box(placed: Placed, kind: NodeKind, shade: float) -> str:
    """A token's or target's box in the colours of its kind."""
    if kind is NodeKind.LOGIT:
        return text_box(placed, palette.TARGET, palette.TARGET, palette.TARGET_INK)
    return text_box(placed, palette.mixed(palette.TOKEN, shade), palette.TOKEN_EDGE)


def text_box(placed: Placed, fill: str, edge: str, ink: str = palette.INK) -> str:
    """A box with its text in it: a token or a target."""
    words = centred(placed.label, placed.x, placed.y, TOKEN_SIZE, ink, upright=placed.upright)
    return boxed(placed.mark, rx=4, fill=fill, stroke=edge, stroke_width=1) + words


def boxed(box: Box, **style: Attribute) -> str:
    """A rectangle where the box is."""
    return rect(box.left, box.top, box.right - box.left, box.bottom - box.top, **style)


def centred(
    words: str, x: float, y: float, size: float, color: str, *, upright: bool = False
) -> str:
    """Text around (x, y); from the bottom up if `upright`."""
    style: dict[str, Attribute] = {"font_size": size, "text_anchor": "middle", "fill": color}
    if not upright:
        return text(words, x, y + size * 0.35, **style)
    x += size * 0.35
    return text(words, x, y, **style, transform=f"rotate(-90 {figure(x)} {figure(y)})")
