"""The figure: one SVG page a paper could print, the same bytes for the same graph.

From back to front: stripes of the layers, edges (weakest first), nodes; around them the prompt
above, the layers' names to the left, the legend below, and under it the trust report's panel where
there is a report. Text stays text; every node and edge has a `<title>`.
"""

from __future__ import annotations

from typing import NamedTuple

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.describe import edge_lines, node_lines
from circuit_tracer.render.drawing import Look, axis, draw, stripes
from circuit_tracer.render.edge_labels import MEANING, carrier_lines, carriers_of, labels_of
from circuit_tracer.render.fitting import fit
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.legend import LegendKind, short_legend
from circuit_tracer.render.legend import legend as full_legend
from circuit_tracer.render.markup import title
from circuit_tracer.render.places import PAPER_MARGIN, Layout, Placed
from circuit_tracer.render.selection import MAX_NODES, Selection, select
from circuit_tracer.render.shapes import (
    edge_color,
    error_mark,
    feature_mark,
    kind_box,
    labelled_mark,
    node_group,
    token_shade,
)
from circuit_tracer.render.svg_page import BOLD, MARGIN, Block, bold, document, paper, quiet, shift
from circuit_tracer.render.text import printable, shorten_front_to_width, shorten_to_width, wrap
from circuit_tracer.render.trust_panel import StoredVerdict, trust_panel

HEADER = 46.0
PROMPT_LINE = 18.0
FOOTER = 22.0
BARE_FOOTER = 13.0
PANEL_GAP = 12.0


class DrawnGraph(NamedTuple):
    """A figure of a graph."""

    svg: str
    """The document."""
    selection: Selection
    """What of the graph is drawn."""
    has_heads: bool
    """Whether edges have the heads that carry them."""


def drawn_graph(
    pruned: PrunedGraph,
    *,
    max_nodes: int = MAX_NODES,
    trust: StoredVerdict | None = None,
    heads: HeadLoadings | None = None,
    drawn: str = "",
    legend: LegendKind = "full",
    width_mm: float | None = None,
) -> DrawnGraph:
    """The pruned graph as an SVG document, and what of it is drawn.

    Draws at most `max_nodes` features and errors (those with most influence) and two edges per
    node; the page says what was left out. `trust` is what was concluded of this very graph, for the
    panel. With `heads` edges say which head carries them, as far as there
    is room. `drawn` is a sentence on what part of a graph this is (views.py). With `width_mm` the
    page is laid out for that width on paper (fitting.py): fewer nodes where more could not be read,
    and without a heading if there is no legend.
    """
    graph = pruned.graph
    selection, layout, margin = laid_out(pruned, width_mm, max_nodes)
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
    is_bare = width_mm is not None and legend == "none"
    head = Block("", 0.0) if is_bare else _header(pruned, width, most=1 if width_mm is None else 3)
    parts = [
        *([] if is_bare else [shift(margin, margin, head.markup)]),
        shift(margin, margin + head.height, *picture),
    ]
    height = head.height + layout.height + (BARE_FOOTER if is_bare else FOOTER)
    on_edges = MEANING if carried else ""
    below = []
    if legend == "full":
        below.append(full_legend(pruned, selection, width, on_edges=on_edges, drawn=drawn))
    elif legend == "short":
        below.append(short_legend(pruned, selection, width))
    if trust is not None:
        below.append(trust_panel(trust, width))
    for number, block in enumerate(below):
        height += PANEL_GAP if number or legend == "none" else 0.0
        parts.append(shift(margin, margin + height, block.markup))
        height += block.height
    name = title(f"Attribution graph: {graph.info.prompt}")
    ground = paper(width, height, margin=margin)
    page = document(width, height, [name, ground, *parts], margin=margin)
    return DrawnGraph(page, selection, bool(carried))


def laid_out(
    pruned: PrunedGraph, width_mm: float | None, max_nodes: int
) -> tuple[Selection, Layout, float]:
    """What is drawn, where, and the margin of the page; for a width on paper if one is given."""
    if width_mm is None:
        selection = select(pruned, max_nodes=max_nodes)
        return selection, lay_out(pruned, selection), MARGIN
    fitted = fit(pruned, width_mm, max_nodes=max_nodes)
    return fitted.selection, fitted.layout, PAPER_MARGIN


def _header(pruned: PrunedGraph, width: float, *, most: int) -> Block:
    """The prompt, in at most so many lines, and what computed the graph."""
    info = pruned.graph.info
    prompt, room = printable(info.prompt), width / BOLD
    lines = wrap(prompt, 15.0, room) if most > 1 else []
    if not 0 < len(lines) <= most:
        lines = [shorten_front_to_width(prompt, 15.0, room)]
    below = f"attribution graph of {info.model.name} through {info.dictionary.name}"
    shortened = shorten_to_width(below, 10.0, width)
    more = PROMPT_LINE * (len(lines) - 1)
    rows = [bold(words, 0, 14 + i * PROMPT_LINE, 15) for i, words in enumerate(lines)]
    rows.append(quiet(shortened, 0, 30 + more, font_size=10))
    return Block("".join(rows), HEADER + more)


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
