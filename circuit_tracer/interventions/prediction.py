"""What a graph foretells of an intervention: along the edge alone, and along all routes.

A changed node's contribution to whatever it feeds changes by the share by which it changes itself
(-1 when ablated). Its edge to a target times that share is the direct effect. The total effect lets
every expanded feature in between answer in proportion: its activation moves by the sum of what
reaches it, so its own contributions change by that sum over its activation. One walk up the layers
gives both. It is the first order: no feature starts or stops firing, no pattern and no norm moves.
Edges that a trace did not keep one by one are missing from both.

Shapes: n nodes, m edges, k interventions, t targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import Edges, Floats, Graph, NodeKind

CHUNK = 1 << 18
"""Edges looked at at a time."""


@dataclass(frozen=True)
class Prediction:
    """Changes of the targets' (centred) logits, one row an intervention."""

    direct: Floats
    """(k, t) along the edges from the changed nodes alone."""
    total: Floats
    """(k, t) along all routes, those through other features included. Features without a row
    (a budget left them out) answer to nothing."""


def predict(graph: Graph, shares: list[dict[int, float]]) -> Prediction:
    """`shares` gives, per intervention, changed rows of the node table and by which share each
    changes: times - 1, so -1 for an ablation."""
    moved = np.zeros((len(graph.nodes), len(shares)))
    for column, rows in enumerate(shares):
        for row, share in rows.items():
            moved[row, column] = share
    targets = graph.target_rows
    first, end = int(targets[0]), int(targets[-1]) + 1
    direct = _arriving(graph, moved, first, end)
    _let_answer(graph, moved)
    return Prediction(direct=direct.T, total=_arriving(graph, moved, first, end).T)


def _let_answer(graph: Graph, moved: Floats) -> None:
    """Fill in by which share every other expanded feature changes, layer by layer."""
    nodes, fixed = graph.nodes, moved != 0
    able = (nodes.kind == NodeKind.FEATURE) & nodes.expanded & (nodes.activation != 0)
    for layer in np.unique(nodes.layer[able]):
        rows = np.flatnonzero(nodes.layer == layer)
        first, end = int(rows[0]), int(rows[-1]) + 1  # rows of a layer lie together
        here = slice(first, end)
        activation = np.where(able[here], nodes.activation[here], np.inf)
        answer = _arriving(graph, moved, first, end) / activation[:, None]
        moved[here] = np.where(fixed[here], moved[here], answer)


def _arriving(graph: Graph, moved: Floats, first: int, end: int) -> Floats:
    """(end - first, k) summed changes that reach a span of rows."""
    into = graph.edges.into(first, end)
    sums = np.zeros((end - first, moved.shape[1]))
    for start in range(into.start, into.stop, CHUNK):
        edges = graph.edges.take(slice(start, min(start + CHUNK, into.stop)))
        _add(sums, edges, edges.weight[:, None] * moved[edges.source], first)
    return sums


def _add(sums: Floats, edges: Edges, parts: NDArray[np.floating], first: int) -> None:
    """Sum what goes to the same target; edges are sorted by target."""
    target, starts = np.unique(edges.target, return_index=True)
    sums[target - first] += np.add.reduceat(parts, starts, axis=0)
