"""Supernodes of a graph with what is reported of them: scores, edges and routes.

How good a grouping is, is said against random groupings of the same sizes.

Three scores a group: do its members fire on the same tokens (their cards), are their edges more
alike than those of other groups (the silhouette of Rousseeuw, 1987), and do they move together
when the model is intervened on. The last needs measured effects, which the caller brings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from circuit_tracer.graphs.graph import Floats, Ints, node_names
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.graph import (
    GroupPath,
    SupernodeGraph,
    group_paths,
    supernode_graph,
)
from circuit_tracer.graphs.supernodes.grouping import (
    THRESHOLD,
    Reading,
    Similarity,
    Supernode,
    find_supernodes,
    overlaps,
    similarity,
)

SHUFFLES = 200


@dataclass(frozen=True)
class GroupScores:
    """One supernode's scores; None where it is not defined."""

    consistency: float | None
    """Mean overlap, over its pairs of members, of the tokens they fire on: 0..1."""
    silhouette: float | None
    """Mean over its members of (b - a) / max(a, b), where a is the mean edge distance (1 - cosine)
    to the other members and b that to the nearest other group (features outside all groups are
    groups of their own): -1..1, and 0 for no structure."""
    coherence: float | None
    """Mean cosine, over its pairs, of what interventions do to its members: -1..1."""


@dataclass(frozen=True)
class Figure:
    """One score of the whole grouping, the mean over groups by their number of members."""

    value: float
    random: float
    """Mean of random groupings of the same sizes (at the same tokens, where groups keep to one)."""
    p: float
    """Share of those, this one counted in, that score at least as high."""


def group_scores(
    groups: Sequence[Supernode],
    alike: Similarity,
    *,
    readings: Sequence[Reading] | None = None,
    effects: Mapping[int, Floats] | None = None,
) -> list[GroupScores]:
    """The scores of each group, in their order.

    `readings` belong to `alike.rows`. `effects` gives, for rows of the node table, what was
    measured when that feature was intervened on, say the change of every logit: one vector a
    feature, all of one length; features without one do not count.
    """
    pairs = _pair_measures(alike, readings, effects)
    members = _members(groups, alike)
    spread = _silhouettes(members, 1 - alike.edges)
    return [
        GroupScores(
            consistency=_mean_pair(pairs.get("consistency"), one),
            silhouette=None if len(one) < 2 else float(spread[one].mean()),
            coherence=_mean_pair(pairs.get("coherence"), one),
        )
        for one in members
    ]


