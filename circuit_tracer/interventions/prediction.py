"""What a graph foretells of an intervention: along the edge alone, and along all routes.

A changed node's contribution to whatever it feeds changes by the share by which it changes itself
(-1 when ablated). Its edge to a target times that share is the direct effect. The total effect lets
every expanded feature in between answer in proportion: its activation moves by the sum of what
reaches it, so its own contributions change by that sum over its activation. One walk up the layers
gives both. It is the first order: no feature starts or stops firing, no pattern and no norm moves.
Edges that a trace did not keep one by one are missing from both.

Shapes: n nodes, m edges, k interventions, t targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph
from circuit_tracer.interventions.routes import arriving, let_answer


@dataclass(frozen=True)
class Prediction:
    """Changes of the targets' (centred) logits, one row an intervention."""

    direct: Floats
    """(k, t) along the edges from the changed nodes alone."""
    total: Floats
    """(k, t) along all routes, those through other features included. Features without a row
    (a budget left them out) answer to nothing."""


def predict(graph: Graph, shares: list[dict[int, float]]) -> Prediction:
    """`shares` gives, per intervention, changed rows of the node table and by which share each
    changes: times - 1, so -1 for an ablation."""
    moved = np.zeros((len(graph.nodes), len(shares)))
    for column, rows in enumerate(shares):
        for row, share in rows.items():
            moved[row, column] = share
    targets = graph.target_rows
    first, end = int(targets[0]), int(targets[-1]) + 1
    direct = arriving(graph, moved, first, end)
    let_answer(graph, moved)
    return Prediction(direct=direct.T, total=arriving(graph, moved, first, end).T)
