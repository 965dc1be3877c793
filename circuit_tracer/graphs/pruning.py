"""Pruning: the nodes and edges that carry most of the influence on the targets (method.md 5).

1. Rank embeddings, features and errors by influence; keep the smallest set that reaches
   `node_threshold` of their sum. Embeddings and targets always stay.
2. Renormalise every row over the kept nodes and recompute the influence along each edge.
3. Keep the smallest set of edges that reaches `edge_threshold` of that.
4. Drop what dangles, until nothing does: features and errors that lead nowhere, features that
   come from nowhere.

The same order of steps as upstream's `prune_graph`, on edge lists: never an n x n matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Bools, Edges, Floats, Graph, Ints, NodeKind
from circuit_tracer.graphs.influence import (
    Scores,
    cumulative_influence,
    edge_influence,
    influence,
    scores,
)


@dataclass(frozen=True)
class PrunedGraph:
    """A graph with what was kept of it. The whole graph stays inside, so it can be pruned again."""

    graph: Graph
    node_threshold: float
    edge_threshold: float
    node_kept: Bools
    """(n,) nodes kept; tokens (embeddings) and targets always are."""
    edge_kept: Bools
    """(m,) edges kept; both ends are kept nodes."""
    influence: Floats
    """(n,) influence of each node on the targets in the whole graph; targets themselves 0."""
    scores: Scores
    """Computed on the whole (unpruned) graph."""

    @property
    def kept_rows(self) -> Ints:
        """Rows of the kept nodes, ascending."""
        return np.flatnonzero(self.node_kept)

    @property
    def kept_edges(self) -> Edges:
        """The kept edges, their ends still rows of the whole graph's node table."""
        return _take_edges(self.graph.edges, np.flatnonzero(self.edge_kept))

    @property
    def cumulative(self) -> Floats:
        """(n,) cumulative share of influence, lower = more important; targets 0."""
        return cumulative_influence(self.influence, _ranked(self.graph))

    def kept_graph(self) -> Graph:
        """The kept nodes and edges as a graph of their own, rows renumbered in the same order."""
        rows = self.kept_rows
        new_row = np.zeros(len(self.graph.nodes), dtype=np.int32)
        new_row[rows] = np.arange(len(rows), dtype=np.int32)
        kept = self.kept_edges
        edges = Edges(new_row[kept.source], new_row[kept.target], kept.weight)
        return replace(self.graph, nodes=self.graph.nodes.take(rows), edges=edges)


def prune(
    graph: Graph, *, node_threshold: float = 0.8, edge_threshold: float = 0.98
) -> PrunedGraph:
    """Keep nodes to a cumulative share of influence, then edges likewise, drop what dangles.

    Thresholds are shares in (0, 1]; 1 keeps everything that has any influence. Equal influences
    are ranked by row, so the result is the same on every machine. Raises UsageError for a
    threshold outside (0, 1].
    """
    check_thresholds(node_threshold, edge_threshold)
    node_influence = influence(graph)
    node_kept = _strongest(node_influence, node_threshold, _ranked(graph))
    node_kept |= np.isin(graph.nodes.kind, (NodeKind.EMBEDDING, NodeKind.LOGIT))

    inside = np.flatnonzero(node_kept[graph.edges.source] & node_kept[graph.edges.target])
    edges = _take_edges(graph.edges, inside)
    flows = edge_influence(replace(graph, edges=edges))
    strong = _strongest(flows, edge_threshold)
    inside, edges = inside[strong], _take_edges(edges, strong)

    node_kept, alive = _drop_dangling(graph, edges, node_kept)
    edge_kept = np.zeros(len(graph.edges), dtype=np.bool_)
    edge_kept[inside[alive]] = True
    return PrunedGraph(
        graph=graph,
        node_threshold=node_threshold,
        edge_threshold=edge_threshold,
        node_kept=node_kept,
        edge_kept=edge_kept,
        influence=node_influence,
        scores=scores(graph, node_influence),
    )


def check_thresholds(node_threshold: float, edge_threshold: float) -> None:
    """Raise UsageError for a threshold outside (0, 1]."""
    for name, value in (("--node-threshold", node_threshold), ("--edge-threshold", edge_threshold)):
        if not 0 < value <= 1:  # also refuses NaN
            raise UsageError(
                f"{name} {value} is no share of influence; give a number above 0 and at most 1"
            )


def _ranked(graph: Graph) -> Bools:
    """(n,) the nodes that compete for influence: all but the targets."""
    ranked: Bools = graph.nodes.kind != NodeKind.LOGIT
    return ranked


def _take_edges(edges: Edges, which: Ints | Bools) -> Edges:
    return Edges(edges.source[which], edges.target[which], edges.weight[which])


def _strongest(values: Floats, threshold: float, ranked: Bools | None = None) -> Bools:
    """The fewest positive values whose sum reaches `threshold` of the whole; ties by position."""
    candidates = values > 0
    if ranked is not None:
        candidates &= ranked
    if threshold >= 1 or not candidates.any():
        return candidates
    rows = np.flatnonzero(candidates)
    rows = rows[np.argsort(-values[rows], kind="stable")]
    running = np.cumsum(values[rows])
    # The tolerance keeps a share that is reached exactly from being missed by rounding.
    needed = int(np.searchsorted(running, (threshold - 1e-12) * running[-1])) + 1
    kept = np.zeros(len(values), dtype=np.bool_)
    kept[rows[:needed]] = True
    return kept


def _drop_dangling(graph: Graph, edges: Edges, node_kept: Bools) -> tuple[Bools, Bools]:
    """Remove nodes that lead nowhere or come from nowhere, with their edges, until none is left.

    Returns the nodes (n,) and which of `edges` are alive.
    """
    kind = graph.nodes.kind
    needs_output = (kind == NodeKind.FEATURE) | (kind == NodeKind.ERROR)
    needs_input = kind == NodeKind.FEATURE
    kept = node_kept.copy()
    while True:
        alive = kept[edges.source] & kept[edges.target]
        has_output = np.zeros(len(kept), dtype=np.bool_)
        has_output[edges.source[alive]] = True
        has_input = np.zeros(len(kept), dtype=np.bool_)
        has_input[edges.target[alive]] = True
        dangling = kept & ((needs_output & ~has_output) | (needs_input & ~has_input))
        if not dangling.any():
            return kept, alive
        kept &= ~dangling
