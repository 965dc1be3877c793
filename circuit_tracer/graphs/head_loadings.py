"""Head loadings: through which attention heads each edge passes, and which carry the influence.

At every attention layer between its two ends an edge is the sum of what passes through each head
and of what stays in the residual stream (method.md section 6). The table has one row for each
(edge, layer, head) that matters; weaker heads of a layer are one row together, what stays is one
more, so that an edge's rows of one layer sum to its weight. It is stored beside a graph as
heads.parquet; `attribution/head_loadings.py` computes it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.parquet import column, opened_parquet
from circuit_tracer.graphs.graph import (
    Edges,
    Floats,
    Graph,
    Ints,
    column_types,
    edge_keys,
    node_name,
)
from circuit_tracer.graphs.influence import edge_flows, handed_down
from circuit_tracer.graphs.pruning import PrunedGraph

HEADS_FILE = "heads.parquet"
MOST_EDGES = 20_000
"""Kept edges that are taken apart by default: those that carry most influence."""
RESIDUAL = -1
"""In place of a head: what stays in the residual stream at that layer."""
OTHERS = -2
"""In place of a head: all heads of that layer that have no row of their own."""


@dataclass(frozen=True)
class HeadLoadings:
    """One row a part of an edge, sorted by (target, source, layer, head); columns of length r."""

    source: NDArray[np.int32]
    """Row of the edge's source in the graph's node table."""
    target: NDArray[np.int32]
    """Row of its target."""
    layer: NDArray[np.int16]
    """Attention layer."""
    head: NDArray[np.int16]
    """A head, `RESIDUAL` or `OTHERS`."""
    key: NDArray[np.int32]
    """Position from which the head fetches the largest part; -1 where there is no head."""
    query: NDArray[np.int32]
    """Position to which it brings that part; -1 where there is no head."""
    loading: Floats
    """Signed part of the edge. Those of one edge and layer sum to the edge."""
    peak: Floats
    """The part of `loading` that goes from `key` to `query`; 0 where there is no head."""

    def __len__(self) -> int:
        return len(self.source)

    def take(self, which: slice | Ints | NDArray[np.bool_]) -> HeadLoadings:
        """Some of the rows."""
        return HeadLoadings(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def of_edge(self, source: int, target: int) -> HeadLoadings:
        """The rows of one edge: none if it was not kept or has no attention on its way."""
        first, end = np.searchsorted(self.target, np.array([target, target + 1], dtype=np.int32))
        return self.take(np.flatnonzero(self.source[first:end] == source) + int(first))


class Carrier(NamedTuple):
    """One head that carries a part of an edge."""

    layer: int
    head: int
    key: int
    """Position it fetches the largest part from."""
    query: int
    """Position it brings that part to."""
    loading: float
    """Signed part of the edge."""
    share: float
    """`loading` over the edge's weight: negative where the head works against the edge."""

    @property
    def name(self) -> str:
        """ "L3.H2"."""
        return f"L{self.layer}.H{self.head}"


class Move(NamedTuple):
    """Influence that a head carries from one position to another."""

    key: int
    query: int
    share: float
    """Of what the head carries."""


@dataclass(frozen=True)
class LeadingHead:
    """One head and how much of the kept edges' influence passes through it."""

    layer: int
    head: int
    share: float
    """Absolute loadings, weighted as their edges are in the influence, over the influence along all
    kept edges. Parts of one edge may cancel, so those of a layer can sum to more than 1."""
    moves: tuple[Move, ...]
    """From where to where, strongest first, by the largest part of each edge."""

    @property
    def name(self) -> str:
        """ "L3.H2"."""
        return f"L{self.layer}.H{self.head}"


def carriers(loadings: HeadLoadings, *, least: float = 0.1) -> dict[tuple[int, int], list[Carrier]]:
    """By (source, target): the heads that carry at least this share of the edge, strongest first.

    What the figures write on an edge. An edge that no head carries is not there.
    """
    changes = (np.diff(loadings.source) != 0) | (np.diff(loadings.target) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(loadings)]
    heads_of = {}
    for start, end in pairwise(bounds if len(loadings) else []):
        heads = strongest_heads(loadings.take(slice(start, end)), least=least)
        if heads:
            heads_of[int(loadings.source[start]), int(loadings.target[start])] = heads
    return heads_of


