"""Is the graph what it says it is? Its sums, and its edges against the model with all else held.

Both must hold to rounding: they test the graph, not the method. An edge with a wrong sign or a
constant left out breaks a sum; a decoder of another feature, or a norm that was not frozen, breaks
what a direct intervention gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.trust.passes import Subject, answers
from circuit_tracer.graphs.graph import Bools, Floats, Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.influence import chunks, totals
from circuit_tracer.interventions.prediction import ablation_shares, along_edges

GROSS_FLOOR = 0.01
"""Residuals are relative to a node's value, or to this share of all it receives if that is more."""
MOST_CHECKED = 150
"""Kept nodes whose edges are checked one by one, those of most influence."""
TOLERANCES = {"float64": 1e-8, "float32": 2e-3, "tf32": 5e-2, "bf16": 2e-1}
"""How far direct effects may be from the edges, by what the sweep computed in: relative to the
largest edge of the target. Each is a difference of two passes, so float32 loses some digits."""


@dataclass(frozen=True)
class Conservation:
    """Edges + what was not kept + constant against the value, over all nodes with inputs."""

    residual: float
    """The largest, relative; recomputed from the edges as they are stored."""
    stored: float
    """What the trace itself found."""
    tolerance: float
    worst: str
    """The node it belongs to."""

    @property
    def holds(self) -> bool:
        """Whether the sums are right."""
        return self.residual <= self.tolerance


@dataclass(frozen=True)
class DirectCheck:
    """Edges against ablations with attention, norms and MLP outputs held (not evidence: forced)."""

    error: float
    """Largest difference, relative to the largest change of that node by any of the sources."""
    median: float
    tolerance: float
    sources: int
    pairs: int
    worst: str
    """The edge it belongs to: "L1/5@3 -> L4/7@3"."""

    @property
    def holds(self) -> bool:
        """Whether the edges are what the model does."""
        return self.error <= self.tolerance


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
    measured = answers(subject, [subject.change(int(row)) for row in rows], "still").values
    comparable = _comparable(graph)
    known = (comparable & _whole(graph))[:, None] | (comparable[:, None] & (edges != 0))
    whole = np.abs(np.where(np.isfinite(graph.nodes.value), graph.nodes.value, 0.0))
    size = np.maximum(np.abs(edges).max(1), np.maximum(GROSS_FLOOR * totals(graph), 1e-3 * whole))
    scale = np.maximum(size, np.finfo(np.float64).tiny)[:, None]
    off = np.divide(np.abs(measured - edges), scale, out=np.zeros_like(edges), where=known)
    target, source = np.unravel_index(int(np.argmax(off)), off.shape)
    reached = known & (edges != 0)
    name = f"{node_name(graph, int(rows[source]))} -> {node_name(graph, int(target))}"
    return DirectCheck(
        error=float(off[target, source]),
        median=_median(off[reached]),
        tolerance=TOLERANCES[graph.info.dtype],
        sources=len(rows),
        pairs=int(reached.sum()),
        worst=name,
    )


def _comparable(graph: Graph) -> Bools:
    """Rows that have edges."""
    nodes = graph.nodes
    has_inputs: Bools = (nodes.kind == NodeKind.FEATURE) | (nodes.kind == NodeKind.LOGIT)
    return nodes.expanded & has_inputs


def _whole(graph: Graph) -> Bools:
    """Rows all of whose edges were kept: of others an edge may rightly be missing."""
    kept: Bools = graph.nodes.dropped_total == 0
    return kept


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else float("nan")
