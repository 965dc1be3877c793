"""The figure as Graphviz DOT, with the places of our own layout pinned (engine neato).

For those who want to edit the drawing or have Graphviz route the edges. `dot` alone would take
minutes to place a few hundred nodes; the places are known, so nothing is left to search.
"""

from __future__ import annotations

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.influence import edge_shares
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.describe import edge_lines, node_lines
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.places import Layout, Placed
from circuit_tracer.render.selection import MAX_NODES, select
from circuit_tracer.render.shapes import stroke_width, token_shade
from circuit_tracer.render.text import printable

POINTS = 72.0
_STYLES = {
    NodeKind.EMBEDDING: ("filled,rounded", palette.TOKEN, palette.TOKEN_EDGE, palette.INK),
    NodeKind.FEATURE: ("filled,rounded", palette.FEATURE, palette.FEATURE_EDGE, palette.INK),
    NodeKind.ERROR: ("filled,dashed", palette.STRIPE, palette.ERROR_EDGE, palette.QUIET),
    NodeKind.LOGIT: ("filled,rounded", palette.TARGET, palette.TARGET, palette.TARGET_INK),
}


def dot(pruned: PrunedGraph, *, max_nodes: int = MAX_NODES) -> str:
    """The pruned graph as DOT text; choices and places are those of the SVG figure."""
    from graphviz import Digraph

    selection = select(pruned, max_nodes=max_nodes)
    layout = lay_out(pruned, selection)
    drawing = Digraph(
        "attribution",
        comment=" ".join(selection.sentences()),
        engine="neato",
        graph_attr={
            "inputscale": "72",
            "splines": "line",
            "outputorder": "edgesfirst",
            "fontname": "Helvetica",
            "fontsize": "10",
            "labelloc": "b",
            "label": _escaped([pruned.graph.info.prompt, *selection.sentences()]),
        },
        node_attr={
            "fontname": "Helvetica",
            "fontsize": "10",
            "shape": "box",
            "margin": "0",
            "fixedsize": "true",
        },
        edge_attr={"arrowsize": "0.5", "tailport": "n", "headport": "s"},
    )
    features = selection.rows[pruned.graph.nodes.kind[selection.rows] == NodeKind.FEATURE]
    largest = float(pruned.influence[features].max(initial=0.0))
    for placed in layout.placed.values():
        drawing.node(_name(placed.row), **_node(pruned, layout, placed, largest))
    shares = edge_shares(pruned.graph, selection.edges).tolist()
    edges = pruned.graph.edges
    for edge, share in zip(selection.edges.tolist(), shares, strict=True):
        negative = float(edges.weight[edge]) < 0
        drawing.edge(
            _name(int(edges.source[edge])),
            _name(int(edges.target[edge])),
            color=palette.NEGATIVE if negative else palette.POSITIVE,
            style="dashed" if negative else "solid",
            penwidth=f"{stroke_width(share):.2f}",
            tooltip=_escaped(edge_lines(pruned.graph, edge, share)),
        )
    return str(drawing.source)


def _name(row: int) -> str:
    return f"n{row}"


def _escaped(lines: list[str]) -> str:
    """Lines as a label that is text only.

    Graphviz reads backslashes, `<...>` and entities (`&amp;`) in labels. The result is graphviz's
    own marked string type: as a plain str it could be taken for HTML again.
    """
    from graphviz import escape

    text = "\n".join(printable(line) for line in lines)
    escaped: str = escape(text.replace("&", "&amp;"))
    return escaped


def _node(pruned: PrunedGraph, layout: Layout, placed: Placed, largest: float) -> dict[str, str]:
    """Attributes of one node: a box with its label; a feature's is darker with more influence."""
    kind = NodeKind(int(pruned.graph.nodes.kind[placed.row]))
    style, fill, line, ink = _STYLES[kind]
    if kind is NodeKind.FEATURE:
        share = float(pruned.influence[placed.row]) / largest if largest > 0 else 0.0
        fill = palette.mixed(fill, 0.08 + 0.5 * share)
    elif kind is NodeKind.EMBEDDING:
        fill = palette.mixed(fill, token_shade(pruned, placed.row))
    box = placed.box
    x, y = (box.left + box.right) / 2, layout.height - (box.top + box.bottom) / 2
    return {
        "label": _escaped([placed.label]),
        "style": style,
        "fillcolor": fill,
        "color": line,
        "fontcolor": ink,
        "pos": f"{x:.2f},{y:.2f}!",
        "width": f"{(box.right - box.left) / POINTS:.4f}",
        "height": f"{(box.bottom - box.top + 4) / POINTS:.4f}",
        "tooltip": _escaped(node_lines(pruned, placed.row)),
    }
