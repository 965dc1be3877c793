"""What every node does to the targets of its graph: along its own edge, and along all routes.

The same first-order account as interventions/prediction.py, walked from the targets down, so that
one walk gives it for all nodes: a node adds its edges' weights to what they lead to, and a feature
there hands on its own effect in the proportion of that weight to its activation. A node's effect is
what the target would lose with the node ablated and every later feature responding in proportion.

Shapes: n nodes, t targets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph, NodeKind
from circuit_tracer.graphs.influence import chunks

MOST_TARGETS = 3
"""The first targets, whose effects are worked out; the others are far less likely."""
_EFFECTS = "_target_effects"
"""Under which a graph keeps them."""


class TargetEffects(NamedTuple):
    """Signed effects on the (centred) logits of the first targets; both (n, t)."""

    direct: Floats
    """Along the edge from the node to the target, through attention and norms alone."""
    total: Floats
    """Along all routes."""

    @property
    def indirect(self) -> Floats:
        """(n, t) along routes through at least one further feature."""
        return self.total - self.direct


def target_effects(graph: Graph) -> TargetEffects:
    """Effects on the first `MOST_TARGETS` targets; worked out once a graph.

    Tokens' effects are the exact ones where the graph has them (token_totals.py); edges that the
    trace did not keep are missing in all others.
    """
    known: TargetEffects | None = vars(graph).get(_EFFECTS)
    if known is None:
        known = _walked(graph)
        object.__setattr__(graph, _EFFECTS, known)  # no field: `replace` does not take it along
    return known


def _walked(graph: Graph) -> TargetEffects:
    nodes, edges = graph.nodes, graph.edges
    targets = graph.target_rows[:MOST_TARGETS]
    passed_on = np.zeros((len(nodes), len(targets)))  # per unit of a node's own value
    passed_on[targets, np.arange(len(targets))] = 1.0
    total = np.zeros_like(passed_on)
    direct = np.zeros_like(passed_on)
    able = (nodes.kind == NodeKind.FEATURE) & nodes.expanded & (nodes.activation != 0)
    for layer in np.unique(nodes.layer)[::-1]:
        rows = np.flatnonzero(nodes.layer == layer)
        first, end = int(rows[0]), int(rows[-1]) + 1  # rows of a layer lie together
        some = rows[able[rows]]
        passed_on[some] = total[some] / nodes.activation[some, None]
        into = edges.into(first, end)
        for part in chunks(into.start, into.stop):
            here = edges.take(part)
            for column in range(len(targets)):
                arriving = here.weight * passed_on[here.target, column]
                total[:, column] += np.bincount(here.source, arriving, minlength=len(nodes))
        if nodes.kind[first] == NodeKind.LOGIT:
            direct = total.copy()
    _put_exact(graph, direct, total)
    return TargetEffects(direct, total)


def _put_exact(graph: Graph, direct: Floats, total: Floats) -> None:
    """Tokens' own effects, to which no budget and no dropped edge matters, where they are known."""
    tokens = graph.nodes.of_kind(NodeKind.EMBEDDING)
    at = graph.nodes.position[tokens]
    for column, exact in enumerate(graph.info.totals[: total.shape[1]]):
        some = at < len(exact.total)
        direct[tokens[some], column] = np.asarray(exact.direct)[at[some]]
        total[tokens[some], column] = np.asarray(exact.total)[at[some]]
