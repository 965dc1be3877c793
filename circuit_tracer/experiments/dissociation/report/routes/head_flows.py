"""The heads that carry an arrow between two groups, and those that rewrite a token where it stands.

A head's part of an arrow is the sum of its loadings (graphs/head_loadings.py) over the member
edges, weighted as these are in the influence; where it works against an edge it counts against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuit_tracer.graphs.graph import Bools, Ints
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.influence import handed_down
from circuit_tracer.graphs.pruning import PrunedGraph

LEAST_SHARE = 0.2
"""Heads that carry less are not named."""
MOST_HEADS = 2


class HeadFlows:
    """Head loadings as parts of the influence that flows along their edges."""

    def __init__(self, pruned: PrunedGraph, loadings: HeadLoadings) -> None:
        """Of the kept edges whose heads are known."""
        edges, n = pruned.kept_edges, len(pruned.graph.nodes)
        passed_on = handed_down(pruned.graph, pruned.influence)
        key = edges.target.astype(np.int64) * n + edges.source
        at = np.searchsorted(key, loadings.target.astype(np.int64) * n + loadings.source)
        self.loadings = loadings
        self.part = passed_on[loadings.target] * loadings.loading * np.sign(edges.weight[at])
        self.edges = edges.take(np.unique(at))
        self.flow = passed_on[self.edges.target] * np.abs(self.edges.weight)

    def between(self, sources: Sequence[int], targets: Sequence[int]) -> tuple[str, ...]:
        """Those that carry what flows between some rows from one token to another."""
        one = self.loadings
        within = np.isin(one.source, sources) & np.isin(one.target, targets)
        known = np.isin(self.edges.source, sources) & np.isin(self.edges.target, targets)
        return self._leading(within & (one.key != one.query), float(self.flow[known].sum()))

    def in_place(self, row: int) -> tuple[str, ...]:
        """Those through which a token's influence goes while it stays where it is."""
        one = self.loadings
        staying = (one.source == row) & (one.key == one.query) & (one.head >= 0)
        return self._leading(staying, float(self.flow[self.edges.source == row].sum()))

    def _leading(self, which: Bools, whole: float) -> tuple[str, ...]:
        """The strongest heads among some loadings, those of at least `LEAST_SHARE`."""
        by_head: dict[str, float] = {}
        rows: Ints = np.flatnonzero(which)
        for i in rows.tolist():
            name = f"L{self.loadings.layer[i]}.H{self.loadings.head[i]}"
            by_head[name] = by_head.get(name, 0.0) + float(self.part[i])
        ranked = sorted(by_head.items(), key=lambda one: (-one[1], one[0]))
        return tuple(name for name, part in ranked if part >= LEAST_SHARE * whole > 0)[:MOST_HEADS]
