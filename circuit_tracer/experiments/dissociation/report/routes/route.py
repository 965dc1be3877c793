"""One route at supernode level: boxes (tokens, supernodes, targets) and the arrows between them.

Arrows sum the edges between members (graphs/supernodes/graph.py) and name the heads that carry
them. Arrows that would not go upwards, between groups that span the same layers, are left out.
A head's part of an arrow is the sum of its loadings (graphs/head_loadings.py) over the member
edges, weighted as these are in the influence; where it works against an edge it counts against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from circuit_tracer.graphs.comparing.alignment import Roles
from circuit_tracer.graphs.comparing.merging import Owner
from circuit_tracer.graphs.graph import Bools, Graph, Ints, NodeKind, Target
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.influence import handed_down
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.graph import supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.graphs.token_text import prompt_texts, target_texts

MOST_TARGETS = 2
LEAST_INFLUENCE = 0.03
"""Supernodes of less are left out, but for the strongest store."""
LEAST_FLOW = 0.02
"""Arrows of less influence are drawn only where a box would have none without."""
LEAST_FIRST_FLOW = 0.05
"""Of arrows from a token that was added before the prompt (BOS): it carries no features."""
ARROWS_A_BOX = 1.5
ALWAYS = 8
"""So many arrows are drawn however few the boxes."""
LEAST_SHARE = 0.2
"""Heads that carry less of an arrow are not named."""
MOST_HEADS = 2


class TracedRoute(NamedTuple):
    """One of the two graphs."""

    pruned: PrunedGraph
    roles: Roles
    """Role -> position."""
    loadings: HeadLoadings | None = None
    """Without them no heads are named."""


@dataclass(frozen=True)
class Box:
    """Some nodes of one route's graph that are drawn as one."""

    kind: NodeKind
    """FEATURE for a supernode."""
    name: str
    """A token's text; what the members' labels share; a target's text."""
    rows: tuple[int, ...]
    """Rows of the graph's node table, ascending."""
    position: int
    """Where they stand."""
    layers: tuple[int, int]
    """First and last; -1 for tokens, the number of layers for targets."""
    level: float
    """Mean layer, by influence."""
    influence: float
    """Sum over the members."""
    owner: Owner = Owner.BOTH
    """Whose a supernode is."""
    twin: int = -1
    """The same number for the same supernode of both routes."""
    is_store: bool = False
    """Whether it is of the early layers at the object: the strongest such one is always drawn."""
    chosen: int = 0
    """Members that are in the route set of their owner, which was chosen on other objects."""
    heads: tuple[str, ...] = ()
    """Of a token: the heads through which most of it goes at its own place, before it is read."""

    @classmethod
    def of(
        cls, pruned: PrunedGraph, kind: NodeKind, name: str, rows: Sequence[int], **more: Any
    ) -> Box:
        """Some rows of a graph's node table with what the graph says of them."""
        nodes, influence = pruned.graph.nodes, pruned.influence[list(rows)]
        layers = nodes.layer[list(rows)]
        return cls(
            kind=kind,
            name=name,
            rows=tuple(rows),
            position=int(nodes.position[rows[0]]),
            layers=(int(layers.min()), int(layers.max())),
            level=float(np.average(layers, weights=np.maximum(influence, 1e-12))),
            influence=float(influence.sum()),
            **more,
        )


@dataclass(frozen=True)
class Arrow:
    """All edges from the members of one box to those of another."""

    source: int
    """Index into `Route.boxes`."""
    target: int
    influence: float
    """Share of the targets' influence that flows along it."""
    share: float
    """Signed part of what goes into the target box, -1..1."""
    heads: tuple[str, ...] = ()
    """Those that carry most of it from one token to another, strongest first: "L3.H2"."""


@dataclass(frozen=True)
class Route:
    """One route."""

    pruned: PrunedGraph
    boxes: tuple[Box, ...]
    """Tokens, then supernodes by influence, then targets."""
    arrows: tuple[Arrow, ...]
    """Most influence first."""
    covered: float
    """Share of the kept features' influence that the drawn supernodes have."""

    @property
    def supernodes(self) -> list[Box]:
        """By influence."""
        return [box for box in self.boxes if box.kind is NodeKind.FEATURE]

    @property
    def targets(self) -> list[Box]:
        """In the graph's order."""
        return [box for box in self.boxes if box.kind is NodeKind.LOGIT]

    def target(self, box: Box) -> Target:
        """What a target's box explains."""
        graph: Graph = self.pruned.graph
        number: int = graph.target_rows.tolist().index(box.rows[0])
        return graph.info.targets[number]


