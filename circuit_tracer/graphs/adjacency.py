"""A graph as one matrix in upstream's order: features, errors, tokens, targets.

`matrix[t, s]` is the weight of the edge from node s to node t: rows are targets, columns sources,
both in one order, as in upstream's `Graph.adjacency_matrix`. Features go by layer, position and
index, errors by layer and position, tokens by position, targets as the graph lists them. Upstream
has a place for the error of every layer and position, also where there is none (at BOS).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph, Ints, NodeKind


@dataclass(frozen=True)
class Adjacency:
    """The edges of a graph by the places of their ends in upstream's order."""

    rows: Ints
    """(n,) for every place its row of the graph's node table; -1 where there is no such node."""
    target: Ints
    """(m,) place of each edge's target: the row of the matrix."""
    source: Ints
    """(m,) place of each edge's source: the column of the matrix."""
    weight: Floats
    """(m,) signed weights."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return len(self.rows), len(self.rows)

    def dense(self) -> Floats:
        """(n, n) the matrix, 0 where there is no edge: 8 n² bytes."""
        matrix = np.zeros(self.shape)
        matrix[self.target, self.source] = self.weight
        return matrix

    def sparse(self) -> Any:
        """(n, n) the matrix as a coalesced torch COO tensor of float64."""
        import torch

        places = torch.from_numpy(np.stack([self.target, self.source]))
        return torch.sparse_coo_tensor(
            places, torch.from_numpy(self.weight), self.shape, check_invariants=True
        ).coalesce()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """`dense`, for functions of numpy."""
        return self.dense() if dtype is None else self.dense().astype(dtype)

    def __repr__(self) -> str:
        return f"Adjacency({len(self.rows):,} nodes, {len(self.weight):,} edges)"


def adjacency(graph: Graph, *, every_place: bool = False) -> Adjacency:
    """All edges of a graph by the places of their ends.

    `every_place` is upstream's layout to the letter: n_layers x T places for errors and T for
    tokens, whether there is such a node or not. Without it the places are those of the nodes.
    """
    nodes, edges = graph.nodes, graph.edges
    features, errors = nodes.of_kind(NodeKind.FEATURE), nodes.of_kind(NodeKind.ERROR)
    tokens = nodes.of_kind(NodeKind.EMBEDDING)
    by_place = nodes.feature[features], nodes.position[features], nodes.layer[features]
    n_tokens = int(nodes.position.max()) + 1
    error_places = np.full((graph.info.n_layers, n_tokens), -1)
    error_places[nodes.layer[errors], nodes.position[errors]] = errors
    token_places = np.full(n_tokens, -1)
    token_places[nodes.position[tokens]] = tokens
    parts = features[np.lexsort(by_place)], error_places.ravel(), token_places, graph.target_rows
    rows = np.concatenate(parts)
    if not every_place:
        rows = rows[rows >= 0]
    place = np.empty(len(nodes), dtype=np.int64)
    place[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    return Adjacency(
        rows=rows,
        target=place[edges.target],
        source=place[edges.source],
        weight=edges.weight.astype(np.float64),
    )
