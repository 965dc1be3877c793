"""Sufficiency and necessity of the kept features, against random sets of the same kind.

*Sufficiency*: every active feature outside the kept set is ablated; how much of the target stays?
*Necessity*: the kept features are ablated; how much stays then? Tokens, attention and errors stay
in both; a second sufficiency removes the errors as well. What stays is

    (value with the change - value with all features ablated) / (value - value with all ablated),

1 for nothing lost. The value is the targets' logit minus the mean logit (the difference of two for
a contrast), the graph's own targets with their weights. It is NaN where all features together move
the value by less than a tenth of it: then they are not what decides.

A random set has, of every layer and every fifth of its features by activation, as many as the kept
set has. Measured in the model with nothing held, and with attention and MLP outputs held but for
the change (constrained): kept features then stay at their natural activations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.trust.passes import Held, Subject, answers
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.interventions.spec import Intervention

THRESHOLDS = (0.4, 0.6, 0.8, 0.9, 0.95)
FIFTHS = 5
LEAST_MOVED = 0.1


@dataclass(frozen=True)
class Random:
    """What stays with matched random sets in the place of the kept one."""

    median: float
    low: float
    high: float
    """Smallest and largest."""


@dataclass(frozen=True)
class AtThreshold:
    """One node threshold."""

    threshold: float
    features: int
    """Kept features."""
    of: int
    """Active features."""
    sufficiency: float
    sufficiency_without_errors: float
    """NaN without error nodes."""
    random_sufficiency: Random
    necessity: float
    """What stays without the kept features: low, if they are needed."""
    random_necessity: Random

    @property
    def beats_random(self) -> bool:
        """Whether more stays than with any of the random sets."""
        return self.sufficiency > self.random_sufficiency.high


@dataclass(frozen=True)
class Sufficiency:
    """With one thing held or another."""

    held: Held
    value: float
    """The target's value with nothing changed."""
    without: float
    """With all features ablated."""
    points: tuple[AtThreshold, ...]

    def at(self, threshold: float) -> AtThreshold:
        """The point whose threshold is nearest."""
        return min(self.points, key=lambda point: abs(point.threshold - threshold))


@dataclass(frozen=True)
class _Sets:
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
    ways: Sequence[Held] = ("constrained", "free"),
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda words: None,
) -> tuple[Sufficiency, ...]:
    """Curves over node thresholds; the graph's own is added where it is missing."""
    graph, generator = subject.graph, np.random.default_rng(seed)
    everything = _active(subject)
    strata = _strata(subject, everything)
    sets = []
    for threshold in sorted({*thresholds, pruned.node_threshold}):
        kept = _kept(pruned, threshold)
        random = tuple(_matched(strata, kept, generator) for _ in range(n_random))
        sets.append(_Sets(threshold, kept, random))
    changes = {int(row): subject.change(int(row))[0] for row in everything}
    errors = [subject.change(int(row))[0] for row in graph.nodes.of_kind(NodeKind.ERROR)]
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
    for held in ways:
        on_progress(f"sufficiency and necessity, {held}")
        after = answers(
            subject, interventions, held, every_node=False, mlps_held=held == "constrained"
        )
        weights = graph.nodes.weight[graph.target_rows]
        found.append(_curve(held, after.targets @ weights, sets, len(everything), bool(errors)))
    return tuple(found)


def _curve(held: Held, values: Floats, sets: list[_Sets], of: int, has_errors: bool) -> Sufficiency:
    value, without = float(values[0]), float(values[1])
    moved = value - without
    scale = moved if abs(moved) >= LEAST_MOVED * abs(value) else float("nan")
    stays = ((values - without) / scale)[2:]
    points, at = [], 0
    for one in sets:
        n = 1 + len(one.random)
        pairs, rest = stays[at : at + 2 * n].reshape(n, 2), float(stays[at + 2 * n])
        at += 2 * n + 1
        points.append(
            AtThreshold(
                threshold=one.threshold,
                features=len(one.kept),
                of=of,
                sufficiency=float(pairs[0, 0]),
                sufficiency_without_errors=rest if has_errors else float("nan"),
                random_sufficiency=_random(pairs[1:, 0]),
                necessity=float(pairs[0, 1]),
                random_necessity=_random(pairs[1:, 1]),
            )
        )
    return Sufficiency(held, value, without, tuple(points))


def _random(values: Floats) -> Random:
    if not len(values):
        return Random(float("nan"), float("nan"), float("nan"))
    return Random(float(np.median(values)), float(values.min()), float(values.max()))


def _active(subject: Subject) -> Ints:
    nodes = subject.graph.nodes
    rows: Ints = np.flatnonzero((nodes.kind == NodeKind.FEATURE) & (nodes.activation != 0))
    return rows


def _kept(pruned: PrunedGraph, threshold: float) -> Ints:
    same = threshold == pruned.node_threshold
    again = pruned
    if not same:
        again = prune(pruned.graph, node_threshold=threshold, edge_threshold=pruned.edge_threshold)
    rows: Ints = again.kept_rows[again.graph.nodes.kind[again.kept_rows] == NodeKind.FEATURE]
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
    found: Ints = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
    return found
