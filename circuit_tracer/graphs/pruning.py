"""Pruning: the nodes and edges that carry most of the influence on the targets (method.md 5).

1. Rank embeddings, features and errors by influence; keep the smallest set that reaches
   `node_threshold` of their sum. Embeddings and targets always stay.
2. Renormalise every row over the kept nodes and recompute the influence along each edge.
3. Keep the smallest set of edges that reaches `edge_threshold` of that.
4. Drop what dangles, until nothing does: features and errors that lead nowhere, features that
   come from nowhere.

The same order of steps as upstream's `prune_graph`, on edge lists: never an n x n matrix, and
edges are chosen by threshold, never sorted. Step 1 takes the influence over whole rows, edges not
kept in the trace included; step 2 leaves those out with the nodes. Step 4 drops the features
without a row, since nothing is known to lead to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.edges.columns import edge_columns
from circuit_tracer.graphs.edges.strongest import strongest
from circuit_tracer.graphs.graph import (
    DROPPED,
    DROPPED_OF,
    Bools,
    Edges,
    Floats,
    Graph,
    Ints,
    NodeKind,
)
from circuit_tracer.graphs.influence import (
    add_totals,
    chunks,
    cumulative_influence,
    edge_flows,
    handed_down,
    influence,
)
from circuit_tracer.graphs.scores import Scores, scores


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
    shares: Floats | None = None
    """(n,) `cumulative` as it was in the graph that this one was cut from, where that is known."""

    def __repr__(self) -> str:
        counts = f"{int(self.node_kept.sum()):,} nodes, {int(self.edge_kept.sum()):,} edges"
        return f"PrunedGraph({counts} of {self.graph!r})"

    @classmethod
    def of_kept(cls, graph: Graph, **facts: Any) -> PrunedGraph:
        """A graph in which everything is kept; `facts` are the other fields."""
        node_kept = np.ones(len(graph.nodes), dtype=np.bool_)
        edge_kept = np.ones(len(graph.edges), dtype=np.bool_)
        return cls(graph=graph, node_kept=node_kept, edge_kept=edge_kept, **facts)

    @property
    def kept_rows(self) -> Ints:
        """Rows of the kept nodes, ascending."""
        return np.flatnonzero(self.node_kept)

    @property
    def kept_edges(self) -> Edges:
        """The kept edges, their ends still rows of the whole graph's node table."""
        return self.graph.edges.take(np.flatnonzero(self.edge_kept))

    @property
    def cumulative(self) -> Floats:
        """(n,) cumulative share of influence, lower = more important; targets 0."""
        if self.shares is not None:
            return self.shares
        return cumulative_influence(self.influence, _ranked(self.graph))

    def with_labels(self, rows: Ints, labels: Sequence[str]) -> PrunedGraph:
        """The same graph with other labels at some rows of the node table."""
        texts = list(self.graph.nodes.label)
        for row, label in zip(rows.tolist(), labels, strict=True):
            texts[row] = label
        nodes = replace(self.graph.nodes, label=tuple(texts))
        return replace(self, graph=replace(self.graph, nodes=nodes))

    def kept_graph(self) -> Graph:
        """The kept nodes and edges as a graph of their own, rows renumbered in the same order."""
        rows = self.kept_rows
        new_row = np.zeros(len(self.graph.nodes), dtype=np.int32)
        new_row[rows] = np.arange(len(rows), dtype=np.int32)
        kept = self.kept_edges
        edges = Edges(new_row[kept.source], new_row[kept.target], kept.weight)
        return replace(self.graph, nodes=self.graph.nodes.take(rows), edges=edges)

    def kept_alone(self) -> PrunedGraph:
        """The kept part as a graph of its own whose rows are as whole as before; all of it is kept.

        What pruning took out of a node's incoming edges goes into its `dropped...` sums, as if the
        trace had not kept those edges one by one (graph.py). So edges + dropped + constant are
        still the node's value, and an edge's share of its row and a route's strength are what they
        were, with a hundredth of the numbers. What the sums do not say is gone: where the influence
        that flowed into them went on to, and so a route's share of all routes.
        """
        kept, rows = self.kept_graph(), self.kept_rows
        sums = _left_out(self.graph, self.edge_kept)
        columns: dict[str, Any] = {
            name: getattr(kept.nodes, name) + sums[name][rows] for name in DROPPED
        }
        return PrunedGraph.of_kept(
            replace(kept, nodes=replace(kept.nodes, **columns)),
            node_threshold=self.node_threshold,
            edge_threshold=self.edge_threshold,
            influence=self.influence[rows],
            scores=self.scores,
            shares=self.cumulative[rows],
        )


def prune(
    graph: Graph, *, node_threshold: float = 0.8, edge_threshold: float = 0.98
) -> PrunedGraph:
    """Keep nodes to a cumulative share of influence, then edges likewise, drop what dangles.

    Thresholds are shares in (0, 1]; 1 keeps everything that has any influence. Equal influences
    are ranked by row, so the result is the same on every machine. Raises UsageError for a
    threshold outside (0, 1], and for what is no whole graph.
    """
    if not isinstance(graph, Graph):
        raise UsageError(
            f"a {type(graph).__name__} is no whole graph; give `.graph` of what "
            "`circuit_tracer.attribution.trace` or `load_graph` gives"
        )
    check_thresholds(node_threshold, edge_threshold)
    node_influence = influence(graph)
    ranked = np.where(_ranked(graph), node_influence, 0.0)
    node_kept = strongest(lambda: (ranked,), len(ranked), node_threshold)
    return keep_nodes(
        graph, node_kept, node_threshold=node_threshold, edge_threshold=edge_threshold
    )


