"""Which nodes and edges of a pruned graph a page can hold, and the sentences that say so.

Features and errors are chosen by influence, edges by the influence that flows along them: the
edge's share of its target's (absolute) input times the influence of the target. Every drawn node
first gets its strongest drawn edge upwards and downwards; the rest goes to the strongest edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Edges, Floats, Ints, NodeKind
from circuit_tracer.graphs.influence import edge_influence
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.numbers import percent

MAX_NODES = 60
MAX_TOKENS = 26
USUAL_EDGES = 60, 2.0
"""Edges drawn in any case, and per node."""


@dataclass(frozen=True)
class Selection:
    """What is drawn of a pruned graph, and how much that is of the whole."""

    rows: Ints
    """Nodes drawn, ascending: targets, tokens, and the features and errors chosen."""
    edges: Ints
    """Edges drawn (indices into the graph's edge table), strongest flow first."""
    flow: Floats
    """Influence along each drawn edge, in the order of `edges`; the targets' is 1 in all."""
    strongest_omitted: float
    """Flow of the strongest edge between drawn nodes that is not drawn; 0 if all are."""
    kept: int
    """Features and errors the pruning kept; `drawn` of them are drawn."""
    drawn: int
    tokens: int
    """Tokens with a node; `tokens_drawn` of them are drawn."""
    tokens_drawn: int
    edges_between: int
    """Edges the pruning kept between drawn nodes; of these `len(edges)` are drawn."""

    @classmethod
    def whole(cls, rows: Sequence[int], flow: Sequence[float]) -> Selection:
        """Some nodes, and all edges of a graph, whose flow is given, strongest first."""
        n, m = len(rows), len(flow)
        drawn = np.array(rows, dtype=np.int64), np.arange(m), np.array(flow)
        return cls(*drawn, 0.0, n, n, n, n, m)

    def sentences(self) -> tuple[str, ...]:
        """What is drawn and what was left out, in full sentences; never empty."""
        parts = []
        if not self.kept:
            parts.append("No features or errors were kept.")
        elif self.drawn < self.kept:
            parts.append(
                f"{self.drawn:,} of {self.kept:,} kept features and errors drawn: "
                f"the {self.drawn:,} with most influence."
            )
        else:
            parts.append(f"All {self.kept:,} kept features and errors drawn.")
        if self.tokens_drawn < self.tokens:
            parts.append(
                f"{self.tokens_drawn:,} of {self.tokens:,} tokens drawn: "
                f"the {self.tokens_drawn:,} with most influence."
            )
        between, drawn = self.edges_between, len(self.edges)
        if drawn < between:
            parts.append(
                f"{drawn:,} of {between:,} kept edges between them drawn: no edge left out carries "
                f"more than {percent(self.strongest_omitted)} of the influence."
            )
        else:
            parts.append(f"All {between:,} kept edges between them drawn.")
        return tuple(parts)


def select(
    pruned: PrunedGraph,
    *,
    max_nodes: int = MAX_NODES,
    max_tokens: int = MAX_TOKENS,
    usual_edges: tuple[int, float] = USUAL_EDGES,
) -> Selection:
    """Choose at most `max_nodes` features and errors and a readable number of edges.

    Targets are always drawn, tokens too unless there are more than `max_tokens`; of the edges so
    many per drawn node, or a fixed number if that is more (`usual_edges`).
    """
    if max_nodes < 1:
        raise UsageError("a figure needs `max_nodes` of at least 1")
    nodes, edges = pruned.graph.nodes, pruned.graph.edges
    kept_rows = np.flatnonzero(pruned.node_kept)
    kinds = nodes.kind[kept_rows]
    tokens = kept_rows[kinds == NodeKind.EMBEDDING]
    inner = kept_rows[(kinds == NodeKind.FEATURE) | (kinds == NodeKind.ERROR)]
    drawn_tokens = _most_influential(tokens, pruned.influence, max_tokens)
    drawn_inner = _most_influential(inner, pruned.influence, max_nodes)
    targets = kept_rows[kinds == NodeKind.LOGIT]
    rows = np.sort(np.concatenate([drawn_tokens, drawn_inner, targets])).astype(np.int64)

    is_drawn = np.zeros(len(nodes), dtype=bool)
    is_drawn[rows] = True
    kept = np.flatnonzero(pruned.edge_kept).astype(np.int64)
    between = kept[is_drawn[edges.source[kept]] & is_drawn[edges.target[kept]]]
    flow = edge_influence(pruned.graph, pruned.influence, between)
    order = np.lexsort((between, -flow))
    between, flow = between[order], flow[order]
    least, per_node = usual_edges
    chosen = _readable(between, edges, max(least, int(per_node * len(rows))))
    omitted = np.delete(flow, chosen)
    return Selection(
        rows=rows,
        edges=between[chosen],
        flow=flow[chosen],
        strongest_omitted=float(omitted.max(initial=0.0)),
        kept=len(inner),
        drawn=len(drawn_inner),
        tokens=len(tokens),
        tokens_drawn=len(drawn_tokens),
        edges_between=len(between),
    )


def _most_influential(rows: Ints, influence: Floats, count: int) -> Ints:
    order = np.lexsort((rows, -influence[rows]))
    return np.sort(rows[order[:count]])


def _readable(between: Ints, edges: Edges, limit: int) -> Ints:
    """Indices into `between` (sorted by flow): each node's strongest edges, then the strongest."""
    if len(between) <= limit:
        return np.arange(len(between))
    _, first_up = np.unique(edges.source[between], return_index=True)
    _, first_down = np.unique(edges.target[between], return_index=True)
    needed = np.union1d(first_up, first_down)[:limit]
    others = np.setdiff1d(np.arange(len(between)), needed)[: limit - len(needed)]
    return np.sort(np.concatenate([needed, others]))
