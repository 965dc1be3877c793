"""Sufficiency and necessity of the kept features, against random sets of the same kind.

*Sufficiency*: every active feature outside the kept set is ablated; how much of the target stays?
*Necessity*: the kept features are ablated; how much stays then? Tokens, attention and errors stay
in both; a second sufficiency removes the errors as well. What stays is

    (value with the change - value with all features ablated) / (value - value with all ablated),

1 for nothing lost. The value is the targets' logit minus the mean logit (the difference of two for
a contrast), the graph's own targets with their weights. It is NaN where all features together move
the value by less than a tenth of it: then they are not what decides.

A random set has, of every layer and every fifth of its features by activation, as many as the kept
set has. Measured in the model with nothing frozen, and with attention and MLP outputs frozen except
for the change: kept features then stay at their natural activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.trust.passes import FREER_WAYS, Subject, responses
from circuit_tracer.experiments.trust.results import AtThreshold, Frozen, Random, Sufficiency
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.interventions.spec import Intervention

THRESHOLDS = (0.4, 0.6, 0.8, 0.9, 0.95)
FIFTHS = 5
LEAST_MOVED = 0.1


class _Sets(NamedTuple):
    """A threshold's kept set and its random ones, as rows of the node table."""

    threshold: float
    kept: Ints
    random: tuple[Ints, ...]


def sufficiency(
    subject: Subject,
    pruned: PrunedGraph,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    n_random: int = 20,
    seed: int = 0,
) -> tuple[Sufficiency, ...]:
    """Curves over node thresholds; the graph's own is added where it is missing."""
    graph, generator = subject.graph, np.random.default_rng(seed)
    nodes = graph.nodes
    everything = np.flatnonzero((nodes.kind == NodeKind.FEATURE) & (nodes.activation != 0))
    strata = _strata(subject, everything)
    sets = []
    for threshold in sorted({*thresholds, pruned.node_threshold}):
        kept = _kept(pruned, threshold)
        random = tuple(_matched(strata, kept, generator) for _ in range(n_random))
        sets.append(_Sets(threshold, kept, random))
    changes = dict(zip(everything.tolist(), subject.ablation(everything), strict=True))
    errors = subject.ablation(nodes.of_kind(NodeKind.ERROR))
    interventions: list[Intervention] = [(), tuple(changes.values())]
    for one in sets:
        for rows in (one.kept, *one.random):
            inside = set(rows.tolist())
            outside = tuple(change for row, change in changes.items() if row not in inside)
            interventions += [outside, tuple(changes[row] for row in rows.tolist())]
        interventions.append(
            (*interventions[-2 * (1 + len(one.random))], *errors) if errors else ()
        )
    found = []
    for frozen in FREER_WAYS:
        after = responses(
            subject, interventions, frozen, every_node=False, freeze_mlps=frozen == "attention"
        )
        values = after.targets @ nodes.weight[graph.target_rows]
        found.append(_curve(frozen, values, sets, len(everything), bool(errors)))
    return tuple(found)


def _curve(
    frozen: Frozen, values: Floats, sets: list[_Sets], of: int, has_errors: bool
) -> Sufficiency:
    value, without = float(values[0]), float(values[1])
    moved = value - without
    scale = moved if abs(moved) >= LEAST_MOVED * abs(value) else float("nan")
    stays = ((values - without) / scale)[2:]
    points = []
    for one, block in zip(sets, stays.reshape(len(sets), -1), strict=True):
        pairs, without_errors = block[:-1].reshape(-1, 2), float(block[-1])
        points.append(
            AtThreshold(
                threshold=one.threshold,
                features=len(one.kept),
                of=of,
                sufficiency=float(pairs[0, 0]),
                sufficiency_without_errors=without_errors if has_errors else float("nan"),
                random_sufficiency=_random(pairs[1:, 0]),
                necessity=float(pairs[0, 1]),
                random_necessity=_random(pairs[1:, 1]),
            )
        )
    return Sufficiency(frozen, value, without, tuple(points))


def _random(values: Floats) -> Random:
    if not len(values):
        return Random(float("nan"), float("nan"), float("nan"))
    return Random(float(np.median(values)), float(values.min()), float(values.max()))


def _kept(pruned: PrunedGraph, threshold: float) -> Ints:
    if threshold != pruned.node_threshold:
        pruned = prune(pruned.graph, node_threshold=threshold, edge_threshold=pruned.edge_threshold)
    features = pruned.graph.nodes.kind[pruned.kept_rows] == NodeKind.FEATURE
    rows: Ints = pruned.kept_rows[features]
    return rows


def _strata(subject: Subject, rows: Ints) -> list[Ints]:
    """Features by layer and, within it, fifths by (absolute) activation."""
    nodes, strata = subject.graph.nodes, []
    for layer in np.unique(nodes.layer[rows]):
        of_layer = rows[nodes.layer[rows] == layer]
        order = np.argsort(np.abs(nodes.activation[of_layer]), kind="stable")
        strata += np.array_split(of_layer[order], FIFTHS)
    return strata


def _matched(strata: list[Ints], kept: Ints, generator: np.random.Generator) -> Ints:
    parts = [
        generator.choice(stratum, int(np.isin(stratum, kept).sum()), replace=False)
        for stratum in strata
        if len(stratum)
    ]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
