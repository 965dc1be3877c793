"""Influence of nodes on the targets (method.md 5).

Let A be the (target, source) matrix of edge weights and N = |A| with each row divided by its sum.
The influence of all nodes on the targets is w (N + N^2 + ...), w the targets' weights. N is
nilpotent because edges only go up in layers, so the series is one back-substitution: walk the
levels from the top down, and let every node hand what it received on to its sources.
(*Circuit Tracing*, Anthropic 2025, appendix "Graph pruning".)

A row's sum is that of all its edges, also of those that were not kept (graph.py), so what flows
along a kept edge is never overstated. What flows into edges that were not kept ends there: for
embeddings and errors, whose influence goes no further, it is known in sum; for features it is not
known where it would have gone on to, and every result says by how much that matters (`Dropped`).

`flow` works on bare edges, for graphs that are still growing; the other functions on a `Graph`.
Edges may lie on disk (`np.memmap`): they are read in slices of `CHUNK` edges, and edges that are
sorted by target are sorted by level already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import Bools, Edges, Floats, Graph, IntColumn, Ints, NodeKind

CHUNK = 1 << 22
"""Edges looked at at a time: some 100 MiB of columns in float64."""


class Dropped(NamedTuple):
    """Influence that does not go into a stored edge's source; constants not counted as sources.

    The true influence of a node is at least the stored one. It is at most that plus `hidden` for a
    feature; for an embedding plus `hidden` and `embeddings`, for an error plus `hidden` and
    `errors`, because it is not known which of them the sums belong to.
    """

    embeddings: float
    """What goes into edges from embeddings that were not kept, and ends there."""
    errors: float
    """What goes into edges from errors that were not kept, and ends there."""
    features: float
    """What goes into edges from features that were not kept, and where it would go on from there is
    not known."""
    unexpanded: float
    """What arrives at features that have no row."""

    @property
    def hidden(self) -> float:
        """What could end anywhere."""
        return self.features + self.unexpanded


_TOTALS = "_totals"
"""Under which a graph keeps its rows' sums."""


def add_totals(totals: Floats, edges: Edges) -> None:
    """Add the absolute weights of some edges to their targets' sums (n,)."""
    for part in chunks(0, len(edges)):
        arriving = np.bincount(edges.target[part], weights=np.abs(edges.weight[part]))
        totals[: len(arriving)] += arriving


