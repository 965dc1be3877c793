"""Two routes of one model side by side: what a figure of a fact and of its truth check shows.

1. The two pruned graphs are merged (merging.py): equal features at positions that belong together
   are one. Each is *shared* or of the *fact* route or of the *judgement* route alone, by which
   graph keeps it. How many of them are in the route sets that the experiment chose on other objects
   (method.md section 9) is counted.
2. Features of one column, one part and one side of the early layers' end may be grouped, by average
   linkage (supernodes.py). The linkage is as strict as it can be with the largest groups of each
   graph still holding most of the influence of its features: what does not fit is left out.
3. Each graph keeps of these groups the members that it has itself (route_side.py).

The result is plain data: a figure can be drawn from it again without the graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.route_side import (
    Group,
    RoutePart,
    RouteSide,
    route_side,
    share_held,
)
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.graphs.comparing.alignment import Roles, align
from circuit_tracer.graphs.comparing.merging import MergedGraph, Owner, merge
from circuit_tracer.graphs.files.exchange import open_graph
from circuit_tracer.graphs.graph import Ints
from circuit_tracer.graphs.head_loadings import HeadLoadings, load_heads
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
"""The role at which early sets hold: the experiment's stores."""
MOST_BOXES = 7
"""Supernodes a side: with tokens and targets as many as a reader takes in."""
ENOUGH = 0.85
"""Share of a graph's kept feature influence that its drawn supernodes should hold."""
MOST_FEATURES = 400
"""Features that are grouped, the strongest of both graphs."""
THRESHOLDS = tuple(0.7 - 0.02 * step for step in range(36))
_SETS: dict[str, RoutePart] = {"F": "fact", "V": "judgement", "S": "shared"}
_OWNERS: dict[int, RoutePart] = {
    Owner.BOTH: "shared",
    Owner.FIRST: "fact",
    Owner.SECOND: "judgement",
}


class TracedRoute(NamedTuple):
    """One of the two graphs."""

    pruned: PrunedGraph
    roles: Roles
    """Role -> position."""
    loadings: HeadLoadings | None = None
    """Without them no heads are named."""


@dataclass(frozen=True)
class TwoRoutes:
    """Both routes."""

    fact: RouteSide
    judgement: RouteSide
    early_layers: int
    """Layers that count as early; supernodes do not cross their end."""


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
        (member.layer, member.feature): _SETS[one.name]
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
    sets: Mapping[tuple[int, int], RoutePart] | None = None,
    early_layers: int,
    readings: Readings | None = None,
    most: int = MOST_BOXES,
) -> TwoRoutes:
    """Both graphs, of one model and dictionary, at supernode level, at most `most` a side.

    `sets` are the route sets by (layer, feature): of early layers they hold at the object alone,
    of later ones everywhere. `readings` tells from cards where features fire and what they
    promote. Raises UsageError for roles outside a prompt.
    """
    sides = (fact, judgement)
    columns = align(fact.pruned.graph, judgement.pruned.graph, roles=(fact.roles, judgement.roles))
    both = _Both(merge(fact.pruned, judgement.pruned, columns), sides, early_layers)
    groups = _groups(both, readings, most)
    drawn = []
    for number, side in enumerate(sides):
        own = [
            Group(
                name=both.name(rows),
                part=both.part(int(rows[0])),
                twin=twin,
                rows=members,
                is_store=both.is_store(rows),
                chosen=both.chosen(rows, number, sets or {}),
            )
            for twin, rows in enumerate(groups)
            if (members := both.members(rows, number))
        ]
        drawn.append(
            route_side(side.pruned, side.loadings, own, most=most, early_layers=early_layers)
        )
    return TwoRoutes(drawn[0], drawn[1], early_layers)


