"""The graph as a tree in the terminal: targets, their strongest inputs, and so on down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from circuit_tracer.graphs.graph import Graph, NodeKind, node_name
from circuit_tracer.graphs.influence import edge_shares
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.token_text import target_text
from circuit_tracer.render.describe import value_text
from circuit_tracer.render.numbers import percent, signed_percent
from circuit_tracer.render.terminal import WIDTH, sign_style
from circuit_tracer.render.text import printable, shorten

LEAST_WORDS = 16
"""Cells that a node gets however narrow the tree is."""


def tree(
    pruned: PrunedGraph, *, depth: int = 3, branches: int = 4, width: int = WIDTH
) -> RenderableType:
    """Every target with its strongest kept inputs, their inputs, and so on down to the tokens.

    A node that was already opened further up is named again but not opened again.
    """
    graph = pruned.graph
    into: dict[int, list[int]] = {}
    kept = np.flatnonzero(pruned.edge_kept)
    sizes = edge_shares(graph, kept)
    shares = dict(zip(kept.tolist(), sizes.tolist(), strict=True))
    for edge in kept[np.lexsort((kept, -sizes))].tolist():
        into.setdefault(int(graph.edges.target[edge]), []).append(edge)
    grown = _Tree(graph, shares, into, branches, width)
    for row in graph.target_rows.tolist():
        grown.lines.append(
            Text(_node_words(graph, row, width), style="bold", no_wrap=True, overflow="ignore")
        )
        grown.grow(row, "", depth)
    note = Text("Percentages: signed share of what goes into the node above.", style="dim")
    return Group(*grown.lines, note)


class _Tree:
    """The lines of a tree while it grows."""

    def __init__(
        self,
        graph: Graph,
        shares: Mapping[int, float],
        into: Mapping[int, Sequence[int]],
        branches: int,
        width: int,
    ) -> None:
        self.graph, self.shares, self.into = graph, shares, into
        self.branches, self.width = branches, width
        self.lines: list[Text] = []
        self.opened: set[int] = set()

    def grow(self, row: int, prefix: str, depth: int) -> None:
        """Add the inputs of a node, and theirs, `depth` levels deep."""
        edges = self.into.get(row, ())
        shown, left_out = edges[: self.branches], edges[self.branches :]
        self.opened.add(row)
        for i, edge in enumerate(shown):
            is_last = i == len(shown) - 1 and not left_out
            source = int(self.graph.edges.source[edge])
            again = source in self.opened and source in self.into and depth > 1
            self._add_branch(edge, source, prefix + ("└─ " if is_last else "├─ "), again)
            if depth > 1 and not again:
                self.grow(source, prefix + ("   " if is_last else "│  "), depth - 1)
        if left_out:
            total = percent(sum(self.shares[edge] for edge in left_out))
            inputs = "input" if len(left_out) == 1 else "inputs"
            words = f"{prefix}└─ {len(left_out):,} weaker kept {inputs}, {total} together"
            self.lines.append(Text(words, style="dim", no_wrap=True, overflow="ignore"))

    def _add_branch(self, edge: int, source: int, start: str, again: bool) -> None:
        sign = 1 if self.graph.edges.weight[edge] > 0 else -1
        line = Text(start, no_wrap=True, overflow="ignore")
        line.append(f"{signed_percent(sign * self.shares[edge]):>7}  ", style=sign_style(sign))
        note = "  (above)" if again else ""
        room = max(LEAST_WORDS, self.width - len(line.plain) - len(note))
        line.append(_node_words(self.graph, source, room))
        line.append(note, style="dim")
        self.lines.append(line)


def _node_words(graph: Graph, row: int, width: int) -> str:
    """A node in a tree: its label, then the name to type, cut to the width."""
    nodes = graph.nodes
    kind = NodeKind(int(nodes.kind[row]))
    name = printable(node_name(graph, row))
    if kind is NodeKind.LOGIT:
        target = graph.info.targets[graph.target_rows.tolist().index(row)]
        words = f"{target_text(target)}  {value_text(target)}"
    elif kind is NodeKind.EMBEDDING:
        words = f'token "{printable(graph.token_of(row))}"'
    elif kind is NodeKind.ERROR:
        words = "error"
    else:
        words = printable(nodes.label[row]).strip()
    if not words:
        return shorten(name, width)
    if kind is NodeKind.LOGIT:
        return shorten(words, width)
    return f"{shorten(words, max(width - cell_len(name) - 2, 8))}  {name}"
