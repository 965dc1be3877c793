"""Influence of nodes on the targets, and the scores that follow from it (method.md 5).

Let A be the (target, source) matrix of edge weights and N = |A| with each row divided by its sum.
The influence of all nodes on the targets is w (N + N^2 + ...), w the targets' weights. N is
nilpotent because edges only go up in layers, so the series is one back-substitution: walk the
levels from the top down, and let every node hand what it received on to its sources.
(*Circuit Tracing*, Anthropic 2025, appendix "Graph pruning".)

`flow` does this on bare arrays, for graphs that are still growing; the other functions do it on a
`Graph`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import Bools, Floats, Graph, NodeKind

IntColumn = NDArray[np.integer[Any]]
FloatColumn = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scores:
    """How much of the graph is explained, computed on the unpruned graph. All in 0..1.

    The four `..._share` fields sum to 1: they say where the targets' influence finally ends when
    each constant is counted as one more source of its node.
    """

    replacement: float
    """Influence of embeddings / (embeddings + errors)."""
    completeness: float
    """Influence-weighted share of the nodes' (absolute) input that does not come from errors."""
    error_share: float
    """Share of the targets' influence that ends in errors, the constant counted as a source."""
    constant_share: float
    """Share that ends in the constant terms."""
    unexpanded_share: float
    """Share that ends in features without a row: what could still be hiding (0 if all have one)."""
    embedding_share: float = 0.0
    """Share that ends in embeddings: what is traced all the way down to the prompt."""


def row_totals(target: IntColumn, weight: FloatColumn, n: int) -> Floats:
    """(n,) sum of the absolute weights that come into each node."""
    return np.bincount(target, weights=np.abs(weight), minlength=n).astype(np.float64, copy=False)


def _inverse(totals: Floats) -> Floats:
    """1 / totals, and 0 where the total is 0: such rows pass nothing on."""
    return np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)


def flow(
    source: IntColumn,
    target: IntColumn,
    weight: FloatColumn,
    *,
    level: IntColumn,
    target_weight: Floats,
    totals: Floats | None = None,
) -> Floats:
    """(n,) influence that each node receives from the targets through the given edges.

    `source`, `target`, `weight` are the (m,) edges in any order, weights signed or absolute;
    `level` (n,) rises strictly along every edge (the layer: -1 embeddings, L targets);
    `target_weight` (n,) is what starts at each node. `totals` (n,) divides each row and is its
    absolute sum if not given; larger totals let the difference end at the node.
    Nodes without incoming edges pass nothing on. Raises ValueError if an edge does not go up.
    """
    n = len(target_weight)
    edge_level = level[target]
    if np.any(level[source] >= edge_level):
        raise ValueError("every edge must go from a lower to a higher level")
    if np.any(edge_level[1:] < edge_level[:-1]):
        order = np.argsort(edge_level, kind="stable")
        source, target, weight = source[order], target[order], weight[order]
        edge_level = edge_level[order]
    inverse = _inverse(row_totals(target, weight, n) if totals is None else totals)
    received = np.zeros(n)
    levels = np.unique(level)
    starts = np.searchsorted(edge_level, levels, side="left")
    ends = np.searchsorted(edge_level, levels, side="right")
    for start, end in zip(starts[::-1], ends[::-1], strict=True):
        part = slice(start, end)
        passed_on = (received + target_weight) * inverse
        shares = passed_on[target[part]] * np.abs(weight[part])
        received += np.bincount(source[part], weights=shares, minlength=n)
    return received


def influence(graph: Graph) -> Floats:
    """(n,) influence of each node on the targets, directly and through others; targets 0.

    The weights of the targets sum to 1, so an influence is the share of the targets' absolute
    input that passes through a node. Features without a row receive but pass nothing on.
    """
    edges = graph.edges
    return flow(
        edges.source,
        edges.target,
        edges.weight,
        level=graph.nodes.layer,
        target_weight=graph.nodes.weight,
    )


