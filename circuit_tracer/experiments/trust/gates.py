"""How far a gated neuron's real answer departs from the edges of the neuron basis.

There a gate's ratio is held and the product split in halves, so that contributions add up to the
activation (method.md section 1). That is not the tangent of the gate: where both factors of the
product grow, the activation moves about twice as far as the edges say, however small the change.
Here sources are changed by more and more, attention, norms and all other MLP outputs held, and
every later neuron's real activation is set beside its edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.kit.statistics import spearman
from circuit_tracer.experiments.trust.passes import Subject, answers
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.interventions.prediction import along_edges, change_shares
from circuit_tracer.interventions.selection import change_of
from circuit_tracer.interventions.spec import Strength

CHANGES = (-0.01, -0.1, -0.5, -1.0, -2.0)
"""Shares by which sources change: -1 ablates, -2 turns round."""
GATED = 20
"""Most sources."""


@dataclass(frozen=True)
class Departure:
    """Direct effects in the model with real gates against the graph's edges."""

    change: float
    """Share by which the sources change."""
    error: float
    """Norm of the difference over the norm of the edges, over later neurons: median of sources."""
    slope: float
    """How far the real activations move for each unit that the edges say (least squares)."""
    spearman: float
    """Over all pairs of a source and a later neuron."""


def departures(subject: Subject, rows: Ints) -> tuple[Departure, ...]:
    """For each size of change; sources are `rows`, or some of them spread over all."""
    graph, rows = subject.graph, rows[:: max(1, len(rows) // GATED)][:GATED]
    later = (graph.nodes.kind == NodeKind.FEATURE) & graph.nodes.expanded
    found = []
    for share in CHANGES:
        edges = along_edges(graph, change_shares(graph, ({int(row): share} for row in rows)))
        changes = [(change_of(graph, int(row), Strength(1 + share)),) for row in rows]
        real = answers(subject, changes, "still", linear=False).values
        joined = (edges != 0) & later[:, None]
        size = np.sqrt((np.where(joined, edges, 0.0) ** 2).sum(0))
        off = np.sqrt((np.where(joined, real - edges, 0.0) ** 2).sum(0))
        error = off[size > 0] / size[size > 0]
        found.append(
            Departure(
                change=share,
                error=float(np.median(error)) if len(error) else float("nan"),
                slope=_slope(edges[joined], real[joined]),
                spearman=spearman(edges[joined], real[joined]),
            )
        )
    return tuple(found)


def _slope(edges: Floats, real: Floats) -> float:
    size = float(edges @ edges)
    return float(edges @ real) / size if size > 0 else float("nan")
