"""What an edit changes of the graph: two prompts' graphs of one contrast, pruned, compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from circuit_tracer.experiments.edits.results import Role, RouteChange, Routes
from circuit_tracer.graphs.comparing.alignment import Column, align
from circuit_tracer.graphs.comparing.changes import changes
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.graphs.graph import Floats, Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.render.describe import called

MOST_CHANGES = 6
"""Changed nodes, and edges, that are kept one by one; the graphs have them all."""
SHARES = 2
"""Kinds of influence that are shared out over a prompt's places: tokens', features'."""


def routes_of(name: str, folder: str, before: PrunedGraph, after: PrunedGraph) -> Routes:
    """What differs from the graph of a prompt to that of the edited one."""
    columns = align(before.graph, after.graph)
    merged = merge(before, after, columns)
    found, graph = changes(merged, (before, after)), merged.pruned.graph
    kinds = Counter(one.kind for one in found)
    return Routes(
        edit=name,
        folder=folder,
        counts={kind: kinds[kind] for kind in ("appeared", "vanished", "flipped")},
        changes=tuple(
            RouteChange(
                one.kind,
                one.source,
                one.target,
                _named(graph, one.rows[0], one.source),
                _named(graph, one.rows[1], one.target) if one.target else "",
                one.first,
                one.second,
            )
            for is_edge in (False, True)
            for one in [one for one in found if bool(one.target) == is_edge][:MOST_CHANGES]
        ),
        roles=_roles(columns, before, after),
    )


def _named(graph: Graph, row: int, name: str) -> str:
    """What a node is called; an error by its layer and position, which tell it from others."""
    return name if graph.nodes.kind[row] == NodeKind.ERROR else called(graph, row)


def shares_of(pruned: PrunedGraph) -> Floats:
    """(`SHARES`, T) of all tokens' influence, and of all features', what stands at each position.

    Of the whole graph, before pruning; 0 where there is none.
    """
    nodes, n = pruned.graph.nodes, len(pruned.graph.info.tokens)
    found = np.zeros((SHARES, n))
    for row, kind in enumerate((NodeKind.EMBEDDING, NodeKind.FEATURE)):
        rows = nodes.of_kind(kind)
        found[row] = np.bincount(nodes.position[rows], pruned.influence[rows], n)
    shares: Floats = found / np.maximum(found.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    return shares


def _roles(columns: Sequence[Column], before: PrunedGraph, after: PrunedGraph) -> tuple[Role, ...]:
    shares = shares_of(before), shares_of(after)
    tokens = before.graph.info.tokens, after.graph.info.tokens
    roles = []
    for column in columns:
        places = column.first, column.second
        texts = [
            "-" if at is None else own[at].strip() or own[at]
            for at, own in zip(places, tokens, strict=True)
        ]
        values = [
            None if at is None else float(share[kind, at])
            for kind in range(SHARES)
            for at, share in zip(places, shares, strict=True)
        ]
        roles.append(Role(" -> ".join(dict.fromkeys(texts)), *values))
    return tuple(roles)


def strongest_route(pruned: PrunedGraph, positions: Sequence[int], pull: float) -> str:
    """The strongest route from some tokens through features to the target, of those that push the
    way they pull; without any, the strongest of all. In words; "" where none was kept."""
    nodes = pruned.graph.nodes
    rows = nodes.of_kind(NodeKind.EMBEDDING)
    starts = rows[np.isin(nodes.position[rows], list(positions))].tolist()
    if not starts:
        return ""
    sign: Sign = "+" if pull > 0 else "-"
    paths = best_paths(pruned, k=1, sources=starts, direct=False, sign=sign)
    paths = paths or best_paths(pruned, k=1, sources=starts)
    if not paths:
        return ""
    route = " -> ".join(called(pruned.graph, row) for row in paths[0].rows)
    return f"{route} ({'+' if paths[0].strength >= 0 else '−'})"
