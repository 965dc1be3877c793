"""How much two graphs have in common: features, edges, paths, places and tokens.

A feature is the same in both if layer and index are, at positions that belong together
(alignment.py). Overlaps are influence-weighted Jaccard indices (Ruzicka's similarity): with the
shares a and b that two graphs give to the same things, sum min(a, b) / sum max(a, b), which is 1
for equal graphs and 0 for graphs without anything in common. What is shared of the paths is the
part of each graph's path mass, from tokens through features to targets, that runs along shared
edges alone.

Whether an overlap is much is told by three figures: a ceiling (paraphrases of the first prompt), a
floor (unrelated prompts), and the p of a permutation test, in which the second graph's shares are
dealt out anew to the (position, feature) labels of the same layer. All labels that are active in
either prompt take part. That is a conservative null: labels active in neither are not dealt to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.comparing.alignment import Column, Roles, align
from circuit_tracer.graphs.comparing.overlap import SHUFFLES, Overlap, jaccard, permutation_p
from circuit_tracer.graphs.graph import Floats, Graph, Ints, NodeKind
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


def compare(
    first: PrunedGraph,
    second: PrunedGraph,
    *,
    roles: tuple[Roles | None, Roles | None] = (None, None),
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Pair:
    """Two graphs of one model, before and after pruning.

    Symmetric but for the permutation p, which is seeded. Raises UsageError for graphs of two
    models.
    """
    _check_models(first.graph, second.graph)
    columns = align(first.graph, second.graph, roles=roles)
    sides = _sides(first, second, columns)
    same = same_dictionary(first.graph, second.graph)
    whole = _overlap(sides, columns, kept=False, same=same)
    kept = _overlap(sides, columns, kept=True, same=same)
    p = [
        permutation_p(*_dealt(sides, kept), shuffles=shuffles, seed=seed) if same else None
        for kept in (False, True)
    ]
    return Pair(columns, whole, kept, _counts(sides), p[0], p[1])


def _check_models(first: Graph, second: Graph) -> None:
    models = first.info.model, second.info.model
    same = (
        models[0].sha256 == models[1].sha256
        if all(m.sha256 for m in models)
        else (models[0].name == models[1].name)
    )
    if not same or first.info.n_layers != second.info.n_layers:
        raise UsageError(
            f"the graphs are of two models, {models[0].name} and {models[1].name}, whose features "
            "have nothing to do with each other; compare graphs of one model"
        )


def same_dictionary(first: Graph, second: Graph) -> bool:
    """Whether a feature of one graph is the same as that of equal layer and index in the other."""
    one, other = first.info.dictionary, second.info.dictionary
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    return one.name == other.name


def _sides(
    first: PrunedGraph, second: PrunedGraph, columns: Sequence[Column]
) -> tuple[_Side, _Side]:
    """Both graphs under common keys: (kind, layer, column, feature), all targets one."""
    at = [np.zeros(len(one.graph.info.tokens), dtype=np.int64) for one in (first, second)]
    for number, column in enumerate(columns):
        for places, position in zip(at, column[:2], strict=True):
            if position is not None:
                places[position] = number
    # Features of two dictionaries have nothing to do with each other, whatever their numbers.
    whose = (0, 0) if same_dictionary(first.graph, second.graph) else (0, 1)
    tables, columns_of = [], []
    for places, one, dictionary in zip(at, (first, second), whose, strict=True):
        nodes = one.graph.nodes
        at_column = places[nodes.position]
        is_feature, is_target = nodes.kind == NodeKind.FEATURE, nodes.kind == NodeKind.LOGIT
        feature = np.where(is_feature, 2 * nodes.feature + dictionary, -1)
        parts: list[Ints] = [
            part.astype(np.int64) for part in (nodes.kind, nodes.layer, at_column, feature)
        ]
        table = np.stack(parts, axis=1)
        table[is_target, 2:] = -1
        tables.append(table)
        columns_of.append(at_column)
    _, key = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    keys = np.split(key.ravel(), [len(tables[0])])
    return (
        _Side(first, keys[0], columns_of[0]),
        _Side(second, keys[1], columns_of[1]),
    )


def _overlap(
    sides: tuple[_Side, _Side],
    columns: Sequence[Column],
    *,
    kept: bool,
    same: bool,
) -> Overlap:
    inner, features, tokens = (
        [_of_kinds(side, kinds, kept) for side in sides]
        for kinds in (
            (NodeKind.FEATURE, NodeKind.ERROR),
            (NodeKind.FEATURE,),
            (NodeKind.EMBEDDING,),
        )
    )
    width = len(columns) + 1
    places = [side.graph.nodes.layer.astype(np.int64) * width + side.column for side in sides]
    largest = 1 + max(int(side.graph.nodes.feature.max(initial=0)) for side in sides)
    anywhere = [
        side.graph.nodes.layer.astype(np.int64) * largest + side.graph.nodes.feature
        for side in sides
    ]
    own_keys = [side.key for side in sides]
    edges = [_edges(side, kept) for side in sides] if same else None
    return Overlap(
        features=_node_jaccard(sides, own_keys, features) if same else None,
        anywhere=_node_jaccard(sides, anywhere, features) if same else None,
        edges=None if edges is None else _edge_jaccard(sides, edges),
        paths=None if edges is None else _shared_paths(sides, edges),
        places=_node_jaccard(sides, places, inner),
        tokens=_node_jaccard(sides, own_keys, tokens),
    )


def _of_kinds(side: _Side, kinds: Sequence[NodeKind], kept: bool) -> Ints:
    """Rows of some kinds that count."""
    chosen = np.isin(side.graph.nodes.kind, kinds)
    return np.flatnonzero(chosen & side.pruned.node_kept if kept else chosen)


def _node_jaccard(
    sides: tuple[_Side, _Side], keys: Sequence[Ints], rows: Sequence[Ints]
) -> float | None:
    return jaccard(
        (keys[0][rows[0]], keys[1][rows[1]]),
        (sides[0].pruned.influence[rows[0]], sides[1].pruned.influence[rows[1]]),
    )


def _edges(side: _Side, kept: bool) -> Ints:
    """Indices of the edges that count."""
    if kept:
        return np.flatnonzero(side.pruned.edge_kept)
    return np.arange(len(side.graph.edges))


def _edge_keys(sides: tuple[_Side, _Side], edges: Sequence[Ints]) -> tuple[Ints, Ints]:
    """One number for each of the edges, the same for edges between the same nodes."""
    count = 1 + max(int(side.key.max(initial=0)) for side in sides)
    found = []
    for side, which in zip(sides, edges, strict=True):
        some = side.graph.edges.take(which)
        found.append(side.key[some.target] * count + side.key[some.source])
    return found[0], found[1]


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
        some, kind = side.graph.edges.take(which), side.graph.nodes.kind
        is_direct = kind[some.source] == NodeKind.EMBEDDING
        is_direct &= kind[some.target] == NodeKind.LOGIT
        along = [
            _target_mass(restricted(side.graph, which[chosen & ~is_direct]))
            for chosen in (np.ones_like(is_direct), np.isin(own, other))
        ]
        if along[0] > 0:
            shares.append(along[1] / along[0])
    return sum(shares) / len(shares) if shares else None


def _target_mass(graph: Graph) -> float:
    """Path mass from tokens to the targets, by the targets' weights."""
    mass = path_mass(graph, sources=graph.nodes.of_kind(NodeKind.EMBEDDING).tolist())
    return float(mass @ graph.nodes.weight)


def _dealt(
    sides: tuple[_Side, _Side], kept: bool
) -> tuple[tuple[Ints, Ints], tuple[Floats, Floats], Ints]:
    """Keys and influence of all features of both graphs, and the layer of every key.

    With `kept` those that were pruned have an influence of 0: their labels stay in the deal.
    """
    rows = [_of_kinds(side, (NodeKind.FEATURE,), False) for side in sides]
    layer_of = np.zeros(1 + max(int(side.key.max(initial=0)) for side in sides), dtype=np.int64)
    for side in sides:
        layer_of[side.key] = side.graph.nodes.layer
    keys = sides[0].key[rows[0]], sides[1].key[rows[1]]
    influence = [
        np.where(side.pruned.node_kept | (not kept), side.pruned.influence, 0.0) for side in sides
    ]
    return keys, (influence[0][rows[0]], influence[1][rows[1]]), layer_of


def _counts(sides: tuple[_Side, _Side]) -> Counts:
    keys = [set(side.key[_of_kinds(side, (NodeKind.FEATURE,), True)].tolist()) for side in sides]
    return Counts(len(keys[0] & keys[1]), len(keys[0] - keys[1]), len(keys[1] - keys[0]))
