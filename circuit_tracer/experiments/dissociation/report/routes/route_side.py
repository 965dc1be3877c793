"""One route at supernode level: boxes (tokens, supernodes, targets) and the arrows between them.

Arrows sum the edges between members (supernode_graph.py) and name the heads that carry them
(route_heads.py). Arrows that would not go upwards, between groups that span the same layers, are
left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.route_heads import (
    Flows,
    arrow_heads,
    flows_of,
    own_heads,
)
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.graph import SupernodeGraph, supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.graphs.token_text import prompt_texts, target_texts

RoutePart = Literal["shared", "fact", "judgement"]

MOST_TARGETS = 2
LEAST_INFLUENCE = 0.03
"""Groups of less are left out, but for the strongest store."""
LEAST_FLOW = 0.02
"""Arrows of less influence are drawn only where a box would hang in the air without."""
LEAST_FIRST_FLOW = 0.05
"""Of arrows from a token that was added before the prompt (BOS): it carries no features."""
ARROWS_A_BOX = 1.5
ALWAYS = 8
"""So many arrows are drawn however few the boxes."""


@dataclass(frozen=True)
class RouteBox:
    """A token, a supernode or a target."""

    kind: Literal["token", "supernode", "target"]
    name: str
    """A token's text; what the members' labels share; a target's text."""
    part: RoutePart
    """Whose a supernode is; "shared" for tokens and targets."""
    twin: int
    """The same number for the same supernode of both routes; -1 for tokens and targets."""
    position: int
    first_layer: int
    """-1 for tokens, the number of layers for targets."""
    last_layer: int
    level: float
    """Mean layer, by influence."""
    is_early: bool
    """Whether it is a supernode of the early layers."""
    features: int
    """Members; 0 for tokens and targets."""
    influence: float
    """Of a supernode the sum over its members; of a target its probability, or a contrast's logits.
    """
    chosen: int = 0
    """Members that are in the route set of this part, which was chosen on other objects."""
    heads: tuple[str, ...] = ()
    """Of a token: the heads through which most of it goes at its own place, before it is read."""


@dataclass(frozen=True)
class RouteArrow:
    """All edges from the members of one box to those of another."""

    source: int
    """Index into `RouteSide.boxes`."""
    target: int
    influence: float
    """Share of the targets' influence that flows along it."""
    share: float
    """Signed part of what goes into the target box, -1..1."""
    heads: tuple[str, ...]
    """Those that carry most of it from one token to another, strongest first: "L3.H2"."""


@dataclass(frozen=True)
class RouteSide:
    """One route."""

    prompt: str
    tokens: tuple[str, ...]
    is_contrast: bool
    """Whether the targets are differences of logits."""
    n_layers: int
    boxes: tuple[RouteBox, ...]
    """Tokens, then supernodes by influence, then targets."""
    arrows: tuple[RouteArrow, ...]
    """Most influence first."""
    held: float
    """Share of the kept features' influence that the drawn supernodes hold."""
    replacement: float
    """Replacement score of the whole graph."""
    has_leading: bool
    """Whether the first token was added before the prompt (BOS) instead of being its first word.
    """


class Group(NamedTuple):
    """Some features of one graph that are drawn as one."""

    name: str
    part: RoutePart
    twin: int
    rows: tuple[int, ...]
    """Rows of that graph's node table, ascending."""
    is_store: bool = False
    """Whether it is of the early layers at the object: the strongest such group is always drawn."""
    chosen: int = 0
    """Members that are in the route set of this part."""


def route_side(
    pruned: PrunedGraph,
    loadings: HeadLoadings | None,
    groups: Sequence[Group],
    *,
    most: int,
    early_layers: int,
) -> RouteSide:
    """The graph with its groups of most influence as boxes: `most`, and the strongest store."""
    graph = pruned.graph
    size = [float(pruned.influence[list(group.rows)].sum()) for group in groups]
    ranked = _ranked(groups, size, most)
    chosen = [groups[i] for i in ranked]
    targets = sorted(graph.target_rows.tolist(), key=lambda row: -graph.nodes.weight[row])
    shown = sorted(targets[:MOST_TARGETS])
    flows = None if loadings is None else flows_of(pruned, loadings)
    boxes = (
        *(_token(pruned, flows, row) for row in graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()),
        *(_supernode(pruned, group, early_layers) for group in chosen),
        *(_target(pruned, row) for row in shown),
    )
    whole = supernode_graph(pruned, [Supernode(str(one.twin), one.rows) for one in chosen])
    box_of = _box_of(pruned, whole, len(chosen), shown)
    has_leading = graph.info.settings.get("zeroed_positions") != 0
    return RouteSide(
        prompt=graph.info.prompt.strip(),
        tokens=prompt_texts(graph.info.tokens),
        is_contrast=any(target.is_contrast for target in graph.info.targets),
        n_layers=graph.info.n_layers,
        boxes=boxes,
        arrows=_arrows(flows, whole, box_of, boxes, has_leading=has_leading),
        held=sum(size[i] for i in ranked) / (sum(size) or 1.0),
        replacement=pruned.scores.replacement,
        has_leading=has_leading,
    )


