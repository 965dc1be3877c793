"""The kept part of a graph as a graph of its own whose rows are as whole as before.

What pruning took out of a node's incoming edges goes into its `dropped...` sums, as if the trace
had not kept those edges one by one (graph.py). So edges + dropped + constant are still the node's
value, and an edge's share of its row and a route's strength are what they were, with a hundredth of
the numbers. What the sums cannot tell is gone: where the influence that flowed into them went on
to, and so a route's share of all routes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuit_tracer.graphs.graph import DROPPED, Bools, Floats, Graph, NodeKind
from circuit_tracer.graphs.influence import chunks
from circuit_tracer.graphs.pruning import PrunedGraph

_SUMS_OF = {
    NodeKind.EMBEDDING: "dropped_embeddings",
    NodeKind.ERROR: "dropped_errors",
    NodeKind.FEATURE: "dropped_features",
}


def kept_alone(pruned: PrunedGraph) -> PrunedGraph:
    """What was kept of a graph, with its influence and its scores; everything in it is kept."""
    graph, rows = pruned.graph, pruned.kept_rows
    kept = pruned.kept_graph()
    sums = _left_out(graph, pruned.edge_kept)
    columns = {name: getattr(kept.nodes, name) + sums[name][rows] for name in DROPPED}
    return PrunedGraph.of_kept(
        replace(kept, nodes=replace(kept.nodes, **columns)),
        node_threshold=pruned.node_threshold,
        edge_threshold=pruned.edge_threshold,
        influence=pruned.influence[rows],
        scores=pruned.scores,
        shares=pruned.cumulative[rows],
    )


def _left_out(graph: Graph, edge_kept: Bools) -> dict[str, Floats]:
    """(n,) sums of the edges that are not kept, as the columns of `DROPPED`."""
    nodes, edges, n = graph.nodes, graph.edges, len(graph.nodes)
    order = np.zeros(max(NodeKind) + 1, dtype=np.int64)
    order[list(_SUMS_OF)] = np.arange(len(_SUMS_OF))
    place = order[nodes.kind]  # of a node's kind among the sums
    signed, sizes = np.zeros(n), np.zeros(n * len(_SUMS_OF))
    for part in chunks(0, len(edges)):
        some = edges.take(part)
        some = some.take(~edge_kept[part])
        weight = some.weight.astype(np.float64)
        signed += np.bincount(some.target, weights=weight, minlength=n)
        at = some.target.astype(np.int64) * len(_SUMS_OF) + place[some.source]
        sizes += np.bincount(at, weights=np.abs(weight), minlength=len(sizes))
    by_kind = sizes.reshape(n, -1).T
    return {"dropped": signed, **dict(zip(_SUMS_OF.values(), by_kind, strict=True))}
