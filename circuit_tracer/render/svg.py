"""The figure: one SVG page a paper could print, the same bytes for the same graph.

From back to front: stripes of the layers, edges (weakest first), nodes; around them the prompt
above, the layers' names to the left, the legend below, and under it the trust report's panel where
there is a report. Text stays text; every node and edge has a `<title>`.
"""

from __future__ import annotations

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.describe import edge_lines, node_lines
from circuit_tracer.render.drawing import Look, axis, draw, stripes
from circuit_tracer.render.edge_labels import MEANING, carrier_lines, carriers_of, labels_of
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.legend import legend
from circuit_tracer.render.markup import title
from circuit_tracer.render.places import Placed
from circuit_tracer.render.selection import MAX_NODES, select
from circuit_tracer.render.shapes import (
    edge_color,
    error_mark,
    feature_mark,
    kind_box,
    labelled_mark,
    node_group,
    token_shade,
)
from circuit_tracer.render.svg_page import BOLD, MARGIN, bold, document, paper, quiet, shift
from circuit_tracer.render.text import printable, shorten_front_to_width, shorten_to_width
from circuit_tracer.render.trust_panel import StoredVerdict, trust_panel

HEADER = 46.0
FOOTER = 22.0
PANEL_GAP = 12.0


def svg(
    pruned: PrunedGraph,
    *,
    max_nodes: int = MAX_NODES,
    max_edges: int | None = None,
    trust: StoredVerdict | None = None,
    heads: HeadLoadings | None = None,
    drawn: str = "",
    alone: bool = False,
) -> str:
    """The pruned graph as an SVG document.

    Draws at most `max_nodes` features and errors (those with most influence) and `max_edges`
    edges (default: two per node); the page says what was left out. `trust` is what was concluded of
    this very graph, for the panel. With `heads` edges say which head carries them, as far as there
    is room. `drawn` is a sentence on what part of a graph this is (views.py). The picture `alone`
    has neither legend nor panel.
    """
    graph = pruned.graph
    selection = select(pruned, max_nodes=max_nodes, max_edges=max_edges)
    layout = lay_out(pruned, selection)
    width = layout.width
    carried = carriers_of(graph.edges, heads)
    look = Look(
        color=lambda edge: edge_color(float(graph.edges.weight[edge]) < 0),
        tooltip=lambda edge, share: title(
            *edge_lines(graph, edge, share), *carrier_lines(carried.get(edge, ()))
        ),
        node=lambda placed: _node(pruned, placed),
    )
    picture = (
        stripes(layout, graph.info.n_layers),
        draw(graph, selection, layout, look, lambda lines: labels_of(graph, lines, carried)),
        axis(graph, layout),
    )
    parts = [
        shift(MARGIN, MARGIN, _header(pruned, width)),
        shift(MARGIN, MARGIN + HEADER, *picture),
    ]
    height = HEADER + layout.height + FOOTER
    if not alone:
        key = legend(pruned, selection, width, on_edges=MEANING if carried else "", drawn=drawn)
        parts.append(shift(MARGIN, MARGIN + height, key.markup))
        height += key.height
    if trust is not None and not alone:
        panel = trust_panel(trust, width)
        parts.append(shift(MARGIN, MARGIN + height + PANEL_GAP, panel.markup))
        height += PANEL_GAP + panel.height
    name = title(f"Attribution graph: {graph.info.prompt}")
    return document(width, height, [name, paper(width, height), *parts])


def _header(pruned: PrunedGraph, width: float) -> str:
    info = pruned.graph.info
    prompt = shorten_front_to_width(printable(info.prompt), 15.0, width / BOLD)
    below = f"attribution graph of {info.model.name} through {info.dictionary.name}"
    shortened = shorten_to_width(below, 10.0, width)
    return bold(prompt, 0, 14, 15) + quiet(shortened, 0, 30, font_size=10)


def _node(pruned: PrunedGraph, placed: Placed) -> str:
    """One node with its label and its `<title>`."""
    nodes, row = pruned.graph.nodes, placed.row
    kind = NodeKind(int(nodes.kind[row]))
    tooltip = title(*node_lines(pruned, row))
    place = placed.x, placed.y, placed.radius
    if kind is NodeKind.FEATURE:
        mark = feature_mark(*place, bool(nodes.expanded[row]))
        return labelled_mark(placed, mark, tooltip, kind, palette.INK)
    if kind is NodeKind.ERROR:
        return labelled_mark(placed, error_mark(*place), tooltip, kind, palette.QUIET)
    return node_group(kind, tooltip, kind_box(placed, kind, token_shade(pruned, row)))