@dataclass(frozen=True)
class _Both:
    """Both graphs as one; its rows are those of the merged graph."""

    merged: MergedGraph
    sides: tuple[TracedRoute, TracedRoute]
    early_layers: int

    def members(self, rows: Ints, side: int) -> tuple[int, ...]:
        """The rows that one graph has of these, in its own node table, ascending."""
        own = (self.merged.rows[row][side] for row in rows.tolist())
        return tuple(sorted(row for row in own if row >= 0))

    def influence(self, rows: Ints, side: int) -> float:
        """Their influence in one graph."""
        return float(self.sides[side].pruned.influence[list(self.members(rows, side))].sum())

    def name(self, rows: Ints) -> str:
        """What the members of both graphs have in common."""
        return group_name(self.merged.pruned.graph, rows, self.merged.pruned.influence[rows])

    def is_store(self, rows: Ints) -> bool:
        """Whether the group is of the early layers at the object."""
        row = int(rows[0])
        layer = int(self.merged.pruned.graph.nodes.layer[row])
        return layer < self.early_layers and self._at_object(row)

    def part(self, row: int) -> RoutePart:
        """Whose a feature is."""
        return _OWNERS[int(self.merged.node_owner[row])]

    def chosen(self, rows: Ints, side: int, sets: Mapping[tuple[int, int], RoutePart]) -> int:
        """How many of one graph's members are in the set of their part."""
        nodes = self.merged.pruned.graph.nodes
        count = 0
        for row in rows.tolist():
            layer, feature = int(nodes.layer[row]), int(nodes.feature[row])
            is_there = self.merged.rows[row][side] >= 0
            is_set = layer >= self.early_layers or self._at_object(row)
            count += is_there and is_set and sets.get((layer, feature)) == self.part(row)
        return count

    def _at_object(self, row: int) -> bool:
        return any(
            own >= 0 and int(side.pruned.graph.nodes.position[own]) == side.roles.get(OBJECT)
            for side, own in zip(self.sides, self.merged.rows[row], strict=True)
        )


def _groups(both: _Both, readings: Readings | None, most: int) -> list[Ints]:
    """The features in groups, as strictly linked as `ENOUGH` and `most` allow."""
    alike, cells = _cells(both, readings)
    best: tuple[float, list[Ints]] = (-1.0, [])
    for threshold in THRESHOLDS:
        groups = [
            alike.rows[members[group]]
            for members in cells
            for group in average_linkage(alike.whole[np.ix_(members, members)], threshold)
        ]
        held = min(
            share_held([both.influence(rows, side) for rows in groups], most) for side in (0, 1)
        )
        if held > best[0]:
            best = held, groups
        if held >= ENOUGH:
            break
    return best[1]


def _cells(both: _Both, readings: Readings | None) -> tuple[Similarity, list[Ints]]:
    """How alike the features are, and which of them may be in one group: places in `alike.rows`."""
    pruned = _strongest(both.merged.pruned)
    nodes, rows = pruned.graph.nodes, feature_rows(pruned)
    keys = [(int(nodes.layer[row]), int(nodes.feature[row])) for row in rows.tolist()]
    alike = similarity(pruned, readings=None if readings is None else readings(keys))
    cells: dict[tuple[int, str, bool], list[int]] = {}
    for place, row in enumerate(rows.tolist()):
        is_early = int(nodes.layer[row]) < both.early_layers
        cells.setdefault((int(nodes.position[row]), both.part(row), is_early), []).append(place)
    return alike, [np.array(members) for _, members in sorted(cells.items())]


def _strongest(pruned: PrunedGraph) -> PrunedGraph:
    """The merged graph with no more features kept than can be grouped over and over."""
    rows = feature_rows(pruned)
    if len(rows) <= MOST_FEATURES:
        return pruned
    weak = rows[np.argsort(-pruned.influence[rows], kind="stable")[MOST_FEATURES:]]
    kept = pruned.node_kept.copy()
    kept[weak] = False
    edges = pruned.graph.edges
    return replace(
        pruned,
        node_kept=kept,
        edge_kept=pruned.edge_kept & kept[edges.source] & kept[edges.target],
    )
