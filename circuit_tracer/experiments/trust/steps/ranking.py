"""Does a feature's influence predict how much its ablation does to the targets?

Anthropic's statistic: over features, the rank correlation of influence (unsigned, all routes,
direct ones among them) with the size of the effect of ablating the feature; 0.72 over 20 prompts.
The same again with what goes along direct edges left out on either side, over the features that
have a route through a further one: with attention frozen a direct effect is nearly forced. The
correlation of the direct edge alone stands beside each, since influence is worth its name only
where it predicts more. And signed: the graph's sum over all routes against the effect, and the
prediction with norms (and attention) responding where they are not frozen
(`interventions/linear.py`).

The effect is on the targets, by their weights: the sum of weight x change of the logit (minus the
mean logit; the difference of two for a contrast), by the size of each change where the effect
is unsigned. A cross-layer feature is ablated at its own layer; where later MLPs respond, they
stand in for its later decoders. Features are drawn from five strata by influence, the last layer's
included.
Source: method.md section 8; "Circuit Tracing" (Anthropic, March 2025), evaluation.

Shapes: k features, t targets, n nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuit_tracer.experiments.kit.statistics import rank_figure
from circuit_tracer.experiments.trust.passes import FREER_WAYS, Subject, responses
from circuit_tracer.experiments.trust.results import Frozen, Ranking, RankingWay
from circuit_tracer.graphs.graph import Floats, Graph, Ints
from circuit_tracer.graphs.influence import totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.interventions.prediction import ablation_shares, predict

RANKED = 100
"""Features of the sample."""
ROUNDING = 1e-9
"""Below this share of a feature's influence nothing goes on through another feature."""


def ranking(
    subject: Subject,
    pruned: PrunedGraph,
    rows: Ints,
    *,
    ways: Sequence[Frozen] = FREER_WAYS,
    seed: int = 0,
) -> Ranking:
    """Ablate features (rows of the node table) one by one and look at the targets alone."""
    graph = subject.graph
    weight = graph.nodes.weight[graph.target_rows]
    predicted = predict(graph, ablation_shares(graph, rows), targets_only=True)
    total, edge = weight @ predicted.total, np.abs(weight @ predicted.direct)
    influence = pruned.influence[rows]
    further = influence - _direct_influence(graph)[rows]
    beyond = further > ROUNDING * influence

    def moved(frozen: Frozen, **how: Any) -> Floats:
        return responses(subject, subject.changes(rows), frozen, every_node=False, **how).moved

    found = []
    for frozen in ways:
        whole = moved(frozen, writes="frozen")
        rest = moved(frozen, writes="own", freeze_mlps=True)
        size, size_beyond = np.abs(whole) @ weight, np.abs(whole - rest)[beyond] @ weight
        pairs = (
            (influence, size),
            (edge, size),
            (further[beyond], size_beyond),
            (edge[beyond], size_beyond),
            (total, whole @ weight),
            (moved(frozen, responding="graph") @ weight, whole @ weight),
        )
        figures = [rank_figure(expected, effect, seed=seed) for expected, effect in pairs]
        found.append(RankingWay(frozen, *figures))
    return Ranking(len(rows), int(beyond.sum()), tuple(found))


def _direct_influence(graph: Graph) -> Floats:
    """(n,) the part of the influence that goes along direct edges to the targets."""
    found, whole, nodes = np.zeros(len(graph.nodes)), totals(graph), graph.nodes
    targets = graph.target_rows
    edges = graph.edges.take(graph.edges.into(int(targets[0]), int(targets[-1]) + 1))
    scale = np.maximum(whole[edges.target], np.finfo(np.float64).tiny)
    shares = nodes.weight[edges.target] * np.abs(edges.weight) / scale
    np.add.at(found, edges.source, shares)
    return found
