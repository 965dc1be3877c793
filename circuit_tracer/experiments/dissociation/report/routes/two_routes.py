"""Two routes of one model side by side: what a figure of a fact and of its truth check shows.

1. The two pruned graphs are merged (graphs/comparing/merging.py): equal features at positions that
   belong together are one. Each is of both routes or of one alone, by which graph keeps it. How
   many of them are in the route sets that the experiment chose on other objects is counted.
2. Features of one column, one owner and one side of the early layers' end may be grouped, by
   average linkage (graphs/supernodes/grouping.py). The linkage is as strict as it can be with the
   largest groups of each graph still covering most of the influence of its features: what does not
   fit is left out.
3. Each graph keeps of these groups the members that it has itself (route.py).

The result is plain data: a figure can be drawn from it without the graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.route import (
    Box,
    Route,
    TracedRoute,
    route,
)
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.step_results import SetName
from circuit_tracer.graphs.comparing.alignment import align
from circuit_tracer.graphs.comparing.merging import MergedGraph, Owner, merge
from circuit_tracer.graphs.files.exchange import open_graph
from circuit_tracer.graphs.graph import Bools, Ints, NodeKind
from circuit_tracer.graphs.head_loadings import load_heads
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.grouping import (
    Reading,
    Similarity,
    average_linkage,
    feature_rows,
    group_name,
    similarity,
)

Readings = Callable[[Sequence[tuple[int, int]]], Sequence[Reading]]
"""(layer, feature) of some features -> what their cards say."""

OBJECT = "object"
"""The role at which early sets count: the experiment's stores."""
MOST_BOXES = 7
"""Supernodes a side: with tokens and targets as many as a reader takes in."""
ENOUGH = 0.85
"""Share of a graph's kept feature influence that its drawn supernodes should cover."""
MOST_FEATURES = 400
"""Features that are grouped, the strongest of both graphs."""
THRESHOLDS = tuple(0.7 - 0.02 * step for step in range(36))
SET_OWNERS: dict[SetName, Owner] = {"F": Owner.FIRST, "V": Owner.SECOND, "S": Owner.BOTH}


@dataclass(frozen=True)
class TwoRoutes:
    """Both routes."""

    fact: Route
    judgement: Route
    early_layers: int
    """Layers that count as early; supernodes do not cross their end."""

    @property
    def both(self) -> tuple[Route, Route]:
        """The fact's first."""
        return self.fact, self.judgement


def routes_of(
    report: Report, folder: Path, *, readings: Readings | None = None, most: int = MOST_BOXES
) -> TwoRoutes | None:
    """The two routes of a report's representative item, whose traces lie in its folder.

    Counted are the sets that were chosen on the other half of the objects. None for a report
    without an item. Raises GraphFileError for a trace that can't be read.
    """
    item = report.item
    if item is None:
        return None
    sides = []
    for family in (item.fact, item.judgement):
        at = folder / item.graphs[family]
        pruned = open_graph(at)
        sides.append(TracedRoute(pruned, item.roles[family], load_heads(pruned, at)))
    sets = {
        (member.layer, member.feature): SET_OWNERS[one.name]
        for one in report.sets
        if one.half != item.half
        for member in one.members
    }
    early = report.early_layers
    return two_routes(*sides, sets=sets, early_layers=early, readings=readings, most=most)


def two_routes(
    fact: TracedRoute,
    judgement: TracedRoute,
    *,
    sets: Mapping[tuple[int, int], Owner] | None = None,
    early_layers: int,
    readings: Readings | None = None,
    most: int = MOST_BOXES,
) -> TwoRoutes:
    """Both graphs, of one model and dictionary, at supernode level, at most `most` a side.

    `sets` are the route sets by (layer, feature): of early layers they count at the object alone,
    of later ones everywhere. `readings` are what cards say of where features fire and what they
    promote. Raises UsageError for roles outside a prompt.
    """
    sides = (fact, judgement)
    columns = align(fact.pruned.graph, judgement.pruned.graph, roles=(fact.roles, judgement.roles))
    both = _both(merge(fact.pruned, judgement.pruned, columns), sides, sets or {}, early_layers)
    groups = _groups(both, sides, readings, most)
    drawn = [
        route(side, _of_side(both, groups, number, side.pruned), most=most)
        for number, side in enumerate(sides)
    ]
    return TwoRoutes(drawn[0], drawn[1], early_layers)


