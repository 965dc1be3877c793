"""The graph's nodes, edges and tokens' effects as tables in the terminal, strongest first."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table

from circuit_tracer.graphs.graph import Graph, GraphInfo, NodeKind, node_name
from circuit_tracer.graphs.influence import edge_influence, edge_shares
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.describe import short_label, signed_logit
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.terminal import LABEL_CELLS, note, plain_table, sign_style, titled
from circuit_tracer.render.text import printable, shorten

END_CELLS = 23
MEANING = "Direct: past all features. Total: along all paths. Share: of all tokens' |total|."


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


def effects(info: GraphInfo, number: int = 0, *, limit: int | None = None) -> list[RenderableType]:
    """The table of a target under its heading, and what its columns mean."""
    words = shorten(target_texts(info.targets)[number], LABEL_CELLS)
    table = total_table(info, number, limit=limit)
    return titled(f'What each token does to "{words}"', table, note(MEANING))


def total_table(info: GraphInfo, number: int = 0, *, limit: int | None = None) -> Table:
    """Direct and total effect of every token on one target, in the prompt's order.

    `limit` keeps the tokens of largest |total|. The last lines are what else makes the value.
    """
    totals = info.totals[number]
    n, shares, words = len(totals.total), totals.shares, prompt_texts(info.tokens)
    strongest = sorted(range(n), key=lambda position: (-shares[position], position))
    shown = sorted(strongest if limit is None else strongest[:limit])
    caption = f"{len(shown)} of {n} tokens, those with most." if len(shown) < n else ""
    table = plain_table(caption).numbers("at").texts("token").numbers("direct", "total", "share")
    for position in shown:
        table.line(
            str(position),
            shorten(words[position], LABEL_CELLS),
            f"{totals.direct[position]:+.2f}",
            f"{totals.total[position]:+.2f}",
            percent(shares[position]),
            style=sign_style(totals.total[position]),
        )
    if len(shown) < n:
        rest = sum(totals.total) - sum(totals.total[position] for position in shown)
        table.line("", "other tokens", "", f"{rest:+.2f}", "")
    if totals.error:
        table.line("", "errors", "", f"{totals.error:+.2f}", "")
    table.line("", "constants", "", f"{totals.constant:+.2f}", "")
    table.line("", "value", "", f"{totals.value:+.2f}", "")
    return table


def below_tokens(info: GraphInfo) -> str:
    """What the numbers below a figure's tokens are; "" where it has none."""
    if not info.totals:
        return ""
    words = shorten(target_texts(info.targets)[0], LABEL_CELLS)
    return f'Below tokens: position, and effect on "{words}" along all paths.'
