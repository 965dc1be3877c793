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

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.comparing.alignment import Column
from circuit_tracer.graphs.comparing.comparison import columns_of, matched
from circuit_tracer.graphs.graph import (
    Bools,
    Edges,
    Floats,
    Graph,
    GraphInfo,
    Ints,
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


def merge(first: PrunedGraph, second: PrunedGraph, columns: Sequence[Column]) -> MergedGraph:
    """The kept nodes and edges of both, positions numbered by `columns`."""
    graphs = (first, second)
    keys = matched(first.graph, second.graph, columns, targets_apart=True)
    kept = [key[one.kept_rows] for key, one in zip(keys, graphs, strict=True)]
    ordered = np.unique(np.concatenate(kept))
    rows = np.full((len(ordered), 2), -1, dtype=np.int64)
    for side, one in enumerate(graphs):
        rows[np.searchsorted(ordered, kept[side]), side] = one.kept_rows
    places = [
        columns_of(one.graph, columns, side)[rows[:, side]] for side, one in enumerate(graphs)
    ]
    position = np.where(rows[:, 0] >= 0, *places)
    info = _info(graphs, columns, rows, position)
    influence = np.mean([_taken(one.influence, rows[:, i]) for i, one in enumerate(graphs)], axis=0)
    edges, edge_owner, flipped = _edges(graphs, rows)
    nodes = _nodes(graphs, rows, position, edges)
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


def _owners(there: NDArray[np.bool_]) -> NDArray[np.int8]:
    """(n,) owners of what is there (n, 2) in each graph."""
    both, only = there.all(axis=1), np.where(there[:, 0], Owner.FIRST, Owner.SECOND)
    return np.where(both, Owner.BOTH, only).astype(np.int8)


def _taken(column: Floats, rows: Ints) -> Floats:
    """Values at rows, 0 for -1."""
    return np.where(rows >= 0, column[np.maximum(rows, 0)], 0.0)


def _edges(
    graphs: tuple[PrunedGraph, PrunedGraph], rows: Ints
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
    graphs: tuple[PrunedGraph, PrunedGraph], rows: Ints, position: Ints, edges: Edges
) -> Nodes:
    tables = [one.graph.nodes for one in graphs]
    chosen = np.where(rows[:, 0] >= 0, rows[:, 0], len(tables[0]) + rows[:, 1])
    nodes = Nodes.joined(*tables).take(chosen).with_nothing_dropped()
    into = np.bincount(edges.target, np.abs(edges.weight), len(nodes))
    unknown = np.full(len(nodes), np.nan)
    return replace(
        nodes,
        position=position.astype(np.int32),
        value=unknown,
        constant=unknown,
        weight=np.mean([_taken(t.weight, rows[:, i]) for i, t in enumerate(tables)], axis=0),
        # Shares are of whole rows, of which most is not here.
        dropped_features=np.where(into > 0, np.maximum(1 - into, 0.0), 0.0),
    )


def _info(
    graphs: tuple[PrunedGraph, PrunedGraph],
    columns: Sequence[Column],
    rows: Ints,
    position: Ints,
) -> GraphInfo:
    infos = [one.graph.info for one in graphs]
    of_rows = [
        dict(zip(one.graph.target_rows.tolist(), one.graph.info.targets, strict=True))
        for one in graphs
    ]
    targets = []
    for pair, column in zip(rows.tolist(), position.tolist(), strict=True):
        both = [of_row[row] for of_row, row in zip(of_rows, pair, strict=True) if row in of_row]
        if both:
            targets.append(_mean_target(both, column))
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