class _Both(NamedTuple):
    """Both graphs as one: its n nodes, and what is known of each."""

    pruned: PrunedGraph
    rows: Ints
    """(n, 2) rows of the two graphs' node tables; -1 in one that does not keep it."""
    owner: Ints
    """(n,) an `Owner`."""
    is_early: Bools
    is_store: Bools
    """Early, at the object."""
    is_chosen: Bools
    """Whether it is in the route set of its owner."""


def _both(
    merged: MergedGraph,
    sides: Sequence[TracedRoute],
    sets: Mapping[tuple[int, int], Owner],
    early_layers: int,
) -> _Both:
    nodes, rows = merged.pruned.graph.nodes, np.array(merged.rows)
    owner = merged.node_owner.astype(np.int64)
    at_object = np.zeros(len(rows), dtype=np.bool_)
    for side, own in zip(sides, rows.T, strict=True):
        positions = side.pruned.graph.nodes.position[own]
        at_object |= (own >= 0) & (positions == side.roles.get(OBJECT, -1))
    is_early = nodes.layer < early_layers
    in_set = [
        sets.get((layer, feature)) == whose
        for layer, feature, whose in zip(
            nodes.layer.tolist(), nodes.feature.tolist(), owner.tolist(), strict=True
        )
    ]
    is_chosen = np.array(in_set) & (~is_early | at_object)
    return _Both(merged.pruned, rows, owner, is_early, is_early & at_object, is_chosen)


def _of_side(both: _Both, groups: Sequence[Ints], side: int, pruned: PrunedGraph) -> list[Box]:
    """What one graph has of the groups."""
    boxes = []
    for twin, group in enumerate(groups):
        own = group[both.rows[group, side] >= 0]
        if len(own):
            name = group_name(both.pruned.graph, group, both.pruned.influence[group])
            rows = sorted(both.rows[own, side].tolist())
            facts = {
                "owner": Owner(int(both.owner[group[0]])),
                "twin": twin,
                "is_store": bool(both.is_store[group[0]]),
                "chosen": int(both.is_chosen[own].sum()),
            }
            boxes.append(Box.of(pruned, NodeKind.FEATURE, name, rows, **facts))
    return boxes


def _groups(
    both: _Both, sides: Sequence[TracedRoute], readings: Readings | None, most: int
) -> list[Ints]:
    """The features in groups, as strictly linked as `ENOUGH` and `most` allow."""
    alike, cells = _cells(both, readings)
    influences = [
        np.where(own >= 0, side.pruned.influence[own], 0.0)
        for side, own in zip(sides, both.rows.T, strict=True)
    ]
    best: tuple[float, list[Ints]] = (-1.0, [])
    for threshold in THRESHOLDS:
        groups = [
            alike.rows[members[group]]
            for members in cells
            for group in average_linkage(alike.whole[np.ix_(members, members)], threshold)
        ]
        covered = min(_covered([one[rows].sum() for rows in groups], most) for one in influences)
        if covered > best[0]:
            best = covered, groups
        if covered >= ENOUGH:
            break
    return best[1]


def _covered(sizes: Sequence[float], most: int) -> float:
    """Share of a sum that its `most` largest parts have; 1 of nothing."""
    whole = sum(sizes)
    return float(sum(sorted(sizes, reverse=True)[:most]) / whole) if whole > 0 else 1.0


def _cells(both: _Both, readings: Readings | None) -> tuple[Similarity, list[Ints]]:
    """How alike the features are, and which of them may be in one group: places in `alike.rows`."""
    pruned = _strongest(both.pruned)
    nodes, rows = pruned.graph.nodes, feature_rows(pruned)
    keys = list(zip(nodes.layer[rows].tolist(), nodes.feature[rows].tolist(), strict=True))
    alike = similarity(pruned, readings=None if readings is None else readings(keys))
    cells = np.stack([nodes.position[rows], both.owner[rows], both.is_early[rows]])
    _, which = np.unique(cells, axis=1, return_inverse=True)
    return alike, [np.flatnonzero(which.ravel() == one) for one in range(which.max(initial=-1) + 1)]


def _strongest(pruned: PrunedGraph) -> PrunedGraph:
    """The merged graph with no more features kept than can be grouped at every threshold."""
    rows = feature_rows(pruned)
    weak = rows[np.argsort(-pruned.influence[rows], kind="stable")[MOST_FEATURES:]]
    kept = pruned.node_kept.copy()
    kept[weak] = False
    edges = pruned.graph.edges
    edge_kept = pruned.edge_kept & kept[edges.source] & kept[edges.target]
    return replace(pruned, node_kept=kept, edge_kept=edge_kept)
