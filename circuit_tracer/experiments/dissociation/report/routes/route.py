"""One route at supernode level: boxes (tokens, supernodes, targets) and the arrows between them.

Arrows sum the edges between members (graphs/supernodes/graph.py) and name the heads that carry
them. Arrows that would not go upwards, between groups that span the same layers, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.head_flows import HeadFlows
from circuit_tracer.graphs.comparing.alignment import Roles
from circuit_tracer.graphs.comparing.merging import Owner
from circuit_tracer.graphs.graph import Graph, NodeKind, Target
from circuit_tracer.graphs.head_loadings import HeadLoadings
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

    def influence(self, box: Box) -> float:
        """Sum over the members."""
        return float(self.pruned.influence[list(box.rows)].sum())

    def position(self, box: Box) -> int:
        """Where the members stand."""
        return int(self.pruned.graph.nodes.position[box.rows[0]])

    def layers(self, box: Box) -> tuple[int, int]:
        """First and last; -1 for tokens, the number of layers for targets."""
        found = self.pruned.graph.nodes.layer[list(box.rows)]
        return int(found.min()), int(found.max())

    def level(self, box: Box) -> float:
        """Mean layer, by influence."""
        rows = list(box.rows)
        weights = np.maximum(self.pruned.influence[rows], 1e-12)
        return float(np.average(self.pruned.graph.nodes.layer[rows], weights=weights))

    def target(self, box: Box) -> Target:
        """What a target's box explains."""
        graph: Graph = self.pruned.graph
        number: int = graph.target_rows.tolist().index(box.rows[0])
        return graph.info.targets[number]


def route(traced: TracedRoute, groups: Sequence[Box], *, most: int) -> Route:
    """The graph with its groups of most influence as boxes: `most`, and the strongest store."""
    pruned, graph = traced.pruned, traced.pruned.graph
    flows = None if traced.loadings is None else HeadFlows(pruned, traced.loadings)
    bare = Route(pruned, (), (), 1.0)
    size = {one.twin: bare.influence(one) for one in groups}
    ranked = sorted(groups, key=lambda one: (-size[one.twin], one.rows))
    large = [one for one in ranked[:most] if size[one.twin] >= LEAST_INFLUENCE]
    store = [one for one in ranked if one.is_store][:1]
    chosen = [one for one in ranked if one in large or one in store]
    by_weight = sorted(graph.target_rows.tolist(), key=lambda row: -graph.nodes.weight[row])
    tokens = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    texts = prompt_texts(graph.info.tokens)
    boxes = [
        Box(NodeKind.EMBEDDING, texts[position], (row,))
        for row, position in zip(tokens, graph.nodes.position[tokens].tolist(), strict=True)
    ]
    if flows is not None:
        boxes = [replace(box, heads=flows.in_place(box.rows[0])) for box in boxes]
    names = dict(zip(graph.target_rows.tolist(), target_texts(graph.info.targets), strict=True))
    shown = sorted(by_weight[:MOST_TARGETS])
    targets = [Box(NodeKind.LOGIT, names[row], (row,)) for row in shown]
    drawn = replace(
        bare,
        boxes=(*boxes, *chosen, *targets),
        covered=sum(size[one.twin] for one in chosen) / (sum(size.values()) or 1.0),
    )
    arrows = _arrows(drawn)
    if flows is not None:
        ends = [(drawn.boxes[one.source].rows, drawn.boxes[one.target].rows) for one in arrows]
        heads = [flows.between(*pair) for pair in ends]
        arrows = [replace(one, heads=of) for one, of in zip(arrows, heads, strict=True)]
    return replace(drawn, arrows=tuple(arrows))


def _arrows(drawn: Route) -> list[Arrow]:
    """The strongest arrows, and for every supernode its strongest one in and its strongest out."""
    groups = [Supernode(str(box.twin), box.rows) for box in drawn.supernodes]
    whole = supernode_graph(drawn.pruned, groups)
    box_of = {box.rows: i for i, box in enumerate(drawn.boxes)}
    level = [drawn.level(box) for box in drawn.boxes]
    has_leading = drawn.pruned.graph.info.settings.get("zeroed_positions") != 0
    upwards = []
    for edge in whole.edges:
        source, target = (box_of.get(whole.nodes[end].rows) for end in (edge.source, edge.target))
        if source is None or target is None or level[source] >= level[target]:
            continue
        is_leading = has_leading and drawn.position(drawn.boxes[source]) == 0
        if not is_leading or edge.influence >= LEAST_FIRST_FLOW:
            upwards.append(Arrow(source, target, edge.influence, edge.share))
    limit = max(ALWAYS, round(ARROWS_A_BOX * len(groups)))
    chosen = {i for i, arrow in enumerate(upwards[:limit]) if arrow.influence >= LEAST_FLOW}
    for box in drawn.supernodes:
        number = box_of[box.rows]
        for end in ("source", "target"):
            chosen |= set([i for i, one in enumerate(upwards) if getattr(one, end) == number][:1])
    return [arrow for i, arrow in enumerate(upwards) if i in chosen]
