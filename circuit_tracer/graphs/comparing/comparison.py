"""How much two graphs have in common: features, edges, paths, places and tokens.

A feature is the same in both if layer and index are, at positions that belong together
(alignment.py). Overlaps are influence-weighted Jaccard indices (Ruzicka's similarity): with the
shares a and b that two graphs give to the same things, sum min(a, b) / sum max(a, b), which is 1
for equal graphs and 0 for graphs without anything in common. What is shared of the paths is the
part of each graph's path mass, from tokens through features to targets, that runs along shared
edges alone.

Three figures say whether an overlap is much: a ceiling (paraphrases of the first prompt), a floor
(unrelated prompts), and the p of a permutation test, which permutes the second graph's shares among
the (position, feature) labels of the same layer. All labels that are active in either prompt take
part, no others: a conservative null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.comparing.alignment import Column, Roles, align
from circuit_tracer.graphs.comparing.overlap import SHUFFLES, Overlap, jaccard, permutation_p
from circuit_tracer.graphs.graph import (
    Floats,
    Graph,
    GraphInfo,
    Identity,
    Ints,
    NodeKind,
    edge_keys,
)
from circuit_tracer.graphs.influence import edge_influence
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import path_mass, restricted


@dataclass(frozen=True)
class Counts:
    """Features (layer, index, position) of two graphs."""

    shared: int
    first: int
    """In the first graph alone."""
    second: int


@dataclass(frozen=True)
class Pair:
    """Two graphs compared."""

    columns: tuple[Column, ...]
    whole: Overlap
    """Before pruning."""
    kept: Overlap
    """After pruning: kept nodes and edges alone."""
    counts: Counts
    """Of kept features."""
    p_whole: float | None
    """Permutation p of `whole.features`."""
    p_kept: float | None


@dataclass(frozen=True)
class _Side:
    """One graph of a pair, each node under the key it has in both."""

    pruned: PrunedGraph
    key: Ints
    """(n,) the same number for the same node of either graph."""
    column: Ints
    """(n,) the column of each node's position."""

    @property
    def graph(self) -> Graph:
        """The whole graph."""
        return self.pruned.graph

    def rows(self, *kinds: NodeKind, kept: bool) -> Ints:
        """Rows of some kinds: the kept ones, or all."""
        chosen = np.isin(self.graph.nodes.kind, kinds)
        return np.flatnonzero(chosen & self.pruned.node_kept if kept else chosen)

    def edges(self, *, kept: bool) -> Ints:
        """Indices of the kept edges, or of all."""
        edge_kept = self.pruned.edge_kept
        return np.flatnonzero(edge_kept) if kept else np.arange(len(edge_kept))