def strongest_heads(part: HeadLoadings, *, least: float = 0.0) -> list[Carrier]:
    """The heads in the rows of one edge, strongest first, `least` being a share of the edge."""
    # An edge's weight is the sum of its rows of any one layer.
    weight = float(part.loading[part.layer == part.layer[:1]].sum())
    if weight == 0:
        return []
    rows = np.flatnonzero((part.head >= 0) & (np.abs(part.loading) >= least * abs(weight)))
    some = part.take(rows[np.argsort(-np.abs(part.loading[rows]), kind="stable")])
    columns = (some.layer, some.head, some.key, some.query, some.loading, some.loading / weight)
    return [Carrier(*row) for row in zip(*(one.tolist() for one in columns), strict=True)]


def strongest_edges(pruned: PrunedGraph, most: int = MOST_EDGES) -> Edges:
    """The kept edges, or so many of them that carry most influence, in the graph's order."""
    edges = pruned.kept_edges
    if len(edges) <= most:
        return edges
    flow = edge_flows(edges, handed_down(pruned.graph, pruned.influence))
    return edges.take(np.sort(np.argsort(-flow, kind="stable")[:most]))


def are_strongest(pruned: PrunedGraph, edges: Edges) -> bool:
    """Whether these are all among the strongest edges, whose loadings are stored."""
    strongest, n = strongest_edges(pruned), len(pruned.graph.nodes)
    asked, stored = (edge_keys(some.source, some.target, n) for some in (edges, strongest))
    return bool(np.isin(asked, stored).all())


def influence_share(pruned: PrunedGraph, edges: Edges) -> float:
    """How much of the influence along all kept edges goes along these."""
    passed_on = handed_down(pruned.graph, pruned.influence)
    whole = float(edge_flows(pruned.kept_edges, passed_on).sum())
    return float(edge_flows(edges, passed_on).sum()) / whole if whole else 1.0


def leading_heads(
    pruned: PrunedGraph, loadings: HeadLoadings, *, most: int | None = None, moves: int = 3
) -> list[LeadingHead]:
    """The heads that most of the kept edges' influence passes through, strongest first.

    An edge's influence is divided among heads by their loadings: the influence through a head is
    what would flow along an edge of that weight.
    """
    passed_on = handed_down(pruned.graph, pruned.influence)
    whole = float(edge_flows(pruned.kept_edges, passed_on).sum())
    some = loadings.take(loadings.head >= 0)
    if whole == 0 or not len(some):
        return []
    influence = passed_on[some.target] * np.abs(some.loading) / whole
    heads, which = np.unique(np.stack([some.layer, some.head]), axis=1, return_inverse=True)
    which = which.reshape(-1)
    shares = np.bincount(which, weights=influence, minlength=heads.shape[1])
    ranked = np.argsort(-shares, kind="stable")[:most]
    return [
        LeadingHead(
            layer=int(heads[0, i]),
            head=int(heads[1, i]),
            share=float(shares[i]),
            moves=_moves(some.take(which == i), influence[which == i], moves),
        )
        for i in ranked.tolist()
        if shares[i] > 0
    ]


def _moves(some: HeadLoadings, influence: Floats, most: int) -> tuple[Move, ...]:
    """One head's strongest moves."""
    places, which = np.unique(np.stack([some.key, some.query]), axis=1, return_inverse=True)
    sums = np.bincount(which.reshape(-1), weights=influence, minlength=places.shape[1])
    ranked = np.argsort(-sums, kind="stable")[:most]
    whole = float(sums.sum())
    return tuple(
        Move(int(places[0, i]), int(places[1, i]), float(sums[i]) / whole) for i in ranked.tolist()
    )


