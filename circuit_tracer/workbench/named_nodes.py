"""Nodes and edges of a graph as people name them: by name, token, position or target."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import Edges, Graph, NodeKind, PrunedGraph, node_name, node_names
from circuit_tracer.graphs.named_tokens import named_positions, named_targets
from circuit_tracer.graphs.routes.paths import nth_path
from circuit_tracer.graphs.token_text import shown


def source_rows(graph: Graph, text: str, where: str) -> list[int]:
    """Nodes where something starts: one by its name, or those of a prompt token or position."""
    names = node_names(graph)
    if text in names:
        return [names.index(text)]
    positions = named_positions(graph.info, text, where)
    rows = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    found = [row for row in rows if graph.nodes.position[row] in positions]
    if not found:
        raise UsageError(
            f'{where} "{shown(text)}" has no node in this graph; give another token of the prompt'
        )
    return found


def target_rows(graph: Graph, text: str, where: str) -> list[int]:
    """Nodes where something ends: one by its name, or those of a target."""
    names = node_names(graph)
    if text in names:
        return [names.index(text)]
    targets = graph.target_rows.tolist()
    return [targets[number] for number in named_targets(graph.info, text, where)]


def _named_edge(graph: Graph, source: str, target: str) -> Edges:
    """The one edge between two named nodes; UsageError where they can be several, or for none."""
    source_row = _one_row(graph, source, source_rows(graph, source, "`edge`"))
    target_row = _one_row(graph, target, target_rows(graph, target, "`edge`"))
    return _edges_along(graph, [source_row, target_row])


def edges_asked(
    pruned: PrunedGraph, edge: tuple[str, str] | None, route: int | None
) -> Edges | None:
    """The `edge` of two names, or those along the n-th best `route`; UsageError for both."""
    if edge is not None and route is not None:
        raise UsageError("`edge` and `route` exclude each other; give one of them")
    if edge is not None:
        if not isinstance(edge, tuple | list) or [*map(type, edge)] != [str, str]:
            raise UsageError('`edge` must be two names, such as ("banana", "yellow")')
        return _named_edge(pruned.graph, *edge)
    return None if route is None else _edges_along(pruned.graph, nth_path(pruned, route).rows)


def _edges_along(graph: Graph, rows: Sequence[int]) -> Edges:
    """The edges along a path; UsageError where one is missing."""
    which = []
    for source, target in pairwise(rows):
        into = graph.edges.into(target, target + 1)
        at = np.flatnonzero(graph.edges.source[into] == source)
        if not len(at):
            start, end = node_name(graph, source), node_name(graph, target)
            raise UsageError(
                f"there is no edge from {start} to {end}; circuit-tracer show lists the strongest"
            )
        which.append(into.start + int(at[0]))
    return graph.edges.take(np.array(which))


def _one_row(graph: Graph, text: str, rows: list[int]) -> int:
    """The one row there is; UsageError, with their names, for several."""
    if len(rows) > 1:
        names = node_names(graph)
        several = ", ".join(names[row] for row in rows)
        raise UsageError(f'`edge` "{shown(text)}" can be several nodes; give one of {several}')
    return rows[0]