def route(traced: TracedRoute, groups: Sequence[Box], *, most: int) -> Route:
    """The graph with its groups of most influence as boxes: `most`, and the strongest store."""
    pruned, graph = traced.pruned, traced.pruned.graph
    flows = None if traced.loadings is None else HeadFlows(pruned, traced.loadings)
    ranked = sorted(groups, key=lambda one: (-one.influence, one.rows))
    large = [one for one in ranked[:most] if one.influence >= LEAST_INFLUENCE]
    store = [one for one in ranked if one.is_store][:1]
    chosen = [one for one in ranked if one in large or one in store]
    texts = prompt_texts(graph.info.tokens)
    tokens = []
    for row in graph.nodes.of_kind(NodeKind.EMBEDDING).tolist():
        heads = () if flows is None else flows.in_place(row)
        name = texts[int(graph.nodes.position[row])]
        tokens.append(Box.of(pruned, NodeKind.EMBEDDING, name, (row,), heads=heads))
    names = dict(zip(graph.target_rows.tolist(), target_texts(graph.info.targets), strict=True))
    by_weight = sorted(names, key=lambda row: -graph.nodes.weight[row])
    shown = sorted(by_weight[:MOST_TARGETS])
    targets = [Box.of(pruned, NodeKind.LOGIT, names[row], (row,)) for row in shown]
    boxes = (*tokens, *chosen, *targets)
    arrows = _arrows(pruned, boxes)
    if flows is not None:
        arrows = [
            replace(one, heads=flows.between(boxes[one.source].rows, boxes[one.target].rows))
            for one in arrows
        ]
    whole = sum(one.influence for one in groups) or 1.0
    return Route(pruned, boxes, tuple(arrows), sum(one.influence for one in chosen) / whole)


def _arrows(pruned: PrunedGraph, boxes: Sequence[Box]) -> list[Arrow]:
    """The strongest arrows, and for every supernode its strongest one in and its strongest out."""
    supernodes = [box for box in boxes if box.kind is NodeKind.FEATURE]
    whole = supernode_graph(pruned, [Supernode(str(box.twin), box.rows) for box in supernodes])
    box_of = {box.rows: i for i, box in enumerate(boxes)}
    has_leading = pruned.graph.info.settings.get("zeroed_positions") != 0
    upwards = []
    for edge in whole.edges:
        source, target = (box_of.get(whole.nodes[end].rows) for end in (edge.source, edge.target))
        if source is None or target is None or boxes[source].level >= boxes[target].level:
            continue
        is_leading = has_leading and boxes[source].position == 0
        if not is_leading or edge.influence >= LEAST_FIRST_FLOW:
            upwards.append(Arrow(source, target, edge.influence, edge.share))
    limit = max(ALWAYS, round(ARROWS_A_BOX * len(supernodes)))
    chosen = {i for i, arrow in enumerate(upwards[:limit]) if arrow.influence >= LEAST_FLOW}
    for box in supernodes:
        number = box_of[box.rows]
        for end in ("source", "target"):
            chosen |= set([i for i, one in enumerate(upwards) if getattr(one, end) == number][:1])
    return [arrow for i, arrow in enumerate(upwards) if i in chosen]


class HeadFlows:
    """Head loadings as parts of the influence that flows along their edges."""

    def __init__(self, pruned: PrunedGraph, loadings: HeadLoadings) -> None:
        """Of the kept edges whose heads are known."""
        edges, n = pruned.kept_edges, len(pruned.graph.nodes)
        passed_on = handed_down(pruned.graph, pruned.influence)
        key = edges.target.astype(np.int64) * n + edges.source
        at = np.searchsorted(key, loadings.target.astype(np.int64) * n + loadings.source)
        self.loadings = loadings
        self.part = passed_on[loadings.target] * loadings.loading * np.sign(edges.weight[at])
        self.edges = edges.take(np.unique(at))
        self.flow = passed_on[self.edges.target] * np.abs(self.edges.weight)

    def between(self, sources: Sequence[int], targets: Sequence[int]) -> tuple[str, ...]:
        """Those that carry what flows between some rows from one token to another."""
        one = self.loadings
        within = np.isin(one.source, sources) & np.isin(one.target, targets)
        known = np.isin(self.edges.source, sources) & np.isin(self.edges.target, targets)
        return self._leading(within & (one.key != one.query), float(self.flow[known].sum()))

    def in_place(self, row: int) -> tuple[str, ...]:
        """Those through which a token's influence goes while it stays where it is."""
        one = self.loadings
        staying = (one.source == row) & (one.key == one.query) & (one.head >= 0)
        return self._leading(staying, float(self.flow[self.edges.source == row].sum()))

    def _leading(self, which: Bools, whole: float) -> tuple[str, ...]:
        """The strongest heads among some loadings, those of at least `LEAST_SHARE`."""
        by_head: dict[str, float] = {}
        rows: Ints = np.flatnonzero(which)
        for i in rows.tolist():
            name = f"L{self.loadings.layer[i]}.H{self.loadings.head[i]}"
            by_head[name] = by_head.get(name, 0.0) + float(self.part[i])
        ranked = sorted(by_head.items(), key=lambda one: (-one[1], one[0]))
        return tuple(name for name, part in ranked if part >= LEAST_SHARE * whole > 0)[:MOST_HEADS]
