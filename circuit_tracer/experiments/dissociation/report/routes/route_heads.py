"""The heads that carry an arrow between two groups, and those that rewrite a token where it stands.

A head's part of an arrow is the sum of its loadings (heads.py) over the member edges, weighted as
these are in the influence; where it works against an edge it counts against it. Named are those
that carry at least `LEAST_SHARE`: of an arrow, from one token to another; of a token, what it does
at its own place before it is read anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.influence import handed_down
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.graph import SupernodeGraph

LEAST_SHARE = 0.2
"""Heads that carry less are not named."""
MOST_HEADS = 2


class Flows(NamedTuple):
    """Head loadings as parts of the influence that flows along their edges."""

    source: Ints
    """Rows of the graph, one a loading."""
    target: Ints
    name: list[str]
    """ "L3.H2"; "" where it is no head."""
    key: Ints
    query: Ints
    part: Floats
    """Negative where a head works against its edge."""
    edges: dict[tuple[int, int], float]
    """(source, target) of each edge whose heads are known -> its flow."""


def flows_of(pruned: PrunedGraph, loadings: HeadLoadings) -> Flows:
    """The loadings of a graph's kept edges, weighted as the edges are in the influence."""
    edges, n = pruned.kept_edges, len(pruned.graph.nodes)
    passed_on = handed_down(pruned.graph, pruned.influence)
    key = edges.target.astype(np.int64) * n + edges.source
    at = np.searchsorted(key, loadings.target.astype(np.int64) * n + loadings.source)
    source, target = edges.source.astype(np.int64), edges.target.astype(np.int64)
    flow = passed_on[target] * np.abs(edges.weight)
    names = [
        f"L{layer}.H{head}" if head >= 0 else ""
        for layer, head in zip(loadings.layer.tolist(), loadings.head.tolist(), strict=True)
    ]
    known = {(int(source[i]), int(target[i])): float(flow[i]) for i in np.unique(at)}
    part = passed_on[target[at]] * loadings.loading * np.sign(edges.weight[at])
    places = loadings.key.astype(np.int64), loadings.query.astype(np.int64)
    return Flows(source[at], target[at], names, *places, part.astype(np.float64), known)


def arrow_heads(whole: SupernodeGraph, flows: Flows) -> dict[tuple[int, int], tuple[str, ...]]:
    """By (source, target) of the supernode graph: the heads that carry it from token to token."""
    sums: dict[tuple[int, int], float] = {}
    for (source, target), flow in flows.edges.items():
        ends = int(whole.of_row[source]), int(whole.of_row[target])
        sums[ends] = sums.get(ends, 0.0) + flow
    carried: dict[tuple[int, int], dict[str, float]] = {}
    for i in np.flatnonzero(flows.key != flows.query).tolist():
        ends = int(whole.of_row[flows.source[i]]), int(whole.of_row[flows.target[i]])
        by_head = carried.setdefault(ends, {})
        by_head[flows.name[i]] = by_head.get(flows.name[i], 0.0) + float(flows.part[i])
    return {ends: _leading(by_head, sums[ends]) for ends, by_head in carried.items()}


def own_heads(flows: Flows, row: int) -> tuple[str, ...]:
    """The heads through which a token's influence goes while it stays where it is."""
    whole = sum(flow for (source, _), flow in flows.edges.items() if source == row)
    by_head: dict[str, float] = {}
    for i in np.flatnonzero((flows.source == row) & (flows.key == flows.query)).tolist():
        if flows.name[i]:
            by_head[flows.name[i]] = by_head.get(flows.name[i], 0.0) + float(flows.part[i])
    return _leading(by_head, whole)


def _leading(by_head: Mapping[str, float], whole: float) -> tuple[str, ...]:
    """The strongest heads, those of at least `LEAST_SHARE`."""
    ranked = sorted(by_head.items(), key=lambda one: (-one[1], one[0]))
    return tuple(name for name, part in ranked if part >= LEAST_SHARE * whole > 0)[:MOST_HEADS]
