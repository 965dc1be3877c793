"""What a graph foretells of every node when some nodes change: along edges, and along all routes.

An edge is a contribution at the natural activation. If source u changes by the share r_u of itself
(-1 when ablated), target t changes by the sum over its edges of weight x r_u; a feature in between
answers with r = (its own change) / (its activation). One walk up the layers gives every node's
*total* effect: the sum over all signed paths. What goes along the one edge from a changed node is
its *direct* effect; the rest, the *knock-on* effect, passes at least one further feature.

This is the first order, as influence is: features neither start nor stop firing, attention and
norms stay. Errors and features without a row answer to nothing.

Shapes: n nodes, k interventions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph, NodeKind

CHUNK = 1 << 18
"""Edges looked at at a time."""


@dataclass(frozen=True)
class Foretold:
    """Changes of every node's value, one column an intervention."""

    direct: Floats
    """(n, k) along the edges from the changed nodes alone."""
    total: Floats
    """(n, k) along all routes."""

    @property
    def knock_on(self) -> Floats:
        """(n, k) along the routes through at least one further feature."""
        found: Floats = self.total - self.direct
        return found


def foretell(graph: Graph, moved: Floats) -> Foretold:
    """`moved` (n, k): by which share each changed node changes (-1: ablated), 0 elsewhere.

    Changed nodes are held at their new activation: they do not answer to each other.
    """
    n = len(graph.nodes)
    answers = moved.copy()
    let_answer(graph, answers)
    return Foretold(
        direct=arriving(graph, moved, 0, n),
        total=arriving(graph, answers, 0, n),
    )


def let_answer(graph: Graph, moved: Floats) -> None:
    """Fill in by which share every other expanded feature changes, layer by layer."""
    nodes, fixed = graph.nodes, moved != 0
    able = (nodes.kind == NodeKind.FEATURE) & nodes.expanded & (nodes.activation != 0)
    for layer in np.unique(nodes.layer[able]):
        rows = np.flatnonzero(nodes.layer == layer)
        first, end = int(rows[0]), int(rows[-1]) + 1  # rows of a layer lie together
        here = slice(first, end)
        activation = np.where(able[here], nodes.activation[here], np.inf)
        answer = arriving(graph, moved, first, end) / activation[:, None]
        moved[here] = np.where(fixed[here], moved[here], answer)


def arriving(graph: Graph, moved: Floats, first: int, end: int) -> Floats:
    """(end - first, k) summed changes that reach a span of rows."""
    into = graph.edges.into(first, end)
    sums = np.zeros((end - first, moved.shape[1]))
    moves = (moved != 0).max(axis=1, initial=False)
    for start in range(into.start, into.stop, CHUNK):
        edges = graph.edges.take(slice(start, min(start + CHUNK, into.stop)))
        edges = edges.take(moves[edges.source])
        if not len(edges):
            continue
        target, starts = np.unique(edges.target, return_index=True)  # sorted by target
        parts = edges.weight[:, None] * moved[edges.source]
        sums[target - first] += np.add.reduceat(parts, starts, axis=0)
    return sums