def compare(
    first: PrunedGraph,
    second: PrunedGraph,
    *,
    roles: tuple[Roles | None, Roles | None] = (None, None),
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Pair:
    """Two graphs of one model, or of two of the same depth, before and after pruning.

    Through two dictionaries, places and tokens alone can be the same. Symmetric but for the
    permutation p, which is seeded. Raises UsageError for models of different depth.
    """
    _check_depth(first.graph.info, second.graph.info)
    columns = align(first.graph, second.graph, roles=roles)
    keys = matched(first.graph, second.graph, columns)
    sides = (
        _Side(first, keys[0], columns_of(first.graph, columns, 0)),
        _Side(second, keys[1], columns_of(second.graph, columns, 1)),
    )
    same = same_dictionary(first.graph, second.graph)
    whole = _overlap(sides, columns, kept=False, same=same)
    kept = _overlap(sides, columns, kept=True, same=same)
    p = [
        permutation_p(*_features(sides, kept), shuffles=shuffles, seed=seed) if same else None
        for kept in (False, True)
    ]
    return Pair(columns, whole, kept, _counts(sides), p[0], p[1])


def _check_depth(first: GraphInfo, second: GraphInfo) -> None:
    """Layers of models of different depth do not correspond."""
    if first.n_layers != second.n_layers:
        raise UsageError(
            f"the graphs are of two models of different depth, {first.model.name} of "
            f"{first.n_layers} layers and {second.model.name} of {second.n_layers}, whose layers "
            "do not correspond; give graphs of models of one depth"
        )


def two_models(first: Graph, second: Graph) -> bool:
    """Whether the graphs are of models with different weights."""
    return not _same_weights(first.info.model, second.info.model)


def same_dictionary(first: Graph, second: Graph) -> bool:
    """Whether a feature of one graph is the same as that of equal layer and index in the other."""
    return _same_weights(first.info.dictionary, second.info.dictionary)


def _same_weights(one: Identity, other: Identity) -> bool:
    """By their hashes; by name where one has none."""
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    return one.name == other.name


def columns_of(graph: Graph, columns: Sequence[Column], side: int) -> Ints:
    """(n,) the column of each node's position; `side` is the graph's in `columns`."""
    column_of = np.zeros(len(graph.info.tokens), dtype=np.int64)
    for at, column in enumerate(columns):
        position = column[:2][side]
        if position is not None:
            column_of[position] = at
    return column_of[graph.nodes.position]


def matched(
    first: Graph, second: Graph, columns: Sequence[Column], *, targets_apart: bool = False
) -> tuple[Ints, Ints]:
    """(n,) each, a number for every node, the same for the same node; they rise with the layers.

    All targets are one, or with `targets_apart` only those that explain the same.
    """
    graphs, same = (first, second), same_dictionary(first, second)
    explained = [
        [(one.vocabulary_ids, one.token if one.direction else "") for one in graph.info.targets]
        for graph in graphs
    ]
    distinct = sorted({*explained[0], *explained[1]})
    tables = []
    for side, graph in enumerate(graphs):
        kind, is_feature = graph.nodes.kind, graph.nodes.kind == NodeKind.FEATURE
        feature = np.where(is_feature, graph.nodes.feature, -1)
        # Features of two dictionaries have nothing to do with each other, whatever their numbers.
        dictionary = np.where(is_feature, 0 if same else side, 0)
        target = np.zeros_like(feature)
        target[graph.target_rows] = [distinct.index(one) for one in explained[side]]
        place = columns_of(graph, columns, side)
        table = np.stack([graph.nodes.layer, kind, place, feature, dictionary, target], axis=1)
        if not targets_apart:
            table[kind == NodeKind.LOGIT, 2:] = -1
        tables.append(table)
    _, key = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    keys = np.split(key.ravel(), [len(tables[0])])
    return keys[0], keys[1]


def _overlap(
    sides: tuple[_Side, _Side], columns: Sequence[Column], *, kept: bool, same: bool
) -> Overlap:
    inner, features, tokens = (
        [side.rows(*kinds, kept=kept) for side in sides]
        for kinds in (
            (NodeKind.FEATURE, NodeKind.ERROR),
            (NodeKind.FEATURE,),
            (NodeKind.EMBEDDING,),
        )
    )
    keys = [side.key for side in sides]
    layers = [side.graph.nodes.layer.astype(np.int64) for side in sides]
    places = [
        layer * (len(columns) + 1) + side.column for layer, side in zip(layers, sides, strict=True)
    ]
    largest = 1 + max(int(side.graph.nodes.feature.max(initial=0)) for side in sides)
    anywhere = [
        layer * largest + side.graph.nodes.feature
        for layer, side in zip(layers, sides, strict=True)
    ]
    edges = [side.edges(kept=kept) for side in sides]
    return Overlap(
        features=_node_jaccard(sides, keys, features) if same else None,
        anywhere=_node_jaccard(sides, anywhere, features) if same else None,
        edges=_edge_jaccard(sides, edges) if same else None,
        paths=_shared_paths(sides, edges) if same else None,
        places=_node_jaccard(sides, places, inner),
        tokens=_node_jaccard(sides, keys, tokens),
    )


def _node_jaccard(
    sides: tuple[_Side, _Side], keys: Sequence[Ints], rows: Sequence[Ints]
) -> float | None:
    return jaccard(
        (keys[0][rows[0]], keys[1][rows[1]]),
        (sides[0].pruned.influence[rows[0]], sides[1].pruned.influence[rows[1]]),
    )


def _edge_keys(sides: tuple[_Side, _Side], edges: Sequence[Ints]) -> tuple[Ints, Ints]:
    """One number for each of the edges, the same for edges between the same nodes."""
    count = 1 + max(int(side.key.max(initial=0)) for side in sides)
    keys = []
    for side, which in zip(sides, edges, strict=True):
        some = side.graph.edges.take(which)
        keys.append(edge_keys(side.key[some.source], side.key[some.target], count))
    return keys[0], keys[1]


def _edge_jaccard(sides: tuple[_Side, _Side], edges: Sequence[Ints]) -> float | None:
    flows = [
        edge_influence(side.graph, side.pruned.influence, which)
        for side, which in zip(sides, edges, strict=True)
    ]
    return jaccard(_edge_keys(sides, edges), (flows[0], flows[1]))


def _shared_paths(sides: tuple[_Side, _Side], edges: Sequence[Ints]) -> float | None:
    """Mean over both graphs: path mass along edges that both have, of that along all these."""
    keys = _edge_keys(sides, edges)
    shares = []
    for side, which, own, other in zip(sides, edges, keys, keys[::-1], strict=True):
        some, nodes = side.graph.edges.take(which), side.graph.nodes
        is_direct = nodes.kind[some.source] == NodeKind.EMBEDDING
        is_direct &= nodes.kind[some.target] == NodeKind.LOGIT
        along = [
            float(path_mass(restricted(side.graph, which[chosen & ~is_direct])) @ nodes.weight)
            for chosen in (np.ones_like(is_direct), np.isin(own, other))
        ]
        if along[0] > 0:
            shares.append(along[1] / along[0])
    return sum(shares) / len(shares) if shares else None


def _features(
    sides: tuple[_Side, _Side], kept: bool
) -> tuple[tuple[Ints, Ints], tuple[Floats, Floats], Ints]:
    """Keys and influence of all features of both graphs, and the layer of every key.

    With `kept` those that were pruned have an influence of 0: their labels are permuted, too.
    """
    layer_of = np.zeros(1 + max(int(side.key.max(initial=0)) for side in sides), dtype=np.int64)
    keys, shares = [], []
    for side in sides:
        layer_of[side.key] = side.graph.nodes.layer
        rows = side.rows(NodeKind.FEATURE, kept=False)
        keys.append(side.key[rows])
        counts = side.pruned.node_kept[rows] | (not kept)
        shares.append(np.where(counts, side.pruned.influence[rows], 0.0))
    return (keys[0], keys[1]), (shares[0], shares[1]), layer_of


def _counts(sides: tuple[_Side, _Side]) -> Counts:
    keys = [set(side.key[side.rows(NodeKind.FEATURE, kept=True)].tolist()) for side in sides]
    return Counts(len(keys[0] & keys[1]), len(keys[0] - keys[1]), len(keys[1] - keys[0]))
