"""Two graphs as one, with a note on every node and edge of whose it is: what a figure can show.

Nodes that belong together (alignment.py) become one; so do equal targets. Influence
is the mean over the two graphs (0 in one that lacks the node), an edge's weight the mean share of
its target's input over the graphs that keep it, of opposite signs the larger. Such weights are
shares, not contributions: the merged graph is to be looked at, not to be added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.comparing.alignment import Column
from circuit_tracer.graphs.comparing.comparison import same_dictionary
from circuit_tracer.graphs.graph import (
    Bools,
    Edges,
    Floats,
    Graph,
    GraphInfo,
    NodeKind,
    Nodes,
    Target,
)
from circuit_tracer.graphs.influence import signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph


class Owner(IntEnum):
    """Which of the two graphs keeps a node or an edge."""

    BOTH = 0
    FIRST = 1
    SECOND = 2


@dataclass(frozen=True)
class MergedGraph:
    """Two pruned graphs as one; everything in it is kept."""

    pruned: PrunedGraph
    node_owner: NDArray[np.int8]
    """(n,) an `Owner`."""
    edge_owner: NDArray[np.int8]
    """(m,) an `Owner`."""
    edge_flipped: Bools
    """(m,) edges that both graphs keep and that push their target up in one, down in the other."""
    rows: tuple[tuple[int, int], ...]
    """(n,) each node's rows in the two graphs' node tables; -1 in one that does not keep it."""


class _Key(NamedTuple):
    """A merged node, in the order of the node table."""

    layer: int
    kind: int
    column: int
    feature: int
    dictionary: int
    """Which graph's, for features of two dictionaries; else 0."""
    ids: tuple[int, ...]
    """A target's vocabulary ids; () for other nodes."""
    name: str
    """Of a direction that is explained; "" for everything else."""


def merge(first: PrunedGraph, second: PrunedGraph, columns: Sequence[Column]) -> MergedGraph:
    """The kept nodes and edges of both, positions numbered by `columns`."""
    graphs = (first, second)
    same = same_dictionary(first.graph, second.graph)
    key_of = [_keys(one, columns, side, same) for side, one in enumerate(graphs)]
    ordered = sorted(set(key_of[0].values()) | set(key_of[1].values()))
    number = {key: row for row, key in enumerate(ordered)}
    rows = np.full((len(ordered), 2), -1, dtype=np.int64)
    for side, keys in enumerate(key_of):
        for row, key in keys.items():
            rows[number[key], side] = row
    info = _info(graphs, columns, rows, ordered)
    influence = np.mean([_taken(one.influence, rows[:, i]) for i, one in enumerate(graphs)], axis=0)
    edges, edge_owner, flipped = _edges(graphs, rows)
    nodes = _nodes(graphs, rows, ordered, edges)
    pruned = PrunedGraph.of_kept(
        Graph(info, nodes, edges),
        node_threshold=min(one.node_threshold for one in graphs),
        edge_threshold=min(one.edge_threshold for one in graphs),
        influence=influence,
        scores=first.scores,
    )
    owner = _owners(rows >= 0)
    pairs = tuple((int(a), int(b)) for a, b in rows)
    return MergedGraph(pruned, owner, edge_owner, flipped, pairs)


def _keys(pruned: PrunedGraph, columns: Sequence[Column], side: int, same: bool) -> dict[int, _Key]:
    """The key of every kept node, by row."""
    graph, nodes = pruned.graph, pruned.graph.nodes
    column_of = {c[side]: number for number, c in enumerate(columns) if c[side] is not None}
    target_of = dict(zip(graph.target_rows.tolist(), graph.info.targets, strict=True))
    keys = {}
    for row in pruned.kept_rows.tolist():
        kind, column = int(nodes.kind[row]), column_of[int(nodes.position[row])]
        target = target_of.get(row)
        keys[row] = _Key(
            layer=int(nodes.layer[row]),
            kind=kind,
            column=column,
            feature=int(nodes.feature[row]) if kind == NodeKind.FEATURE else -1,
            dictionary=0 if same or kind != NodeKind.FEATURE else side,
            ids=() if target is None else target.vocabulary_ids,
            name="" if target is None or target.direction is None else target.token,
        )
    return keys


def _owners(there: NDArray[np.bool_]) -> NDArray[np.int8]:
    """(n,) owners of what is there (n, 2) in each graph."""
    both, only = there.all(axis=1), np.where(there[:, 0], Owner.FIRST, Owner.SECOND)
    return np.where(both, Owner.BOTH, only).astype(np.int8)