def leading_record(pruned: PrunedGraph, leading: list[LeadingHead]) -> dict[str, Any]:
    """Leading heads and how many of the kept edges they are of, as JSON values."""
    edges = strongest_edges(pruned)
    return {
        "kept_edges": int(pruned.edge_kept.sum()),
        "edges_taken_apart": len(edges),
        "influence_share_of_these": influence_share(pruned, edges),
        "heads": [
            {**vars(head), "moves": [move._asdict() for move in head.moves]} for head in leading
        ],
    }


def edge_record(
    graph: Graph, source: int, target: int, weight: float, part: HeadLoadings
) -> dict[str, Any]:
    """The rows of one edge by layer, as JSON values."""
    layers = []
    for layer in np.unique(part.layer).tolist():
        here = part.take(part.layer == layer)
        heads = here.take(here.head >= 0)
        names = ("head", "loading", "key", "query", "peak")
        columns = zip(*(getattr(heads, name).tolist() for name in names), strict=True)
        layers.append(
            {
                "layer": layer,
                "residual": float(here.loading[here.head == RESIDUAL].sum()),
                "others": float(here.loading[here.head == OTHERS].sum()),
                "heads": [dict(zip(names, row, strict=True)) for row in columns],
            }
        )
    ends = {"source": node_name(graph, source), "target": node_name(graph, target)}
    return ends | {"weight": weight, "layers": layers}


def loadings_after(
    loadings: HeadLoadings, before: PrunedGraph, after: PrunedGraph
) -> HeadLoadings | None:
    """The rows of edges that another pruning of the same graph keeps.

    None if it keeps edges that were not kept before: nothing is known of their heads.
    """
    if np.any(after.edge_kept & ~before.edge_kept):
        return None
    edges, n = after.kept_edges, len(after.graph.nodes)
    kept = edge_keys(edges.source, edges.target, n)
    return loadings.take(np.isin(edge_keys(loadings.source, loadings.target, n), kept))


def save_heads(loadings: HeadLoadings, folder: Path) -> None:
    """Write heads.parquet into a graph's folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f.name: getattr(loadings, f.name) for f in fields(loadings)}
    pq.write_table(pa.table(columns), folder / HEADS_FILE, compression="zstd")


def load_heads(pruned: PrunedGraph, folder: Path | str) -> HeadLoadings | None:
    """What `save_heads` wrote; None if there is none.

    Raises GraphFileError for a damaged file, or one that was made for another pruning.
    """
    path = Path(folder) / HEADS_FILE
    if not path.is_file():
        return None
    problem, advice = "is damaged or of another graph", "run circuit-tracer heads --save again"
    with opened_parquet(path, GraphFileError, f"remove it and {advice}", problem=problem) as file:
        table = file.read()
        types = column_types(HeadLoadings).items()
        loadings = HeadLoadings(**{name: column(table, name, dtype) for name, dtype in types})
        _check(pruned, loadings)
    return loadings


def _check(pruned: PrunedGraph, loadings: HeadLoadings) -> None:
    """ValueError unless every row is of a kept edge and every edge's parts sum to its weight."""
    edges, n = pruned.kept_edges, len(pruned.graph.nodes)
    ours = edge_keys(loadings.source, loadings.target, n)
    theirs = edge_keys(edges.source, edges.target, n)
    if np.any(np.diff(ours) < 0) or not np.isfinite(loadings.loading).all():
        raise ValueError("rows out of order or without a number")
    if not len(ours):
        return
    at = np.searchsorted(theirs, ours)
    if at.max() >= len(theirs) or np.any(theirs[at] != ours):
        raise ValueError("an edge that this graph has not kept")
    start = np.flatnonzero(np.diff(ours * 2**15 + loadings.layer, prepend=-1))
    sums = np.add.reduceat(loadings.loading, start)
    weight = np.abs(edges.weight.astype(np.float64))
    if np.any(np.abs(sums - edges.weight[at[start]]) > 0.2 * weight.max()):
        raise ValueError("parts that do not sum to their edges")