def edge_influence(graph: Graph, node_influence: Floats | None = None) -> Floats:
    """(m,) influence that flows along each edge: its share of what its target hands down.

    The incoming flows of a node sum to its influence (plus its weight, for a target).
    `node_influence` is `influence(graph)`, computed if not given.
    """
    received = influence(graph) if node_influence is None else node_influence
    edges = graph.edges
    totals = row_totals(edges.target, edges.weight, len(graph.nodes))
    passed_on = (received + graph.nodes.weight) * _inverse(totals)
    flows: Floats = passed_on[edges.target]
    flows *= np.abs(edges.weight)
    return flows


def cumulative_influence(node_influence: Floats, ranked: Bools | None = None) -> Floats:
    """(n,) cumulative share of influence down to and including each node, from the strongest.

    Lower is more important: this is the `influence` of the exchanged graph JSON, and a node
    threshold of 0.8 keeps the nodes up to the first that reaches 0.8. Ties go by row. Nodes
    outside `ranked` (default: all are ranked) get 0.
    """
    rows = np.arange(len(node_influence)) if ranked is None else np.flatnonzero(ranked)
    order = rows[np.argsort(-node_influence[rows], kind="stable")]
    running = np.cumsum(node_influence[order])
    shares = np.zeros(len(node_influence))
    if len(running) and running[-1] > 0:
        shares[order] = running / running[-1]
    return shares


def scores(graph: Graph, node_influence: Floats | None = None) -> Scores:
    """The scores of a whole graph; see `Scores`.

    Completeness is Anthropic's: every node that has inputs (features with a row, weighted by
    their influence; targets, by their weight) counts with the share of its absolute input that
    does not come from errors. Nodes that have no inputs (embeddings, errors, features without a
    row) do not count; upstream counts each of them as fully complete, which flatters.
    Where nothing can be divided (no influence ends in a token or error) a score is 0.
    """
    received = influence(graph) if node_influence is None else node_influence
    embeddings, errors = (
        float(received[graph.nodes.of_kind(kind)].sum())
        for kind in (NodeKind.EMBEDDING, NodeKind.ERROR)
    )
    shares = _final_shares(graph)
    return Scores(
        replacement=_ratio(embeddings, embeddings + errors),
        completeness=_completeness(graph, received),
        error_share=shares["error"],
        constant_share=shares["constant"],
        unexpanded_share=shares["unexpanded"],
        embedding_share=shares["embedding"],
    )


def _ratio(part: float, whole: float) -> float:
    """part / whole, rounding kept out of the ends of 0..1; 0 if there is no whole."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0


def _completeness(graph: Graph, received: Floats) -> float:
    nodes, edges = graph.nodes, graph.edges
    n = len(nodes)
    totals = row_totals(edges.target, edges.weight, n)
    from_error = nodes.kind[edges.source] == NodeKind.ERROR
    error_totals = row_totals(edges.target[from_error], edges.weight[from_error], n)
    importance = np.where(totals > 0, received + nodes.weight, 0.0)
    explained = importance * (totals - error_totals) * _inverse(totals)
    return _ratio(float(explained.sum()), float(importance.sum()))


def _final_shares(graph: Graph) -> dict[str, float]:
    """Where the targets' influence ends, constants counted as sources. The values sum to 1.

    A feature with neither edges nor a constant counts as unexpanded: nothing explains it.
    """
    nodes, edges = graph.nodes, graph.edges
    constant = np.nan_to_num(np.abs(nodes.constant), nan=0.0)
    totals = row_totals(edges.target, edges.weight, len(nodes)) + constant
    arrived = nodes.weight + flow(
        edges.source,
        edges.target,
        edges.weight,
        level=nodes.layer,
        target_weight=nodes.weight,
        totals=totals,
    )
    whole = float(nodes.weight.sum())
    sourceless = totals == 0
    ends = {
        "embedding": arrived[nodes.kind == NodeKind.EMBEDDING],
        "error": arrived[nodes.kind == NodeKind.ERROR],
        "constant": arrived * constant * _inverse(totals),
        "unexpanded": arrived[sourceless & np.isin(nodes.kind, (NodeKind.FEATURE, NodeKind.LOGIT))],
    }
    return {name: _ratio(float(part.sum()), whole) for name, part in ends.items()}
