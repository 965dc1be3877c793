"""One route at supernode level: boxes (tokens, supernodes, targets) and the arrows between them.

Arrows sum the edges between members (graphs/supernodes/graph.py) and name the heads that carry
them. Arrows that would not go upwards, between groups that span the same layers, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.head_flows import HeadFlows
from circuit_tracer.graphs.comparing.alignment import Roles
from circuit_tracer.graphs.comparing.merging import Owner
from circuit_tracer.graphs.graph import GraphInfo, NodeKind
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.scores import Scores
from circuit_tracer.graphs.supernodes.graph import SupernodeGraph, supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.graphs.token_text import prompt_texts, target_texts

MOST_TARGETS = 2
LEAST_INFLUENCE = 0.03
"""Groups of less are left out, but for the strongest store."""
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


class Group(NamedTuple):
    """Some features of one graph that are drawn as one."""

    name: str
    owner: Owner
    """Whose they are."""
    twin: int
    """The same number for the same group of both graphs."""
    rows: tuple[int, ...]
    """Rows of that graph's node table, ascending."""
    is_store: bool = False
    """Whether it is of the early layers at the object: the strongest such group is always drawn."""
    chosen: int = 0
    """Members that are in the route set of their owner, which was chosen on other objects."""


@dataclass(frozen=True)
class RouteBox:
    """A token, a supernode or a target."""

    kind: Literal["token", "supernode", "target"]
    name: str
    """A token's text; what the members' labels share; a target's text."""
    position: int
    first_layer: int
    """-1 for tokens, the number of layers for targets."""
    last_layer: int
    influence: float
    """Of a supernode the sum over its members; of a target its probability, or a contrast's logits.
    """
    owner: Owner = Owner.BOTH
    """Whose a supernode is."""
    twin: int = -1
    """The same number for the same supernode of both routes."""
    level: float = -1.0
    """Mean layer, by influence."""
    is_early: bool = False
    """Whether it is a supernode of the early layers."""
    features: int = 0
    """Members of a supernode."""
    chosen: int = 0
    """As in `Group`."""
    heads: tuple[str, ...] = ()
    """Of a token: the heads through which most of it goes at its own place, before it is read."""


@dataclass(frozen=True)
class RouteArrow:
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

    info: GraphInfo
    """Of its graph, with the targets that are drawn."""
    boxes: tuple[RouteBox, ...]
    """Tokens, then supernodes by influence, then targets."""
    arrows: tuple[RouteArrow, ...]
    """Most influence first."""
    covered: float
    """Share of the kept features' influence that the drawn supernodes have."""
    scores: Scores
    """Of the whole graph."""

    @property
    def supernodes(self) -> list[RouteBox]:
        """By influence."""
        return [box for box in self.boxes if box.kind == "supernode"]


def route(traced: TracedRoute, groups: Sequence[Group], *, most: int, early_layers: int) -> Route:
    """The graph with its groups of most influence as boxes: `most`, and the strongest store."""
    pruned, graph = traced.pruned, traced.pruned.graph
    flows = None if traced.loadings is None else HeadFlows(pruned, traced.loadings)
    size = [float(pruned.influence[list(group.rows)].sum()) for group in groups]
    order = sorted(range(len(groups)), key=lambda i: (-size[i], groups[i].rows))
    drawn = {i for i in order[:most] if size[i] >= LEAST_INFLUENCE}
    drawn |= set([i for i in order if groups[i].is_store][:1])
    chosen = [groups[i] for i in order if i in drawn]
    by_weight = sorted(graph.target_rows.tolist(), key=lambda row: -graph.nodes.weight[row])
    targets = sorted(by_weight[:MOST_TARGETS])
    tokens = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    boxes = (
        *(_token(pruned, flows, row) for row in tokens),
        *(_supernode(pruned, group, early_layers) for group in chosen),
        *(_target(pruned, row) for row in targets),
    )
    rows = [(row,) for row in tokens] + [one.rows for one in chosen] + [(row,) for row in targets]
    whole = supernode_graph(pruned, [Supernode(str(one.twin), one.rows) for one in chosen])
    has_leading = graph.info.settings.get("zeroed_positions") != 0
    box_of = {one: i for i, one in enumerate(rows)}
    arrows = [
        replace(
            one, heads=() if flows is None else flows.between(rows[one.source], rows[one.target])
        )
        for one in _arrows(whole, box_of, boxes, has_leading=has_leading)
    ]
    shown = [graph.info.targets[graph.target_rows.tolist().index(row)] for row in targets]
    return Route(
        info=replace(graph.info, targets=tuple(shown)),
        boxes=boxes,
        arrows=tuple(arrows),
        covered=sum(size[i] for i in sorted(drawn)) / (sum(size) or 1.0),
        scores=pruned.scores,
    )


def _token(pruned: PrunedGraph, flows: HeadFlows | None, row: int) -> RouteBox:
    position = int(pruned.graph.nodes.position[row])
    name = prompt_texts(pruned.graph.info.tokens)[position]
    heads = () if flows is None else flows.in_place(row)
    return RouteBox("token", name, position, -1, -1, float(pruned.influence[row]), heads=heads)


def _supernode(pruned: PrunedGraph, group: Group, early_layers: int) -> RouteBox:
    nodes, rows = pruned.graph.nodes, list(group.rows)
    layers = nodes.layer[rows]
    return RouteBox(
        kind="supernode",
        name=group.name,
        position=int(nodes.position[rows[0]]),
        first_layer=int(layers.min()),
        last_layer=int(layers.max()),
        influence=float(pruned.influence[rows].sum()),
        owner=group.owner,
        twin=group.twin,
        level=float(np.average(layers, weights=np.maximum(pruned.influence[rows], 1e-12))),
        is_early=int(layers.max()) < early_layers,
        features=len(rows),
        chosen=group.chosen,
    )


def _target(pruned: PrunedGraph, row: int) -> RouteBox:
    graph = pruned.graph
    number, last = graph.target_rows.tolist().index(row), graph.info.n_layers
    target, name = graph.info.targets[number], target_texts(graph.info.targets)[number]
    value = target.logit if target.is_contrast else target.probability
    return RouteBox("target", name, target.position, last, last, value, level=float(last))


def _arrows(
    whole: SupernodeGraph,
    box_of: Mapping[tuple[int, ...], int],
    boxes: Sequence[RouteBox],
    *,
    has_leading: bool,
) -> list[RouteArrow]:
    """The strongest arrows, and for every supernode its strongest one in and its strongest out.

    `has_leading`: whether the first token was added before the prompt (BOS).
    """
    at = [box_of.get(node.rows) for node in whole.nodes]
    upwards = []
    for edge in whole.edges:
        source, target = at[edge.source], at[edge.target]
        if source is None or target is None or boxes[source].level >= boxes[target].level:
            continue
        if boxes[source].position >= int(has_leading) or edge.influence >= LEAST_FIRST_FLOW:
            upwards.append(RouteArrow(source, target, edge.influence, edge.share))
    inner = [number for number, box in enumerate(boxes) if box.kind == "supernode"]
    limit = max(ALWAYS, round(ARROWS_A_BOX * len(inner)))
    chosen = {i for i, arrow in enumerate(upwards[:limit]) if arrow.influence >= LEAST_FLOW}
    for number in inner:
        for end in ("source", "target"):
            chosen |= set([i for i, one in enumerate(upwards) if getattr(one, end) == number][:1])
    return [arrow for i, arrow in enumerate(upwards) if i in chosen]
