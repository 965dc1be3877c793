"""Head loadings for graphs that no model made."""

from __future__ import annotations

import numpy as np

from circuit_tracer.graphs.head_loadings import OTHERS, RESIDUAL, HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.head_paths import HeadParts, Way

N_HEADS = 3


def random_loadings(pruned: PrunedGraph, seed: int = 0) -> HeadLoadings:
    """Every kept edge split at random at layers 1 and 2, sums exact."""
    rng = np.random.default_rng(seed)
    edges = pruned.kept_edges
    rows = []
    for source, target, weight in zip(edges.source, edges.target, edges.weight, strict=True):
        for layer in (1, 2):
            parts = rng.normal(size=N_HEADS + 1)
            rest = weight - parts.sum()
            cells = [(OTHERS, -1, -1, parts[-1]), (RESIDUAL, -1, -1, rest)]
            cells += [(h, *rng.integers(0, 4, 2), parts[h]) for h in range(N_HEADS)]
            rows += [(source, target, layer, *cell) for cell in cells]
    columns = np.array(rows).T
    names = ("source", "target", "layer", "head", "key", "query")
    types = (np.int32, np.int32, np.int16, np.int16, np.int32, np.int32)
    whole = {n: c.astype(t) for n, c, t in zip(names, columns[:6], types, strict=True)}
    loading = columns[6].astype(np.float64)
    return HeadLoadings(**whole, loading=loading, peak=loading / 2)


def ways_of(parts: HeadParts, source: int, target: int) -> list[tuple[Way | None, float]]:
    """The ways of one edge with their parts, the strongest first."""
    rows = np.flatnonzero((parts.source == source) & (parts.target == target))
    rows = rows[np.argsort(-np.abs(parts.weight[rows]), kind="stable")]
    return [(parts.ways[row], float(parts.weight[row])) for row in rows.tolist()]