def against_random(
    pruned: PrunedGraph,
    groups: Sequence[Supernode],
    alike: Similarity,
    *,
    readings: Sequence[Reading] | None = None,
    effects: Mapping[int, Floats] | None = None,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> dict[str, Figure]:
    """The grouping's mean scores beside those of random groupings of the same sizes.

    Keys are the fields of `GroupScores`; a score that no group has is left out.
    """
    members = _members(groups, alike)
    measures = _pair_measures(alike, readings, effects)
    distance = 1 - alike.edges

    def means(groups: Sequence[Ints]) -> dict[str, float | None]:
        """Every score of a grouping, each group counting as often as it has members."""
        of_pairs = {
            name: _weighted([_mean_pair(measure, one) for one in groups], groups)
            for name, measure in measures.items()
        }
        return of_pairs | {"silhouette": _silhouette(groups, distance)}

    rng = np.random.default_rng(seed)
    positions = pruned.graph.nodes.position[alike.rows]
    pools = positions.astype(np.int64) if alike.same_position else np.zeros(len(positions), int)
    random = [means(_shuffled(members, pools, rng)) for _ in range(shuffles)]
    figures = {}
    for name, value in means(members).items():
        if value is None:
            continue
        chance = [score for drawn in random if (score := drawn[name]) is not None]
        higher = sum(score >= value - 1e-12 for score in chance)
        mean = float(np.mean(chance)) if chance else float("nan")
        figures[name] = Figure(value, mean, (1 + higher) / (1 + len(chance)))
    return figures


def _members(groups: Sequence[Supernode], alike: Similarity) -> list[Ints]:
    """Places in `alike.rows` of each group's features; other nodes do not count."""
    place = {row: i for i, row in enumerate(alike.rows.tolist())}
    return [
        np.array([place[row] for row in group.rows if row in place], dtype=np.int64)
        for group in groups
    ]


def _pair_measures(
    alike: Similarity,
    readings: Sequence[Reading] | None,
    effects: Mapping[int, Floats] | None,
) -> dict[str, Floats]:
    """(n, n) what is averaged over pairs; NaN where nothing is known of a pair."""
    measures = {}
    if readings is not None:
        shares = [one.fires_on for one in readings]
        unknown = np.array([not one for one in shares], dtype=np.bool_)
        overlap = overlaps(shares)
        overlap[unknown] = overlap[:, unknown] = np.nan
        measures["consistency"] = overlap
    if effects:
        width = len(next(iter(effects.values())))
        table = np.full((len(alike.rows), width), np.nan)
        for place, row in enumerate(alike.rows.tolist()):
            if row in effects:
                table[place] = effects[row]
        length = np.linalg.norm(table, axis=1, keepdims=True)
        unit = np.divide(table, length, out=np.full_like(table, np.nan), where=length > 0)
        measures["coherence"] = unit @ unit.T
    return measures


def _mean_pair(measure: Floats | None, members: Ints) -> float | None:
    if measure is None or len(members) < 2:
        return None
    first, second = np.triu_indices(len(members), 1)
    values = measure[members[first], members[second]]
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _weighted(values: Sequence[float | None], members: Sequence[Ints]) -> float | None:
    """The mean over groups, each as often as it has members; None if none has a value."""
    known = [(v, len(one)) for v, one in zip(values, members, strict=True) if v is not None]
    return sum(v * n for v, n in known) / sum(n for _, n in known) if known else None


def _silhouette(members: Sequence[Ints], distance: Floats) -> float | None:
    """The mean over all features in groups of several; None if there are none."""
    inside = np.concatenate([one for one in members if len(one) > 1] or [np.zeros(0, np.int64)])
    return float(_silhouettes(members, distance)[inside].mean()) if len(inside) else None


def _silhouettes(members: Sequence[Ints], distance: Floats) -> Floats:
    """(n,) the silhouette of every feature; 0 for one alone."""
    n = len(distance)
    label = len(members) + np.arange(n)  # alone, unless in a group
    for number, one in enumerate(members):
        label[one] = number
    _, label, size = np.unique(label, return_inverse=True, return_counts=True)
    order = np.argsort(label, kind="stable")
    starts = np.cumsum(size) - size
    sums = np.add.reduceat(distance[:, order], starts, axis=1) if n else np.zeros((0, 0))
    own, others = sums[np.arange(n), label], size[label] - 1
    inner = np.divide(own, others, out=np.zeros(n), where=others > 0)
    means = sums / size
    means[np.arange(n), label] = np.inf
    outer = means.min(axis=1, initial=np.inf)
    larger = np.maximum(inner, outer)
    valid = (others > 0) & np.isfinite(outer) & (larger > 0)
    return np.where(
        valid, (np.where(valid, outer, 0.0) - inner) / np.where(valid, larger, 1.0), 0.0
    )


def _shuffled(members: Sequence[Ints], pools: Ints, rng: np.random.Generator) -> list[Ints]:
    """Groups of the same sizes, their members drawn at random; each keeps its mix of pools."""
    order = np.arange(len(pools))
    for pool in np.unique(pools):
        inside = np.flatnonzero(pools == pool)
        order[inside] = rng.permutation(inside)
    return [order[one] for one in members]


@dataclass(frozen=True)
class ScoredGroups:
    """Groups of a graph's kept features."""

    pruned: PrunedGraph
    groups: tuple[Supernode, ...]
    scores: tuple[GroupScores, ...]
    """One a group."""
    figures: Mapping[str, Figure]
    """The grouping's mean scores beside those of random ones of the same sizes."""
    whole: SupernodeGraph
    paths: tuple[GroupPath, ...]

    def record(self) -> dict[str, Any]:
        """Everything as JSON values."""
        rows, nodes = node_names(self.pruned.graph), self.whole.nodes
        return {
            "supernodes": [
                {
                    "name": group.name,
                    "nodes": [rows[row] for row in group.rows],
                    "influence": float(self.pruned.influence[list(group.rows)].sum()),
                    **vars(score),
                }
                for group, score in zip(self.groups, self.scores, strict=True)
            ],
            "figures": self.figures,
            "edges": [
                {
                    **vars(edge),
                    "source": nodes[edge.source].name,
                    "target": nodes[edge.target].name,
                }
                for edge in self.whole.edges
            ],
            "routes": [
                {**vars(path), "nodes": [nodes[node].name for node in path.nodes]}
                for path in self.paths
            ],
        }


def scored_groups(
    pruned: PrunedGraph,
    groups: Sequence[Supernode] | None = None,
    *,
    threshold: float = THRESHOLD,
    same_position: bool = True,
    readings: Sequence[Reading] | None = None,
    decoders: Floats | None = None,
    effects: Callable[[], Mapping[int, Floats]] | None = None,
    k: int = 5,
    seed: int = 0,
) -> ScoredGroups:
    """Score groups, by default those that are found at a `threshold`, with the k best routes.

    `effects`, as in `group_scores`, are only measured where there are groups; the others are as in
    `similarity`.
    """
    alike = similarity(pruned, decoders=decoders, readings=readings, same_position=same_position)
    if groups is None:
        groups = find_supernodes(pruned, alike, threshold=threshold)
    measured = effects() if effects is not None and groups else None
    scores = group_scores(groups, alike, readings=readings, effects=measured)
    figures = against_random(pruned, groups, alike, readings=readings, effects=measured, seed=seed)
    whole = supernode_graph(pruned, groups)
    paths = group_paths(pruned, whole, k=k)
    return ScoredGroups(pruned, tuple(groups), tuple(scores), figures, whole, tuple(paths))
