"""Nodes of a graph as people name them: by the node's name, a token, a position or a target."""

from __future__ import annotations

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import Graph, NodeKind, node_names
from circuit_tracer.graphs.named_tokens import named_positions, named_targets
from circuit_tracer.graphs.token_text import shown


def source_rows(graph: Graph, text: str, flag: str) -> list[int]:
    """Nodes where something starts: one by its name, or those of a prompt token or position."""
    names = node_names(graph)
    if text in names:
        return [names.index(text)]
    positions = named_positions(graph.info, text, flag)
    rows = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    found = [row for row in rows if graph.nodes.position[row] in positions]
    if not found:
        raise UsageError(
            f'{flag} "{shown(text)}" has no node in this graph; give another token of the prompt'
        )
    return found


def target_rows(graph: Graph, text: str, flag: str) -> list[int]:
    """Nodes where something ends: one by its name, or those of a target."""
    names = node_names(graph)
    if text in names:
        return [names.index(text)]
    targets = graph.target_rows.tolist()
    return [targets[number] for number in named_targets(graph.info, text, flag)]


def one_row(graph: Graph, text: str, rows: list[int], flag: str) -> int:
    """The one row there is; UsageError, with their names, for several."""
    if len(rows) > 1:
        names = node_names(graph)
        several = ", ".join(names[row] for row in rows)
        raise UsageError(f'{flag} "{shown(text)}" can be several nodes; give one of {several}')
    return rows[0]
