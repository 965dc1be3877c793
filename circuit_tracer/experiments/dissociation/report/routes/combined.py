"""Both routes as one graph, so that they can be laid out together.

The judgement's tokens stand to the right of the fact's, and what stands at the same height is
computed at the same depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.route import Arrow, Box, Route
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.graphs.graph import Edges, Graph, NodeKind, Nodes
from circuit_tracer.graphs.token_text import prompt_texts
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.places import Layout
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.text import printable

WIDTH = 760.0
"""Of the page at least."""


@dataclass(frozen=True)
class Combined:
    """Both routes, placed."""

    boxes: list[tuple[Route, Box]]
    """Of both, in the order of the graph's rows."""
    arrows: list[Arrow]
    """Of both, between those rows, most influence first: the graph's edges."""
    second: int
    """Position of the judgement's first token."""
    graph: Graph
    """A node for each box, labelled as it is drawn."""
    selection: Selection
    layout: Layout

    @property
    def start(self) -> float:
        """Where the judgement's columns begin."""
        return next(one.left for one in self.layout.columns if one.first == self.second)


def combine(routes: TwoRoutes) -> Combined:
    """Place all boxes but the tokens without arrows."""
    boxes = [(one, box) for one in routes.both for box in one.boxes]
    shift = len(routes.fact.boxes)
    moved = [
        replace(one, source=one.source + shift, target=one.target + shift)
        for one in routes.judgement.arrows
    ]
    arrows = sorted([*routes.fact.arrows, *moved], key=lambda one: -one.influence)
    graph = _graph(routes, boxes, arrows)
    used = {end for arrow in arrows for end in (arrow.source, arrow.target)}
    is_token = graph.nodes.kind == NodeKind.EMBEDDING
    rows = [i for i in range(len(boxes)) if i in used or not is_token[i]]
    selection = Selection.whole(rows, [arrow.influence for arrow in arrows])
    pruned = replace(
        routes.fact.pruned,
        graph=graph,
        node_kept=np.ones(len(boxes), dtype=np.bool_),
        edge_kept=np.ones(len(arrows), dtype=np.bool_),
        influence=np.array([one.influence(box) for one, box in boxes]),
    )
    second = len(routes.fact.pruned.graph.info.tokens)
    layout = lay_out(pruned, selection, narrowest=WIDTH, apart=second)
    return Combined(boxes, arrows, second, graph, selection, layout)


def _graph(routes: TwoRoutes, boxes: list[tuple[Route, Box]], arrows: list[Arrow]) -> Graph:
    infos = [one.pruned.graph.info for one in routes.both]
    second, n = len(infos[0].tokens), len(boxes)
    offset = [second * (one is routes.judgement) for one, _ in boxes]
    is_target = [box.kind is NodeKind.LOGIT for _, box in boxes]
    targets = [
        replace(one.target(box), position=one.position(box) + right)
        for (one, box), right, wanted in zip(boxes, offset, is_target, strict=True)
        if wanted
    ]
    letters = _letters(routes)
    nodes = Nodes(
        kind=np.array([box.kind for _, box in boxes], dtype=np.int8),
        layer=np.array([round(one.level(box)) for one, box in boxes], dtype=np.int32),
        position=np.array(
            [one.position(box) + right for (one, box), right in zip(boxes, offset, strict=True)],
            dtype=np.int32,
        ),
        feature=np.arange(n, dtype=np.int64),
        activation=np.full(n, np.nan),
        value=np.full(n, np.nan),
        constant=np.full(n, np.nan),
        expanded=np.ones(n, dtype=np.bool_),
        weight=np.zeros(n),
        label=tuple(_label(one, box, letters, routes.early_layers) for one, box in boxes),
    )
    ends = np.array([(one.source, one.target) for one in arrows], dtype=np.int32).reshape(-1, 2)
    edges = Edges(ends[:, 0], ends[:, 1], np.array([one.share for one in arrows]))
    info = replace(infos[0], tokens=infos[0].tokens + infos[1].tokens, targets=tuple(targets))
    return Graph(info, nodes, edges)


def _letters(routes: TwoRoutes) -> dict[int, str]:
    """By twin: the letter that marks a supernode that both sides draw."""
    first, second = ([box.twin for box in one.supernodes] for one in routes.both)
    both = [twin for twin in first if twin in second]
    return {twin: f"{chr(65 + i % 26)} · " for i, twin in enumerate(both)}


def _label(side: Route, box: Box, letters: dict[int, str], early_layers: int) -> str:
    if box.kind is not NodeKind.FEATURE:
        return box.name
    token = prompt_texts(side.pruned.graph.info.tokens)[side.position(box)]
    is_early = side.layers(box)[1] < early_layers
    return letters.get(box.twin, "") + box_words(box.name, token, is_early=is_early)


def box_words(name: str, token: str, *, is_early: bool) -> str:
    """A supernode's name in plain words: "says yes, at ?".

    What early features promote directly says little, nor does what a feature speaks against. An
    early one's own token comes first where its name is of others: "at banana, pineapple ...".
    """
    place, _, effect = (part.strip() for part in printable(name).partition("→"))
    is_telling = effect and not effect.startswith("not ") and not is_early
    known = token in place.replace('"', "").replace("/", " ").split()
    where = f"{token}, {place} …" if is_early and place and not known else place or token
    return f"says {effect}, at {where}" if is_telling else f"at {where}"
