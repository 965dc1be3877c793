"""Both routes as one graph, so that they can be laid out together.

The judgement's tokens stand to the right of the fact's, and what stands at the same height is
computed at the same depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.route import RouteArrow, RouteBox
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.graphs.graph import Edges, Graph, GraphInfo, NodeKind, Nodes
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.token_text import prompt_texts
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.places import Layout
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.text import printable

WIDTH = 760.0
"""Of the page at least."""
KINDS = {
    "token": NodeKind.EMBEDDING,
    "supernode": NodeKind.FEATURE,
    "target": NodeKind.LOGIT,
}


@dataclass(frozen=True)
class Combined:
    """Both routes, placed."""

    boxes: list[RouteBox]
    """Of both, in the order of the graph's rows, named as they are drawn."""
    arrows: list[RouteArrow]
    """Of both, between those rows, most influence first: the graph's edges."""
    second: int
    """Position of the judgement's first token."""
    graph: Graph
    """A node for each box."""
    selection: Selection
    layout: Layout

    @property
    def start(self) -> float:
        """Where the judgement's columns begin."""
        return next(one.left for one in self.layout.columns if one.first == self.second)


def combine(routes: TwoRoutes) -> Combined:
    """Place all boxes but the tokens without arrows."""
    letters = _letters(routes)
    boxes: list[RouteBox] = []
    arrows: list[RouteArrow] = []
    second = len(routes.fact.info.tokens)
    for one, right in zip(routes.both, (0, second), strict=True):
        first, tokens = len(boxes), prompt_texts(one.info.tokens)
        arrows += [
            replace(arrow, source=arrow.source + first, target=arrow.target + first)
            for arrow in one.arrows
        ]
        for box in one.boxes:
            words = box_words(box, tokens[box.position])
            name = letters.get(box.twin, "") + words if box.kind == "supernode" else box.name
            boxes.append(replace(box, name=name, position=box.position + right))
    arrows.sort(key=lambda arrow: -arrow.influence)
    graph = Graph(_info(routes, second), _nodes(boxes), _edges(arrows))
    used = {end for arrow in arrows for end in (arrow.source, arrow.target)}
    rows = [i for i, box in enumerate(boxes) if box.kind != "token" or i in used]
    selection = Selection.whole(rows, [arrow.influence for arrow in arrows])
    pruned = PrunedGraph(
        graph=graph,
        node_threshold=1.0,
        edge_threshold=1.0,
        node_kept=np.ones(len(boxes), dtype=np.bool_),
        edge_kept=np.ones(len(arrows), dtype=np.bool_),
        influence=np.array([box.influence for box in boxes]),
        scores=routes.fact.scores,
    )
    layout = lay_out(pruned, selection, narrowest=WIDTH, apart=second)
    return Combined(boxes, arrows, second, graph, selection, layout)


def _info(routes: TwoRoutes, second: int) -> GraphInfo:
    tokens = routes.fact.info.tokens + routes.judgement.info.tokens
    own, other = routes.fact.info, routes.judgement.info.targets
    moved = [replace(target, position=target.position + second) for target in other]
    return replace(own, tokens=tokens, targets=(*own.targets, *moved))


def _nodes(boxes: list[RouteBox]) -> Nodes:
    n = len(boxes)
    return Nodes(
        kind=np.array([KINDS[box.kind] for box in boxes], dtype=np.int8),
        layer=np.array([round(box.level) for box in boxes], dtype=np.int32),
        position=np.array([box.position for box in boxes], dtype=np.int32),
        feature=np.arange(n, dtype=np.int64),
        activation=np.full(n, np.nan),
        value=np.full(n, np.nan),
        constant=np.full(n, np.nan),
        expanded=np.ones(n, dtype=np.bool_),
        weight=np.zeros(n),
        label=tuple(box.name for box in boxes),
    )


def _edges(arrows: list[RouteArrow]) -> Edges:
    ends = np.array([(one.source, one.target) for one in arrows], dtype=np.int32).reshape(-1, 2)
    return Edges(ends[:, 0], ends[:, 1], np.array([one.share for one in arrows]))


def _letters(routes: TwoRoutes) -> dict[int, str]:
    """By twin: the letter that marks a supernode that both sides draw."""
    first, second = ([box.twin for box in one.supernodes] for one in routes.both)
    both = [twin for twin in first if twin in second]
    return {twin: f"{chr(65 + i % 26)} · " for i, twin in enumerate(both)}


def box_words(box: RouteBox, token: str) -> str:
    """A supernode's name in plain words: "says yes at ?".

    What early features promote directly says little, nor does what a feature speaks against. An
    early one's own token comes first where its name is of others: "at banana, pineapple ...".
    """
    place, _, effect = (part.strip() for part in printable(box.name).partition("→"))
    is_telling = effect and not effect.startswith("not ") and not box.is_early
    known = token in place.replace('"', "").replace("/", " ").split()
    where = f"{token}, {place} …" if box.is_early and place and not known else place or token
    return f"says {effect}, at {where}" if is_telling else f"at {where}"
