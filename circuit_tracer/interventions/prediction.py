"""What a graph predicts of every node when some nodes change: along edges, and along all routes.

An edge is a contribution at the natural activation. If source u changes by the share r_u of itself
(times - 1, so -1 when ablated), target t changes by the sum over its edges of weight x r_u; a
feature in between responds with r = (its own change) / (its activation). One walk up the layers
gives every node's *total* effect: the sum over all signed paths. What goes along the one edge from
a changed node is its *direct* effect; the rest, the *indirect* effect, passes at least one further
feature.

This is the first order, as influence is: features neither start nor stop firing, attention and
norms stay. Errors and features without a row respond to nothing; edges that a trace did not keep
one by one are missing.

Shapes: n nodes, k interventions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph, NodeKind

CHUNK = 1 << 18
"""Edges looked at at a time."""


@dataclass(frozen=True)
class Prediction:
    """Changes of nodes' values, one row a node and one column an intervention."""

    direct: Floats
    """(n, k) along the edges from the changed nodes alone."""
    total: Floats
    """(n, k) along all routes."""

    @property
    def indirect(self) -> Floats:
        """(n, k) along the routes through at least one further feature."""
        return self.total - self.direct


def change_shares(graph: Graph, interventions: Iterable[Mapping[int, float]]) -> Floats:
    """(n, k) by which share each node changes; interventions give it by node table row."""
    columns = list(interventions)
    shares = np.zeros((len(graph.nodes), len(columns)))
    for column, changes in enumerate(columns):
        shares[list(changes), column] = list(changes.values())
    return shares


def ablation_shares(graph: Graph, rows: Iterable[int]) -> Floats:
    """(n, k) the same where rows of the node table are ablated one by one."""
    return change_shares(graph, ({int(row): -1.0} for row in rows))


def predict(graph: Graph, shares: Floats, *, targets_only: bool = False) -> Prediction:
    """`shares` (n, k): by which share each changed node changes (-1: ablated), 0 elsewhere.

    Changed nodes are frozen at their new activation: they do not respond to each other. With
    `targets_only` the result has the targets' rows alone.
    """
    first, end = 0, len(graph.nodes)
    if targets_only:
        first, end = int(graph.target_rows[0]), int(graph.target_rows[-1]) + 1
    responses = _with_responses(graph, shares)
    return Prediction(
        direct=along_edges(graph, shares, first, end),
        total=along_edges(graph, responses, first, end),
    )


def _with_responses(graph: Graph, shares: Floats) -> Floats:
    """(n, k) with the share by which every other expanded feature changes, layer by layer."""
    nodes, fixed, shares = graph.nodes, shares != 0, shares.copy()
    able = (nodes.kind == NodeKind.FEATURE) & nodes.expanded & (nodes.activation != 0)
    for layer in np.unique(nodes.layer[able]):
        rows = np.flatnonzero(nodes.layer == layer)
        first, end = int(rows[0]), int(rows[-1]) + 1  # rows of a layer lie together
        here = slice(first, end)
        activation = np.where(able[here], nodes.activation[here], np.inf)
        response = along_edges(graph, shares, first, end) / activation[:, None]
        shares[here] = np.where(fixed[here], shares[here], response)
    return shares


def along_edges(graph: Graph, shares: Floats, first: int = 0, end: int | None = None) -> Floats:
    """(end - first, k) summed changes that reach a span of rows along single edges; all rows where
    no span is given."""
    end = len(graph.nodes) if end is None else end
    into = graph.edges.into(first, end)
    sums = np.zeros((end - first, shares.shape[1]))
    changes = (shares != 0).max(axis=1, initial=False)
    for start in range(into.start, into.stop, CHUNK):
        edges = graph.edges.take(slice(start, min(start + CHUNK, into.stop)))
        edges = edges.take(changes[edges.source])
        if not len(edges):
            continue
        target, starts = np.unique(edges.target, return_index=True)  # sorted by target
        parts = edges.weight[:, None] * shares[edges.source]
        sums[target - first] += np.add.reduceat(parts, starts, axis=0)
    return sums
