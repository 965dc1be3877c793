"""How the kept edges move when the sweep runs in bfloat16 (method.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import trace
from circuit_tracer.graphs.graph import Graph, GraphInfo
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

FAR = 0.1


@dataclass(frozen=True)
class NumberFormat:
    """Kept edges of the graph against the same edges of a bfloat16 sweep."""

    median: float
    """Relative change of an edge."""
    ninth_decile: float
    far_off: float
    """Share of edges that move by more than a tenth of themselves."""
    turned: int
    """Edges whose sign turns."""
    still_kept: float
    """Share of kept edges that pruning keeps again."""
    edges: int


def settings_of(info: GraphInfo) -> TraceSettings:
    """What a graph was traced with, as far as it says so."""
    known: dict[str, Any] = {
        one.name: info.settings[one.name]
        for one in fields(TraceSettings)
        if one.name in info.settings
    }
    known["targets"] = tuple(known.get("targets") or ())
    return TraceSettings(**known)


def number_format(model: Model, dictionary: AnyDictionary, pruned: PrunedGraph) -> NumberFormat:
    """Trace the prompt again with cotangents in bfloat16. Raises what `trace` raises."""
    info = pruned.graph.info
    settings = replace(settings_of(info), cotangents="bf16")
    lower = trace(model, dictionary, info.prompt, settings).graph
    again = prune(lower, node_threshold=pruned.node_threshold, edge_threshold=pruned.edge_threshold)
    ours = _keyed(pruned.graph, np.flatnonzero(pruned.edge_kept))
    theirs = _keyed(lower, np.arange(len(lower.edges)))
    kept = set(_keyed(lower, np.flatnonzero(again.edge_kept)))
    exact = np.array(list(ours.values()))
    found = np.array([theirs.get(key, 0.0) for key in ours])
    moved = np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)
    if not len(moved):
        return NumberFormat(0.0, 0.0, 0.0, 0, 1.0, 0)
    return NumberFormat(
        median=float(np.median(moved)),
        ninth_decile=float(np.quantile(moved, 0.9)),
        far_off=float(np.mean(moved > FAR)),
        turned=int(np.sum(np.sign(found) != np.sign(exact))),
        still_kept=float(np.mean([key in kept for key in ours])),
        edges=len(moved),
    )


_Key = tuple[int, int, int, int]


def _keyed(graph: Graph, which: Any) -> dict[tuple[_Key, _Key], float]:
    """Weights by the places of their two ends, which do not depend on the node table."""
    nodes, edges = graph.nodes, graph.edges.take(which)
    columns = (nodes.kind, nodes.layer, nodes.position, nodes.feature)

    def keys(rows: Any) -> list[_Key]:
        return list(zip(*(column[rows].tolist() for column in columns), strict=True))

    ends = zip(keys(edges.source), keys(edges.target), strict=True)
    return dict(zip(ends, edges.weight.astype(np.float64).tolist(), strict=True))
