"""The graph's nodes and edges as tables in the terminal, strongest first."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len
from rich.table import Table

from circuit_tracer.graphs.graph import Graph, NodeKind, node_name
from circuit_tracer.graphs.influence import edge_influence, edge_shares
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.describe import short_label, signed_logit
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.terminal import LABEL_CELLS, plain_table, sign_style
from circuit_tracer.render.text import printable, shorten

END_CELLS = 23


def node_table(pruned: PrunedGraph, *, limit: int | None = 20) -> Table:
    """The kept nodes with most influence: name, label, token, activation, influence, effect."""
    graph, nodes = pruned.graph, pruned.graph.nodes
    rows = np.flatnonzero(pruned.node_kept & (nodes.kind != NodeKind.LOGIT))
    rows = rows[np.lexsort((rows, -pruned.influence[rows]))]
    first = target_texts(graph.info.targets)[0]
    table = plain_table(
        f"{_caption(len(rows), limit, 'kept nodes, those with most influence')} "
        f"Effect: what it adds to {shorten(first, LABEL_CELLS)} along all routes.".lstrip()
    )
    table.texts("node", "label", "token").numbers("activation", "influence", "effect")
    effects = target_effects(graph).total[:, 0]
    words = prompt_texts(graph.info.tokens)
    for row in rows[:limit].tolist():
        is_feature = nodes.kind[row] == NodeKind.FEATURE
        table.line(
            node_name(graph, row),
            shorten(printable(nodes.label[row]).strip(), LABEL_CELLS) if is_feature else "",
            shorten(words[int(nodes.position[row])], 12),
            number(float(nodes.activation[row])) if is_feature else "",
            percent(float(pruned.influence[row])),
            signed_logit(float(effects[row])),
        )
    return table


def edge_table(pruned: PrunedGraph, *, limit: int | None = 20) -> Table:
    """The kept edges that carry most influence: from, to, weight, share of the target's input."""
    graph = pruned.graph
    edges = np.flatnonzero(pruned.edge_kept)
    flow = edge_influence(graph, pruned.influence, edges)
    order = np.lexsort((edges, -flow))[:limit]
    shares = edge_shares(graph, edges[order])
    table = plain_table(_caption(len(edges), limit, "kept edges, those that carry most influence"))
    table.texts("from", "to").numbers("weight", "of input", "influence")
    columns = (edges[order].tolist(), shares.tolist(), flow[order].tolist())
    for edge, share, carried in zip(*columns, strict=True):
        weight = float(graph.edges.weight[edge])
        table.line(
            _end(graph, int(graph.edges.source[edge])),
            _end(graph, int(graph.edges.target[edge])),
            f"{weight:+.3f}",
            percent(share),
            percent(carried),
            style=sign_style(weight),
        )
    return table


def _end(graph: Graph, row: int) -> str:
    """An edge's end in a table: the name, and a label as far as there is room."""
    name = printable(node_name(graph, row))
    kind = graph.nodes.kind[row]
    label = short_label(graph, row).strip()
    if kind in (NodeKind.LOGIT, NodeKind.ERROR) or label in name:
        return shorten(name, END_CELLS)
    room = END_CELLS - cell_len(name) - 1
    return f"{name} {shorten(label, room)}" if room >= 4 else shorten(name, END_CELLS)


def _caption(total: int, limit: int | None, what: str) -> str:
    if limit is None or total <= limit:
        return ""
    return f"{limit:,} of {total:,} {what}."
