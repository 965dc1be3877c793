"""How the kept edges move when the sweep runs in bfloat16 (method.md section 4)."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import trace
from circuit_tracer.experiments.trust.results import NumberFormat
from circuit_tracer.graphs.graph import Floats, Graph, GraphInfo, Ints, edge_keys
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary

FAR = 0.1


def settings_of(info: GraphInfo) -> TraceSettings:
    """What a graph was traced with, as far as it records it.

    Tokens that were given are named by their ids: what a text names depends on the version that
    read it.
    """
    known: dict[str, Any] = {
        one.name: info.settings[one.name]
        for one in fields(TraceSettings)
        if one.name in info.settings
    }
    ids = [",".join(f"id:{one}" for one in target.vocabulary_ids) for target in info.targets]
    known["targets"] = tuple(ids) if known.get("targets") else ()
    for name in ("contrast", "why_not"):
        known[name] = ids[0] if known.get(name) is not None else None
    return TraceSettings(**known)


def number_format(model: Model, dictionary: AnyDictionary, pruned: PrunedGraph) -> NumberFormat:
    """Trace the prompt again with cotangents in bfloat16. Raises what `trace` raises."""
    info = pruned.graph.info
    settings = replace(settings_of(info), cotangents="bf16")
    lower = trace(model, dictionary, info.prompt, settings).graph
    again = prune(lower, node_threshold=pruned.node_threshold, edge_threshold=pruned.edge_threshold)
    kept = pruned.kept_edges
    if not len(kept):
        return NumberFormat(0.0, 0.0, 0.0, 0, 1.0, 0)
    there = edges_in(pruned.graph, np.flatnonzero(pruned.edge_kept), lower)
    exact = kept.weight.astype(np.float64)
    found: Floats = np.where(there >= 0, lower.edges.weight[there], 0.0)
    moved = np.abs(found - exact) / np.maximum(np.abs(exact), np.finfo(np.float64).tiny)
    return NumberFormat(
        median=float(np.median(moved)),
        ninth_decile=float(np.quantile(moved, 0.9)),
        far_off=float(np.mean(moved > FAR)),
        turned=int(np.sum(np.sign(found) != np.sign(exact))),
        still_kept=float(np.mean((there >= 0) & again.edge_kept[there])),
        edges=len(moved),
    )


def edges_in(graph: Graph, which: Ints, other: Graph) -> Ints:
    """Where edges of a graph stand in another of the same prompt; -1 for those it lacks."""
    rows, edges, n = _places(_keys(graph), _keys(other)), graph.edges.take(which), len(other.nodes)
    source, target = rows[edges.source], rows[edges.target]
    wanted = np.where((source < 0) | (target < 0), -1, edge_keys(source, target, n))
    return _places(wanted, edge_keys(other.edges.source, other.edges.target, n))


def _places(wanted: Ints, keys: Ints) -> Ints:
    """Where keys stand among others, of which each is there once; -1 for those that are not."""
    places = np.full(len(wanted), -1)
    _, here, there = np.intersect1d(wanted, keys, return_indices=True)
    places[here] = there
    return places


def _keys(graph: Graph) -> Ints:
    """(n,) one number for kind, layer, position and feature; the same in every graph."""
    nodes = graph.nodes
    found: Ints = nodes.kind.astype(np.int64)
    for column, bits in ((nodes.layer, 10), (nodes.position, 20), (nodes.feature, 31)):
        found = (found << bits) + (column.astype(np.int64) + 1)
    return found
