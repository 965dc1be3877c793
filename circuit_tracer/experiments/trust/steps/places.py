"""Where in the graph errors come in: by layer and by token."""

from __future__ import annotations

import numpy as np

from circuit_tracer.experiments.trust.results import LayerPlace, Places, TokenPlace
from circuit_tracer.graphs.graph import Floats, NodeKind
from circuit_tracer.graphs.influence import chunks, totals
from circuit_tracer.graphs.pruning import PrunedGraph


def places(pruned: PrunedGraph) -> Places:
    """Error shares of the whole graph; errors that were not kept one by one count to layers."""
    graph, nodes = pruned.graph, pruned.graph.nodes
    whole, from_errors = totals(graph), nodes.dropped_errors.copy()
    for part in chunks(0, len(graph.edges)):
        edges = graph.edges.take(part)
        is_error = nodes.kind[edges.source] == NodeKind.ERROR
        from_errors += np.bincount(
            edges.target[is_error],
            weights=np.abs(edges.weight[is_error]),
            minlength=len(nodes),
        )
    weight = np.where(whole > 0, pruned.influence + nodes.weight, 0.0)
    share = np.divide(from_errors, whole, out=np.zeros_like(whole), where=whole > 0)
    layers = []
    for layer in np.unique(nodes.layer[weight > 0]).tolist():
        here = nodes.layer == layer
        importance = float(weight[here].sum())
        errors = float((weight * share)[here].sum())
        layers.append(LayerPlace(layer, errors / importance, importance))
    return Places(tuple(layers), _tokens(pruned))


def _tokens(pruned: PrunedGraph) -> tuple[TokenPlace, ...]:
    graph = pruned.graph
    tokens, errors = (_by_position(pruned, kind) for kind in (NodeKind.EMBEDDING, NodeKind.ERROR))
    started = tokens + errors
    whole = float(started.sum())
    return tuple(
        TokenPlace(
            p, graph.info.tokens[p], float(errors[p] / started[p]), float(started[p]) / whole
        )
        for p in np.flatnonzero(started > 0).tolist()
    )


def _by_position(pruned: PrunedGraph, kind: NodeKind) -> Floats:
    nodes = pruned.graph.nodes
    rows = nodes.of_kind(kind)
    found: Floats = np.bincount(
        nodes.position[rows],
        weights=pruned.influence[rows],
        minlength=len(pruned.graph.info.tokens),
    ).astype(np.float64)
    return found