def _ranked(groups: Sequence[Group], size: Sequence[float], most: int) -> list[int]:
    """Numbers of the groups to draw, those of most influence first."""
    order = sorted(range(len(groups)), key=lambda i: (-size[i], groups[i].rows))
    stores = [i for i in order if groups[i].is_store][:1]
    chosen = [i for i in order[:most] if size[i] >= LEAST_INFLUENCE]
    return [i for i in order if i in {*chosen, *stores}]


def share_held(sizes: Sequence[float], most: int) -> float:
    """Share of a sum that its `most` largest parts hold; 1 of nothing."""
    total = sum(sizes)
    return sum(sorted(sizes, reverse=True)[:most]) / total if total > 0 else 1.0


def _token(pruned: PrunedGraph, flows: Flows | None, row: int) -> RouteBox:
    influence = float(pruned.influence[row])
    position = int(pruned.graph.nodes.position[row])
    name = prompt_texts(pruned.graph.info.tokens)[position]
    own = () if flows is None else own_heads(flows, row)
    return RouteBox(
        "token", name, "shared", -1, position, -1, -1, -1.0, False, 0, influence, 0, own
    )


def _supernode(pruned: PrunedGraph, group: Group, early_layers: int) -> RouteBox:
    nodes, rows = pruned.graph.nodes, list(group.rows)
    weights = np.maximum(pruned.influence[rows], 1e-12)
    return RouteBox(
        kind="supernode",
        name=group.name,
        part=group.part,
        twin=group.twin,
        position=int(nodes.position[rows[0]]),
        first_layer=int(nodes.layer[rows].min()),
        last_layer=int(nodes.layer[rows].max()),
        level=float(np.average(nodes.layer[rows], weights=weights)),
        is_early=int(nodes.layer[rows].max()) < early_layers,
        features=len(rows),
        influence=float(pruned.influence[rows].sum()),
        chosen=group.chosen,
    )


def _target(pruned: PrunedGraph, row: int) -> RouteBox:
    graph = pruned.graph
    number = graph.target_rows.tolist().index(row)
    target = graph.info.targets[number]
    value = target.logit if target.is_contrast else target.probability
    last, name = graph.info.n_layers, target_texts(graph.info.targets)[number]
    return RouteBox(
        "target", name, "shared", -1, target.position, last, last, float(last), False, 0, value
    )


def _box_of(
    pruned: PrunedGraph, whole: SupernodeGraph, n_groups: int, targets: Sequence[int]
) -> dict[int, int]:
    """Index of the box of every drawn node of the supernode graph."""
    tokens = pruned.graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    at_row = {row: number for number, row in enumerate(tokens)}
    at_row |= {row: len(tokens) + n_groups + number for number, row in enumerate(targets)}
    found = {number: len(tokens) + number for number in range(n_groups)}
    for number, node in enumerate(whole.nodes[n_groups:], start=n_groups):
        if node.rows[0] in at_row:
            found[number] = at_row[node.rows[0]]
    return found


def _arrows(
    flows: Flows | None,
    whole: SupernodeGraph,
    box_of: Mapping[int, int],
    boxes: Sequence[RouteBox],
    *,
    has_leading: bool,
) -> tuple[RouteArrow, ...]:
    heads = {} if flows is None else arrow_heads(whole, flows)
    found = [
        RouteArrow(
            box_of[edge.source],
            box_of[edge.target],
            edge.influence,
            edge.share,
            heads.get((edge.source, edge.target), ()),
        )
        for edge in whole.edges
        if edge.source in box_of and edge.target in box_of
    ]
    upwards = [
        one
        for one in found
        if boxes[one.source].level < boxes[one.target].level
        and (boxes[one.source].position >= int(has_leading) or one.influence >= LEAST_FIRST_FLOW)
    ]
    chosen = _chosen(upwards, boxes)
    return tuple(arrow for number, arrow in enumerate(upwards) if number in chosen)


def _chosen(arrows: Sequence[RouteArrow], boxes: Sequence[RouteBox]) -> set[int]:
    """The strongest arrows, and for every supernode its strongest one in and its strongest out."""
    inner = [number for number, box in enumerate(boxes) if box.kind == "supernode"]
    limit = max(ALWAYS, round(ARROWS_A_BOX * len(inner)))
    chosen = {i for i, arrow in enumerate(arrows) if arrow.influence >= LEAST_FLOW and i < limit}
    for number in inner:
        for end in ("source", "target"):
            of_box = [i for i, arrow in enumerate(arrows) if getattr(arrow, end) == number]
            chosen |= set(of_box[:1])
    return chosen