def chunks(start: int, end: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` that make up start:end, from the front."""
    return (slice(i, min(i + CHUNK, end)) for i in range(start, end, CHUNK))


def totals(graph: Graph) -> Floats:
    """(n,) absolute sum of all incoming edges of each node, kept or not.

    Worked out once a graph: pruning alone asks for it eight times.
    """
    known: Floats | None = vars(graph).get(_TOTALS)
    if known is None:
        known = np.zeros(len(graph.nodes))
        add_totals(known, graph.edges)
        known += graph.nodes.dropped_total
        known.flags.writeable = False
        object.__setattr__(graph, _TOTALS, known)  # no field: `replace` does not take it along
    return known


def ratio(part: float | NDArray[np.floating[Any]], whole: Floats) -> Floats:
    """part / whole (n,), 0 where the whole is 0: rows without a sum pass nothing on."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def signed_shares(edges: Edges, totals: Floats) -> Floats:
    """Each edge's weight / absolute sum of its target's whole row; `totals` (n,) of all nodes."""
    return ratio(edges.weight, totals[edges.target])


def flow(
    parts: Sequence[Edges],
    *,
    level: IntColumn,
    target_weight: Floats,
    totals: Floats | None = None,
) -> Floats:
    """(n,) influence that each node receives from the targets through the given edges.

    Edges may lie in several parts, such as those of `EdgeStore.unsorted`, and in any order: a part
    whose targets rise in level is read where it lies, of another a sorted copy is made. `level`
    (n,) rises strictly along every edge (the layer: -1 embeddings, L targets); `target_weight` (n,)
    is what starts at each node. `totals` (n,) divides each row and is its absolute sum if not
    given; larger totals let the difference end at the node. Nodes without incoming edges pass
    nothing on. Raises ValueError if an edge does not go up.
    """
    if totals is None:
        totals = np.zeros(len(target_weight))
        for part in parts:
            add_totals(totals, part)
    levels, rank = np.unique(level, return_inverse=True)
    ordered = [_by_level(part, rank) for part in parts]
    bounds = [_bounds(part.target, rank, len(levels)) for part in ordered]
    inverse = ratio(1.0, totals)
    received = np.zeros(len(target_weight))
    for step in range(len(levels))[::-1]:
        passed_on = (received + target_weight) * inverse
        for part, bound in zip(ordered, bounds, strict=True):
            for piece in chunks(int(bound[step]), int(bound[step + 1])):
                handed = np.bincount(part.source[piece], edge_flows(part, passed_on, piece))
                received[: len(handed)] += handed
    return received


def _by_level(part: Edges, level: IntColumn) -> Edges:
    """The edges in the order of their targets' levels. ValueError if one does not go up."""
    in_order, highest = True, -1
    for piece in chunks(0, len(part)):
        reached = level[part.target[piece]]
        if np.any(level[part.source[piece]] >= reached):
            raise ValueError("every edge must go from a lower to a higher level")
        in_order &= bool(reached[0] >= highest) and not np.any(reached[1:] < reached[:-1])
        highest = int(reached[-1])
    return part if in_order else part.take(np.argsort(level[part.target], kind="stable"))


def _bounds(target: IntColumn, level: IntColumn, n_levels: int) -> Ints:
    """(n_levels + 1,) where each level's edges begin in a part that is in their order."""
    counts = np.zeros(n_levels + 1, dtype=np.int64)
    for piece in chunks(0, len(target)):
        counts[1:] += np.bincount(level[target[piece]], minlength=n_levels)
    return np.cumsum(counts)


def influence(graph: Graph) -> Floats:
    """(n,) influence of each node on the targets, directly and through others; targets 0.

    The weights of the targets sum to 1, so an influence is the share of the targets' absolute
    input that passes through a node. Features without a row receive but pass nothing on, and
    edges that were not kept carry nothing to anyone: `dropped_influence` says how much that is.
    """
    nodes = graph.nodes
    return flow([graph.edges], level=nodes.layer, target_weight=nodes.weight, totals=totals(graph))


def edge_influence(
    graph: Graph, node_influence: Floats | None = None, which: Ints | None = None
) -> Floats:
    """(m,) influence that flows along each edge: its share of what its target hands down.

    The incoming flows of a node, those of edges not kept included, sum to its influence (plus its
    weight, for a target). `node_influence` is `influence(graph)`, computed if not given. With
    `which` the flows of those edges alone, in that order.
    """
    passed_on = handed_down(graph, node_influence)
    edges = graph.edges
    if which is not None:
        return edge_flows(edges, passed_on, which)
    flows = np.empty(len(edges))
    for part in chunks(0, len(edges)):
        flows[part] = edge_flows(edges, passed_on, part)
    return flows


def handed_down(graph: Graph, node_influence: Floats | None = None) -> Floats:
    """(n,) influence that each node hands to its sources for each unit of |weight|."""
    received = influence(graph) if node_influence is None else node_influence
    return (received + graph.nodes.weight) * ratio(1.0, totals(graph))


def edge_flows(edges: Edges, passed_on: Floats, which: slice | Ints = slice(None)) -> Floats:
    """Influence along some of the edges; `passed_on` is `handed_down(graph)`."""
    flows: Floats = passed_on[edges.target[which]]
    flows *= np.abs(edges.weight[which])
    return flows


def edge_shares(graph: Graph, which: Ints) -> Floats:
    """(len(which),) |weight| of some edges over the absolute sum of their targets' whole rows."""
    return np.abs(signed_shares(graph.edges.take(which), totals(graph)))


def dropped_influence(graph: Graph, node_influence: Floats | None = None) -> Dropped:
    """The influence that the stored edges do not carry, and with it what they bound."""
    received = influence(graph) if node_influence is None else node_influence
    nodes = graph.nodes
    passed_on = handed_down(graph, received)
    return Dropped(
        embeddings=float((passed_on * nodes.dropped_embeddings).sum()),
        errors=float((passed_on * nodes.dropped_errors).sum()),
        features=float((passed_on * nodes.dropped_features).sum()),
        unexpanded=float(received[has_no_row(graph)].sum()),
    )


def has_no_row(graph: Graph) -> Bools:
    """(n,) features whose inputs were not computed."""
    no_row: Bools = (graph.nodes.kind == NodeKind.FEATURE) & ~graph.nodes.expanded
    return no_row


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
