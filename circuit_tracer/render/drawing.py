"""The picture of a graph: stripes of the layers, edges, nodes and the tokens below, laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.influence import edge_shares
from circuit_tracer.render import palette
from circuit_tracer.render.curves import Curve, curves
from circuit_tracer.render.edge_labels import label_shape, place_labels
from circuit_tracer.render.markup import element
from circuit_tracer.render.node_labels import TOKEN_SIZE
from circuit_tracer.render.places import Layout, Placed
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.shapes import centred, edge_shape, stroke
from circuit_tracer.render.svg_page import line, quiet, rect


class Look(NamedTuple):
    """How a figure shows its edges and nodes."""

    color: Callable[[int], str]
    """Of an edge, by its index."""
    tooltip: Callable[[int, float], str]
    """Of an edge, which is this share of its target's input."""
    node: Callable[[Placed], str]
    """A node's shape with its label and tooltip."""


def draw(
    graph: Graph,
    selection: Selection,
    layout: Layout,
    look: Look,
    words: Callable[[Sequence[Curve]], Mapping[int, str]],
    *,
    shares: Sequence[float] | None = None,
) -> str:
    """Edges (weakest first), what is written on them, and the nodes above.

    `words` says what is to be written on edges, by their index; `shares` what part of its target's
    input each drawn edge is, by default as the graph's edges say.
    """
    if shares is None:
        shares = edge_shares(graph, selection.edges).tolist()
    strongest = max(selection.flow.max(initial=0.0), 1e-30)
    lines = curves(graph, selection, layout)
    shapes = []
    for curve, share, flow in zip(lines, shares, selection.flow.tolist(), strict=True):
        negative, color = float(graph.edges.weight[curve.edge]) < 0, look.color(curve.edge)
        style = stroke(negative, share, flow / strongest, color)
        shapes.append(edge_shape(curve, look.tooltip(curve.edge, share), style))
    shapes.reverse()
    shapes += [
        label_shape(label, look.color(label.edge))
        for label in place_labels(lines, words(lines), layout)
    ]
    nodes = [look.node(placed) for placed in layout.placed.values()]
    return _group("edges", shapes) + _group("nodes", nodes)


def _group(name: str, shapes: Sequence[str]) -> str:
    return element("g", *(f"\n{shape}" for shape in shapes), class_=name)


def stripes(layout: Layout, n_layers: int) -> str:
    """Every second layer on grey, layer names at the left, hairlines between the tokens."""
    parts = []
    for i, band in enumerate(layout.bands):
        if i % 2 == 1:
            height = band.bottom - band.top
            parts.append(rect(0, band.top, layout.width, height, fill=palette.STRIPE))
        if 0 <= band.layer < n_layers:
            left = 1 if layout.smallest else 6
            parts.append(quiet(f"L{band.layer}", left, band.middle + 3.5, font_size=10))
    for column in layout.columns[1:]:
        ends = (column.left, 0), (column.left, layout.height)
        parts.append(line(*ends, palette.RULE, stroke_width=0.6, stroke_dasharray="1 3"))
    return "".join(parts)


def _totals(graph: Graph, layout: Layout) -> Iterator[str]:
    """Under the positions what each token does to the first target along all paths."""
    totals = graph.info.totals[0].total if graph.info.totals else ()
    for column in layout.columns:
        if not column.is_gap and column.first < len(totals):
            words, at = f"{totals[column.first]:+.1f}", (column.centre, layout.height + 19)
            yield quiet(words, *at, font_size=8.0, text_anchor="middle")


def axis(graph: Graph, layout: Layout) -> str:
    """Token positions under the columns; the text of tokens that have no node of their own."""
    nodes = graph.nodes
    with_box = {int(nodes.position[row]) for row in layout.placed if nodes.layer[row] < 0}
    middle = layout.bands[-1].middle
    parts = []
    for column in layout.columns:
        if column.first not in with_box:
            words = "…" if column.is_gap else column.label
            turned = layout.upright and not column.is_gap
            at = column.centre, middle
            parts.append(centred(words, *at, TOKEN_SIZE, palette.QUIET, upright=turned))
        place = f"+{column.count}" if column.is_gap else str(column.first)
        below, size = layout.height + 10, max(8.0, layout.smallest)
        parts.append(quiet(place, column.centre, below, font_size=size, text_anchor="middle"))
    if not layout.smallest:
        parts.append(quiet("token", 6, middle + 3.5, font_size=10))
        parts += _totals(graph, layout)
    return "".join(parts)
