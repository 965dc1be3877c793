"""Is the graph what the model computes? Its sums, and its edges with all else frozen in the model.

Both must hold to rounding: they test the graph, not the method. An edge with a wrong sign or a
constant left out breaks a sum; a decoder of another feature, or a norm that was not frozen, breaks
what a direct intervention gives.
"""

from __future__ import annotations

import numpy as np

from circuit_tracer.experiments.trust.passes import Subject, responses
from circuit_tracer.experiments.trust.results import Conservation, DirectCheck
from circuit_tracer.graphs.graph import Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.influence import chunks, totals
from circuit_tracer.interventions.prediction import ablation_shares, along_edges

GROSS_FLOOR = 0.01
"""Residuals are relative to a node's value, or to this share of all it receives if that is more."""
MOST_CHECKED = 150
"""Kept nodes whose edges are checked one by one, those of most influence."""
TOLERANCES = {"float64": 1e-8, "float32": 2e-3, "tf32": 5e-2, "bf16": 2e-1}
"""How far direct effects may be from the edges, by what the sweep computed in: relative to the
largest edge of the target. Each is a difference of two passes, so float32 loses some digits."""


def conservation(graph: Graph) -> Conservation:
    """Add up every row of the stored graph again; its tolerance is doubled for the rounding."""
    nodes, n = graph.nodes, len(graph.nodes)
    sums = np.zeros(n)
    for part in chunks(0, len(graph.edges)):
        edges = graph.edges.take(part)
        sums += np.bincount(edges.target, weights=edges.weight, minlength=n)
    known = np.isfinite(nodes.value) & np.isfinite(nodes.constant)
    constant = np.where(known, nodes.constant, 0.0)
    found = sums + nodes.dropped + constant
    lower = graph.info.dtype in ("bf16", "tf32")
    floor = (1.0 if lower else GROSS_FLOOR) * (totals(graph) + np.abs(constant))
    scale = np.maximum(np.abs(np.where(known, nodes.value, 0.0)), floor)
    missing = np.abs(found - np.where(known, nodes.value, 0.0))
    residual = np.where(known, missing / np.maximum(scale, np.finfo(np.float64).tiny), 0.0)
    worst = int(np.argmax(residual))
    return Conservation(
        residual=float(residual[worst]),
        stored=graph.info.conservation_residual,
        tolerance=2 * graph.info.conservation_tolerance,
        worst=node_name(graph, worst),
    )


def direct_check(subject: Subject, rows: Ints) -> DirectCheck:
    """Ablate nodes (features, errors, embeddings) one by one and compare every edge."""
    graph = subject.graph
    edges = along_edges(graph, ablation_shares(graph, rows))
    measured = responses(subject, subject.changes(rows), "everything").values
    nodes = graph.nodes
    has_inputs = (nodes.kind == NodeKind.FEATURE) | (nodes.kind == NodeKind.LOGIT)
    comparable = (nodes.expanded & has_inputs)[:, None]
    # Of a row some of whose edges were dropped, an edge may rightly be missing.
    known = comparable & ((nodes.dropped_total == 0)[:, None] | (edges != 0))
    whole = np.abs(np.where(np.isfinite(nodes.value), nodes.value, 0.0))
    size = np.maximum(np.abs(edges).max(1), np.maximum(GROSS_FLOOR * totals(graph), 1e-3 * whole))
    scale = np.maximum(size, np.finfo(np.float64).tiny)[:, None]
    off = np.divide(np.abs(measured - edges), scale, out=np.zeros_like(edges), where=known)
    target, source = np.unravel_index(int(np.argmax(off)), off.shape)
    reached = known & (edges != 0)
    name = f"{node_name(graph, int(rows[source]))} -> {node_name(graph, int(target))}"
    return DirectCheck(
        error=float(off[target, source]),
        median=float(np.median(off[reached])) if reached.any() else float("nan"),
        tolerance=TOLERANCES[graph.info.dtype],
        sources=len(rows),
        pairs=int(reached.sum()),
        worst=name,
    )