def _taken(column: Floats, rows: NDArray[np.int64]) -> Floats:
    """Values at rows, 0 for -1."""
    return np.where(rows >= 0, column[np.maximum(rows, 0)], 0.0)


def _edges(
    graphs: tuple[PrunedGraph, PrunedGraph], rows: NDArray[np.int64]
) -> tuple[Edges, NDArray[np.int8], Bools]:
    """The merged edges, their owners, and which have another sign in the other graph."""
    share: dict[tuple[int, int], list[float]] = {}
    there: dict[tuple[int, int], list[bool]] = {}
    for side, one in enumerate(graphs):
        merged = {int(row): new for new, row in enumerate(rows[:, side]) if row >= 0}
        edges = one.kept_edges
        parts = signed_shares(edges, totals(one.graph))
        columns = (edges.source.tolist(), edges.target.tolist(), parts.tolist())
        for source, target, part in zip(*columns, strict=True):
            pair = merged[target], merged[source]
            share.setdefault(pair, []).append(part)
            there.setdefault(pair, [False, False])[side] = True
    pairs = sorted(share)
    table = np.array(pairs, dtype=np.int32).reshape(len(pairs), 2)
    flipped = np.array([min(share[pair]) < 0 < max(share[pair]) for pair in pairs], dtype=np.bool_)
    # The mean of opposite signs says nothing: the larger share stands for both.
    weight = np.array([
        max(share[pair], key=abs) if turned else float(np.mean(share[pair]))
        for pair, turned in zip(pairs, flipped.tolist(), strict=True)
    ])  # fmt: skip
    owners = _owners(np.array([there[pair] for pair in pairs], dtype=np.bool_).reshape(-1, 2))
    return Edges(table[:, 1].copy(), table[:, 0].copy(), weight), owners, flipped


def _nodes(
    graphs: tuple[PrunedGraph, PrunedGraph],
    rows: NDArray[np.int64],
    keys: Sequence[_Key],
    edges: Edges,
) -> Nodes:
    tables = [one.graph.nodes for one in graphs]
    chosen = np.where(rows[:, 0] >= 0, rows[:, 0], len(tables[0]) + rows[:, 1])
    nodes = Nodes.joined(*tables).take(chosen).with_nothing_dropped()
    into = np.bincount(edges.target, np.abs(edges.weight), len(nodes))
    unknown = np.full(len(nodes), np.nan)
    return replace(
        nodes,
        position=np.array([key.column for key in keys], dtype=np.int32),
        value=unknown,
        constant=unknown,
        weight=np.mean([_taken(t.weight, rows[:, i]) for i, t in enumerate(tables)], axis=0),
        # Shares are of whole rows, of which most is not here.
        dropped_features=np.where(into > 0, np.maximum(1 - into, 0.0), 0.0),
    )


def _info(
    graphs: tuple[PrunedGraph, PrunedGraph],
    columns: Sequence[Column],
    rows: NDArray[np.int64],
    keys: Sequence[_Key],
) -> GraphInfo:
    infos = [one.graph.info for one in graphs]
    targets = []
    for key, pair in zip(keys, rows.tolist(), strict=True):
        if key.kind == NodeKind.LOGIT:
            sides = zip(graphs, pair, strict=True)
            both = [
                one.graph.info.targets[one.graph.target_rows.tolist().index(row)]
                for one, row in sides
                if row >= 0
            ]
            targets.append(_mean_target(both, key.column))
    return replace(
        infos[0],
        prompt=" | ".join(info.prompt for info in infos),
        tokens=tuple(_token(infos, column) for column in columns),
        token_ids=(-1,) * len(columns),
        targets=tuple(targets),
        settings={},
    )


def _mean_target(same: Sequence[Target], position: int) -> Target:
    """The target with the mean probability and logit of the graphs that have it."""
    return replace(
        same[0],
        position=position,
        probability=sum(one.probability for one in same) / len(same),
        logit=sum(one.logit for one in same) / len(same),
    )


def _token(infos: Sequence[GraphInfo], column: Column) -> str:
    """Both tokens where they differ: "yellow | red"."""
    pairs = zip(infos, column[:2], strict=True)
    texts = [info.tokens[at] for info, at in pairs if at is not None]
    if len({text.strip() for text in texts}) == 1:
        return texts[0]
    return " | ".join(text.lstrip(" ") or text for text in texts)
