"""Parts of a graph to look at: its strongest routes alone, or its supernodes as single nodes.

Both are graphs like any other, to be drawn. The second is not to be added up: its weights are
shares of what goes into a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Edges, Graph, NodeKind, Nodes, edge_keys
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.graphs.supernodes.graph import supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode


def routes_alone(pruned: PrunedGraph, k: int) -> PrunedGraph:
    """The nodes and edges of the k strongest routes through features to each target, no others.

    Tokens and targets stay. Raises UsageError for k < 1, or a graph without such a route.
    """
    paths = best_paths(pruned, k=k, direct=False)
    if not paths:
        raise UsageError("no route through features was kept; prune less, or leave out `routes`")
    kind = pruned.graph.nodes.kind
    node_kept = np.isin(kind, (NodeKind.EMBEDDING, NodeKind.LOGIT))
    n = len(kind)
    keys = []
    for path in paths:
        node_kept[list(path.rows)] = True
        keys += [target * n + source for source, target in pairwise(path.rows)]
    edge_kept = pruned.edge_kept.copy()
    kept = pruned.kept_edges
    edge_kept[edge_kept] = np.isin(edge_keys(kept.source, kept.target, n), keys)
    return replace(pruned, node_kept=node_kept, edge_kept=edge_kept)


def grouped(pruned: PrunedGraph, groups: Sequence[Supernode]) -> PrunedGraph:
    """The kept graph with every supernode as one node, which stands where its strongest member is.

    Influence is summed; an edge's weight is the share that `supernode_graph` gives. Edges that do
    not go upwards between such places are left out. Raises UsageError as `supernode_graph` does.
    """
    whole = supernode_graph(pruned, groups)
    nodes, influence = pruned.graph.nodes, pruned.influence
    matters = influence + nodes.weight
    leaders = np.array([max(one.rows, key=lambda row: matters[row]) for one in whole.nodes])
    order = np.lexsort((leaders, nodes.layer[leaders]))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    layer = nodes.layer[leaders[order]]
    rising = [
        (int(number[edge.target]), int(number[edge.source]), edge.share)
        for edge in whole.edges
        if layer[number[edge.source]] < layer[number[edge.target]]
    ]
    rising.sort()
    target, source, share = (np.array([row[i] for row in rising]) for i in range(3))
    edges = Edges(source.astype(np.int32), target.astype(np.int32), share.astype(np.float64))
    table = _leaders_table(pruned, [whole.nodes[i] for i in order], leaders[order], edges)
    sums = np.array([float(influence[list(whole.nodes[i].rows)].sum()) for i in order])
    return replace(
        pruned,
        graph=Graph(pruned.graph.info, table, edges),
        node_kept=np.ones(len(order), dtype=np.bool_),
        edge_kept=np.ones(len(edges), dtype=np.bool_),
        influence=sums,
    )


def _leaders_table(
    pruned: PrunedGraph, members: Sequence[Supernode], leaders: np.ndarray, edges: Edges
) -> Nodes:
    """The leaders' rows, named and counted for all members."""
    taken = pruned.graph.nodes.take(leaders).with_nothing_dropped()
    several = np.array([len(one.rows) > 1 for one in members])
    labels = tuple(
        one.name if len(one.rows) > 1 else label
        for one, label in zip(members, taken.label, strict=True)
    )
    into = np.bincount(edges.target, np.abs(edges.weight), minlength=len(members))
    return replace(
        taken,
        kind=np.where(several, np.int8(NodeKind.FEATURE), taken.kind),
        # A group is no one feature: negative numbers tell groups apart.
        feature=np.where(several, -1 - np.arange(len(members)), taken.feature),
        activation=np.where(several, np.nan, taken.activation),
        label=labels,
        weight=np.array(
            [float(pruned.graph.nodes.weight[list(one.rows)].sum()) for one in members]
        ),
        # What is not shown comes in, too: shares stay what they are.
        dropped_features=np.where(into > 0, np.maximum(1.0 - into, 0.0), 0.0),
    )
