"""How far a gated neuron's real response departs from the edges of the neuron basis.

There a gate's ratio is frozen and the product split in halves, so that contributions add up to the
activation (method.md section 1). That is not the tangent of the gate: where both factors of the
product grow, the activation moves about twice as far as the edges predict, however small the
change. Here sources are changed by more and more, attention, norms and all other MLP outputs
frozen, and every later neuron's real activation is compared with its edges.
"""

from __future__ import annotations

import numpy as np

from circuit_tracer.experiments.kit.statistics import spearman
from circuit_tracer.experiments.trust.passes import Subject, responses
from circuit_tracer.experiments.trust.results import Departure
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.interventions.prediction import along_edges, change_shares

CHANGES = (-0.01, -0.1, -0.5, -1.0, -2.0)
"""Shares by which sources change: -1 ablates, -2 turns round."""
GATED = 20
"""Most sources."""


def departures(subject: Subject, rows: Ints) -> tuple[Departure, ...]:
    """For each size of change; sources are `rows`, or some of them spread over all."""
    graph, rows = subject.graph, _spread(rows)
    later = (graph.nodes.kind == NodeKind.FEATURE) & graph.nodes.expanded
    found = []
    for share in CHANGES:
        edges = along_edges(graph, change_shares(graph, ({int(row): share} for row in rows)))
        changes = subject.changes(rows, 1 + share)
        real = responses(subject, changes, "everything", linear=False).values
        joined = (edges != 0) & later[:, None]
        size, off = (_norms(values, joined) for values in (edges, real - edges))
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


def _spread(rows: Ints) -> Ints:
    """Some of them, of every layer: the first and the last among them."""
    few: Ints = rows[np.linspace(0, len(rows) - 1, min(len(rows), GATED)).round().astype(int)]
    return few


def _norms(values: Floats, joined: Floats) -> Floats:
    """(k,) of each column, over the nodes that an edge joins to its source."""
    norms: Floats = np.sqrt((np.where(joined, values, 0.0) ** 2).sum(0))
    return norms


def _slope(edges: Floats, real: Floats) -> float:
    size = float(edges @ edges)
    return float(edges @ real) / size if size > 0 else float("nan")
