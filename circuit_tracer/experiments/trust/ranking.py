"""Does a feature's influence say how much its ablation does to the targets?

Anthropic's statistic: over features, the rank correlation of influence (unsigned, all routes,
direct ones among them) with the size of the effect of ablating the feature; 0.72 over 20 prompts.
The same again with what goes along direct edges left out on either side, over the features that
have a route through a further one: with attention held a direct effect is nearly forced. What the
direct edge alone says of either effect stands beside it, since influence is worth its name only
where it says more. And with signs: the graph's sum over all routes against the effect, and the same
forecast with norms (and attention) answering where they are not held (`linear.py`).

The effect is on the targets, by their weights: the sum of weight x change of the logit (minus the
mean logit; the difference of two for a contrast), with the size of each change where signs do not
count. A cross-layer feature is ablated at its own layer; where later MLPs answer, they answer for
its later decoders. Features are drawn from five strata by influence, the last layer's among them.
Source: method.md section 8; "Circuit Tracing" (Anthropic, March 2025), evaluation.

Shapes: k features, t targets, n nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit_tracer.experiments.kit.statistics import rank_figure
from circuit_tracer.experiments.trust.passes import Held, Subject, answers
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats, Graph, Ints
from circuit_tracer.graphs.influence import totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.interventions.prediction import ablation_shares, predict

WAYS: tuple[Held, ...] = ("constrained", "free")
RANKED = 100
"""Features of the sample."""
ROUNDING = 1e-9
"""Below this share of a feature's influence nothing goes on through another feature."""


@dataclass(frozen=True)
class RankedHeld:
    """Spearman correlations with one thing held or another, over features."""

    held: Held
    influence: Interval
    """Influence against the size of the effect: Anthropic's statistic."""
    direct: Interval
    """The size of the direct edge alone against the same."""
    influence_beyond: Interval
    """Influence through further features against the effect that came through further MLPs."""
    direct_beyond: Interval
    """The size of the direct edge alone against the same."""
    signed: Interval
    """The graph's signed sum over all routes against the effect."""
    signed_answering: Interval
    """The forecast in which norms and attention answer where they are not held against the same."""


@dataclass(frozen=True)
class Ranking:
    """The whole test."""

    features: int
    beyond: int
    """Those with a route through a further feature."""
    by_held: tuple[RankedHeld, ...]

    def at(self, held: Held) -> RankedHeld:
        """One of them."""
        return next(one for one in self.by_held if one.held == held)


def ranking(
    subject: Subject,
    pruned: PrunedGraph,
    rows: Ints,
    *,
    ways: Sequence[Held] = WAYS,
    seed: int = 0,
) -> Ranking:
    """Ablate features (rows of the node table) one by one and look at the targets alone."""
    graph = subject.graph
    weight = graph.nodes.weight[graph.target_rows]
    foretold = predict(graph, ablation_shares(graph, rows))
    total, edge = (weight @ part[graph.target_rows] for part in (foretold.total, foretold.direct))
    edge = np.abs(edge)
    influence = pruned.influence[rows]
    further = influence - _direct_influence(graph)[rows]
    beyond = further > ROUNDING * influence
    interventions = [subject.change(int(row)) for row in rows]

    def moved(held: Held, **how: Any) -> Floats:
        return answers(subject, interventions, held, every_node=False, **how).moved

    found = []
    for held in ways:
        whole = moved(held, writes="frozen")
        rest = moved(held, writes="own", mlps_held=True)
        size, size_beyond = np.abs(whole) @ weight, np.abs(whole - rest)[beyond] @ weight
        pairs = (
            (influence, size),
            (edge, size),
            (further[beyond], size_beyond),
            (edge[beyond], size_beyond),
            (total, whole @ weight),
            (moved(held, graph_answers=True) @ weight, whole @ weight),
        )
        figures = [rank_figure(expected, effect, seed=seed) for expected, effect in pairs]
        found.append(RankedHeld(held, *figures))
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
