"""Which nodes of a graph a user means: names, labels, routes, the most influential ones.

A node is written as `show` and `paths` print it: L3/117@4, L3/117 (wherever it fires), 3/117@4,
L3/error@4, embedding@4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Graph, NodeKind, node_name
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import nth_path
from circuit_tracer.interventions.spec import Change, Strength

_NAME = re.compile(r"L?(\d+)/(error|\d+)(?:@(\d+))?")
_EMBEDDING = re.compile(r"embedding@(\d+)")


def parse_node(text: str) -> Change:
    """A node by its name, to be ablated; raises UsageError with the forms that are known.

    A feature without a position is meant at every one.
    """
    embedding = _EMBEDDING.fullmatch(text.strip())
    if embedding:
        return Change(NodeKind.EMBEDDING, -1, int(embedding[1]))
    found = _NAME.fullmatch(text.strip())
    if found is None or (found[2] == "error" and found[3] is None):
        raise UsageError(
            f'"{text}" names no node; write L3/117@4 (layer, feature, position), L3/117 (wherever '
            "it fires), L3/error@4 or embedding@4"
        )
    layer, position = int(found[1]), None if found[3] is None else int(found[3])
    if found[2] == "error":
        return Change(NodeKind.ERROR, layer, position)
    return Change(NodeKind.FEATURE, layer, position, int(found[2]))


def split_names(texts: Sequence[str]) -> list[str]:
    """Names given one by one or with commas, each once."""
    found = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    return list(dict.fromkeys(found))


def chosen_nodes(
    pruned: PrunedGraph,
    names: Sequence[str] = (),
    *,
    find: str | None = None,
    route: int | None = None,
    top: int | None = None,
) -> tuple[list[Change], list[int]]:
    """Nodes by their names, and rows of the node table by a label, a route or influence.

    Raises UsageError where nothing is chosen, and for what is not there.
    """
    named = [parse_node(name) for name in split_names(names)]
    rows = [] if find is None else rows_labelled(pruned.graph, find)
    rows += [] if route is None else rows_of_route(pruned, route)
    rows += [] if top is None else rows_of_influence(pruned, top)
    if not rows and not named:
        raise UsageError(
            "nothing is to be changed; name features (`features` L3/117@4), a label (`find` "
            "yellow), a route (`route` 1) or a number of the most influential (`top` 10)"
        )
    return named, list(dict.fromkeys(rows))


def parse_feature(text: str) -> tuple[int, int]:
    """Layer and index of "L3/117"; UsageError for anything else."""
    node = parse_node(text)
    if node.kind != NodeKind.FEATURE or node.position is not None:
        raise UsageError(f'"{text}" must be a feature without a position, such as L3/117')
    return node.layer, node.feature


def rows_named(graph: Graph, node: Change) -> list[int]:
    """Rows of the node table; several for a feature without a position. Empty: not in the graph."""
    nodes = graph.nodes
    found = (nodes.kind == node.kind) & (nodes.layer == node.layer)
    if node.kind == NodeKind.FEATURE:
        found &= nodes.feature == node.feature
    if node.position is not None:
        found &= nodes.position == node.position
    return [int(row) for row in np.flatnonzero(found)]


def rows_labelled(graph: Graph, query: str) -> list[int]:
    """Features whose label holds a text, whatever its case; UsageError for none."""
    wanted, nodes = query.strip().casefold(), graph.nodes
    if not wanted:
        raise UsageError("`find` is empty; give a word of the labels that `show` prints")
    rows = [
        row
        for row in nodes.of_kind(NodeKind.FEATURE).tolist()
        if wanted in nodes.label[row].casefold()
    ]
    if not rows:
        raise UsageError(
            f'no feature of this graph has "{query}" in its label; `circuit-tracer show` lists them'
        )
    return rows


def rows_of_route(pruned: PrunedGraph, number: int) -> list[int]:
    """Features and errors of the graph's n-th best route, 1 being the best; UsageError."""
    kinds, path = pruned.graph.nodes.kind, nth_path(pruned, number)
    return [row for row in path.rows if kinds[row] in (NodeKind.FEATURE, NodeKind.ERROR)]


def rows_of_influence(pruned: PrunedGraph, count: int) -> list[int]:
    """The features of most influence on the targets, strongest first."""
    nodes = pruned.graph.nodes
    rows = nodes.of_kind(NodeKind.FEATURE)
    order = np.lexsort((rows, -pruned.influence[rows]))
    return [int(row) for row in rows[order[:count]]]


def change_of(graph: Graph, row: int, strength: Strength) -> Change:
    """A change of one node of the graph."""
    nodes, kind = graph.nodes, NodeKind(int(graph.nodes.kind[row]))
    if kind == NodeKind.LOGIT:
        raise UsageError(f"{node_name(graph, row)} is a target and no cause; change features")
    return Change(
        kind,
        -1 if kind == NodeKind.EMBEDDING else int(nodes.layer[row]),
        int(nodes.position[row]),
        int(nodes.feature[row]) if kind == NodeKind.FEATURE else -1,
        strength,
    )


def share_of(graph: Graph, row: int, strength: Strength) -> float:
    """By which share of itself a node changes: times - 1; NaN for a silent one set to a value."""
    if strength.is_multiple:
        return strength.amount - 1
    activation = float(graph.nodes.activation[row])
    return strength.amount / activation - 1 if activation else math.nan