def keep_nodes(
    graph: Graph, node_kept: Bools, *, node_threshold: float, edge_threshold: float = 0.98
) -> PrunedGraph:
    """Keep these nodes (n,), with embeddings and targets, and steps 2 to 4 for their edges.

    `node_threshold` is what the graph says of how they were chosen.
    """
    node_kept = node_kept | np.isin(graph.nodes.kind, (NodeKind.EMBEDDING, NodeKind.LOGIT))
    node_influence = influence(graph)
    edge_kept = _between(graph.edges, node_kept)
    inner = _inner_graph(graph, edge_kept)
    node_kept, inner_kept = _drop_dangling(inner, _strong_edges(inner, edge_threshold), node_kept)
    edge_kept[edge_kept] = inner_kept
    return PrunedGraph(
        graph=graph,
        node_threshold=node_threshold,
        edge_threshold=edge_threshold,
        node_kept=node_kept,
        edge_kept=edge_kept,
        influence=node_influence,
        scores=scores(graph, node_influence),
    )


def check_pruned(given: object) -> None:
    """Raise UsageError for anything but a pruned graph, such as the place of one."""
    if not isinstance(given, PrunedGraph):
        raise UsageError(
            f"a {type(given).__name__} is no pruned graph; give what `prune` or `load_graph` gives "
            "(of a traced one its `.pruned`)"
        )


def check_thresholds(node_threshold: float, edge_threshold: float) -> None:
    """Raise UsageError for a threshold outside (0, 1]."""
    for name, value in (("`node_threshold`", node_threshold), ("`edge_threshold`", edge_threshold)):
        if not 0 < value <= 1:  # also refuses NaN
            raise UsageError(
                f"{name} {value} is no share of influence; give a number above 0 and at most 1"
            )


def _ranked(graph: Graph) -> Bools:
    """(n,) the nodes that compete for influence: all but the targets."""
    ranked: Bools = graph.nodes.kind != NodeKind.LOGIT
    return ranked


def _between(edges: Edges, node_kept: Bools) -> Bools:
    """(m,) the edges whose two ends are kept."""
    inside = np.empty(len(edges), dtype=np.bool_)
    for part in chunks(0, len(edges)):
        inside[part] = node_kept[edges.source[part]] & node_kept[edges.target[part]]
    return inside


def _inner_graph(graph: Graph, inside: Bools) -> Graph:
    """The graph of those edges alone: its rows sum to what they have, nothing is dropped."""
    edges = graph.edges
    columns = edge_columns(int(inside.sum()), edges.weight.dtype)
    for part in chunks(0, len(edges)):
        columns.append(edges.take(part).take(inside[part]))
    return replace(graph, nodes=graph.nodes.with_nothing_dropped(), edges=columns.edges())


def _strong_edges(inner: Graph, threshold: float) -> Bools:
    """The fewest edges whose influence reaches `threshold` of the whole; ties by position."""
    passed_on, count = handed_down(inner), len(inner.edges)

    def flows() -> Iterator[Floats]:
        return (edge_flows(inner.edges, passed_on, part) for part in chunks(0, count))

    return strongest(flows, count, threshold)


def _drop_dangling(inner: Graph, alive: Bools, node_kept: Bools) -> tuple[Bools, Bools]:
    """Remove nodes that lead nowhere or come from nowhere, with their edges, until none is left.

    Returns the nodes (n,) and which edges are alive.
    """
    kind, edges = inner.nodes.kind, inner.edges
    needs_output = (kind == NodeKind.FEATURE) | (kind == NodeKind.ERROR)
    needs_input = kind == NodeKind.FEATURE
    kept, alive = node_kept.copy(), alive.copy()
    while True:
        has_output, has_input = np.zeros_like(kept), np.zeros_like(kept)
        for part in chunks(0, len(edges)):
            source, target = edges.source[part], edges.target[part]
            alive[part] &= kept[source] & kept[target]
            has_output[source[alive[part]]] = True
            has_input[target[alive[part]]] = True
        dangling = kept & ((needs_output & ~has_output) | (needs_input & ~has_input))
        if not dangling.any():
            return kept, alive
        kept &= ~dangling


def _left_out(graph: Graph, edge_kept: Bools) -> dict[str, Floats]:
    """(n,) sums of the edges that are not kept, as the columns of `DROPPED`."""
    edges, kind, n = graph.edges, graph.nodes.kind, len(graph.nodes)
    sums = {name: np.zeros(n) for name in DROPPED}
    for part in chunks(0, len(edges)):
        left_out = edges.take(part).take(~edge_kept[part])
        sums["dropped"] += np.bincount(left_out.target, left_out.weight, n)
        for own, name in DROPPED_OF.items():
            add_totals(sums[name], left_out.take(kind[left_out.source] == own))
    return sums
