"""The figure: one SVG page a paper could print, the same bytes for the same graph.

From back to front: stripes of the layers, edges (weakest first), nodes; around them the prompt
above, the layers' names to the left, the legend below, and under it the trust report's panel where
there is a report. Text stays text; every node and edge has a `<title>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit_tracer.graphs.head_loadings import Carrier, HeadLoadings
from circuit_tracer.graphs.influence import edge_shares
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.curves import curves
from circuit_tracer.render.edge_labels import (
    MEANING,
    carriers_of,
    label_shape,
    labels_of,
    place_labels,
)
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.legend import Legend, legend
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.node_labels import TOKEN_SIZE
from circuit_tracer.render.places import Layout
from circuit_tracer.render.selection import MAX_NODES, Selection, select
from circuit_tracer.render.shapes import edge_color, edge_shape, node_shape
from circuit_tracer.render.text import printable, shorten_front_to_width, shorten_to_width
from circuit_tracer.render.trust_panel import StoredVerdict, trust_panel

MARGIN = 18.0
HEADER = 46.0
FOOTER = 22.0
PANEL_GAP = 12.0
BOLD = 1.14  # bold letters are wider by about this


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
    selection = select(pruned, max_nodes=max_nodes, max_edges=max_edges)
    layout = lay_out(pruned, selection)
    width = layout.width
    carried = carriers_of(pruned.graph.edges, heads)
    key = legend(pruned, selection, width, on_edges=MEANING if carried else "", drawn=drawn)
    if alone:
        key, trust = Legend("", 0.0), None
    below = HEADER + layout.height + FOOTER
    height = below + key.height
    panel = None if trust is None else trust_panel(trust, width)
    if panel is not None:
        height += PANEL_GAP + panel.height
    parts = [
        title(f"Attribution graph: {pruned.graph.info.prompt}"),
        element("rect", width=width + 2 * MARGIN, height=height + 2 * MARGIN, fill=palette.PAPER),
        shift(MARGIN, MARGIN, _header(pruned, width)),
        shift(
            MARGIN,
            MARGIN + HEADER,
            stripes(layout, pruned.graph.info.n_layers),
            _edges(pruned, selection, layout, carried),
            _nodes(pruned, layout),
            axis(pruned, layout),
        ),
        shift(MARGIN, MARGIN + below, key.markup),
    ]
    if panel is not None:
        parts.append(shift(MARGIN, MARGIN + below + key.height + PANEL_GAP, panel.markup))
    return document(width, height, parts)


def document(width: float, height: float, parts: Sequence[str]) -> str:
    """An SVG page around markup that leaves `MARGIN` on every side of width x height."""
    size = (figure(width + 2 * MARGIN), figure(height + 2 * MARGIN))
    page = element(
        "svg",
        *(f"\n{part}" for part in parts),
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        width=size[0],
        height=size[1],
        viewBox=f"0 0 {size[0]} {size[1]}",
        role="img",
        font_family=palette.FONT,
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{page}\n'


def shift(x: float, y: float, *parts: str) -> str:
    """Markup moved to (x, y)."""
    return element("g", *parts, transform=f"translate({figure(x)} {figure(y)})")


def _header(pruned: PrunedGraph, width: float) -> str:
    info = pruned.graph.info
    prompt = shorten_front_to_width(printable(info.prompt), 15.0, width / BOLD)
    below = f"attribution graph of {info.model.name} through {info.dictionary.name}"
    return text(prompt, 0, 14, font_size=15, font_weight="bold", fill=palette.INK) + text(
        shorten_to_width(below, 10.0, width), 0, 30, font_size=10, fill=palette.QUIET
    )


def stripes(layout: Layout, n_layers: int) -> str:
    """Every second layer on grey, layer names at the left, hairlines between the tokens."""
    parts = []
    for i, band in enumerate(layout.bands):
        if i % 2 == 1:
            parts.append(
                element(
                    "rect",
                    x=0,
                    y=band.top,
                    width=layout.width,
                    height=band.bottom - band.top,
                    fill=palette.STRIPE,
                )
            )
        if 0 <= band.layer < n_layers:
            name = f"L{band.layer}"
            parts.append(text(name, 6, band.middle + 3.5, font_size=10, fill=palette.QUIET))
    bottom = layout.height
    for column in layout.columns[1:]:
        parts.append(
            element(
                "line",
                x1=column.left,
                y1=0,
                x2=column.left,
                y2=bottom,
                stroke=palette.RULE,
                stroke_width=0.6,
                stroke_dasharray="1 3",
            )
        )
    return "".join(parts)


def _edges(
    pruned: PrunedGraph,
    selection: Selection,
    layout: Layout,
    carried: Mapping[int, Sequence[Carrier]],
) -> str:
    shares = edge_shares(pruned.graph, selection.edges)
    drawn = curves(pruned.graph, selection, layout)
    strongest = max(selection.flow.max(initial=0.0), 1e-30)
    shapes = [
        edge_shape(
            pruned.graph, curve, float(share), float(flow / strongest), carried.get(curve.edge, ())
        )
        for curve, share, flow in zip(drawn, shares, selection.flow, strict=True)
    ][::-1]
    words = labels_of(pruned.graph, drawn, carried)
    shapes += [
        label_shape(label, edge_color(float(pruned.graph.edges.weight[label.edge]) < 0))
        for label in place_labels(drawn, words, layout)
    ]
    return element("g", *(f"\n{shape}" for shape in shapes), class_="edges")


def _nodes(pruned: PrunedGraph, layout: Layout) -> str:
    shapes = [node_shape(pruned, placed) for placed in layout.placed.values()]
    return element("g", *(f"\n{shape}" for shape in shapes), class_="nodes")


def axis(pruned: PrunedGraph, layout: Layout) -> str:
    """Token positions under the columns; the text of tokens that have no node of their own."""
    nodes = pruned.graph.nodes
    boxed = {int(nodes.position[row]) for row in layout.placed if nodes.layer[row] < 0}
    middle = layout.bands[-1].middle
    parts = []
    for column in layout.columns:
        words = column.label
        name = str(column.first)
        if column.is_gap:
            words, name = "…", f"+{column.count}"
        if column.first not in boxed:
            parts.append(
                text(
                    words,
                    column.centre,
                    middle + TOKEN_SIZE * 0.35,
                    font_size=TOKEN_SIZE,
                    text_anchor="middle",
                    fill=palette.QUIET,
                )
            )
        parts.append(
            text(
                name,
                column.centre,
                layout.height + 10,
                font_size=8,
                text_anchor="middle",
                fill=palette.QUIET,
            )
        )
    parts.append(text("token", 6, middle + 3.5, font_size=10, fill=palette.QUIET))
    return "".join(parts)
