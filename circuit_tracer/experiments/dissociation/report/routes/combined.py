"""Both routes as one graph, so that they can be laid out together.

The judgement's tokens stand to the right of the fact's, and what stands at the same height is
computed at the same depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from circuit_tracer.experiments.dissociation.report.routes.route import Arrow, Box
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.graphs.graph import Edges, Graph, NodeKind, Nodes
from circuit_tracer.graphs.token_text import prompt_texts
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.places import Layout, Spacing
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.text import printable

WIDTH = 760.0
"""Of the page at least."""


@dataclass(frozen=True)
class Combined:
    """Both routes, placed."""

    boxes: list[Box]
    """Of both, in the order of the graph's rows, at positions of the graph."""
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
    second, shift = len(routes.fact.pruned.graph.info.tokens), len(routes.fact.boxes)
    moved = [replace(box, position=box.position + second) for box in routes.judgement.boxes]
    boxes = [*routes.fact.boxes, *moved]
    arrows = [
        *routes.fact.arrows,
        *(
            replace(one, source=one.source + shift, target=one.target + shift)
            for one in routes.judgement.arrows
        ),
    ]
    arrows.sort(key=lambda one: -one.influence)
    graph = _graph(routes, boxes, arrows)
    used = {end for arrow in arrows for end in (arrow.source, arrow.target)}
    rows = [i for i, box in enumerate(boxes) if i in used or box.kind is not NodeKind.EMBEDDING]
    selection = Selection.whole(rows, [arrow.influence for arrow in arrows])
    pruned = replace(
        routes.fact.pruned,
        graph=graph,
        node_kept=np.ones(len(boxes), dtype=np.bool_),
        edge_kept=np.ones(len(arrows), dtype=np.bool_),
        influence=np.array([box.influence for box in boxes]),
    )
    layout = lay_out(pruned, selection, Spacing(narrowest=WIDTH, apart=second))
    return Combined(boxes, arrows, second, graph, selection, layout)


def _graph(routes: TwoRoutes, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> Graph:
    infos, n = [one.pruned.graph.info for one in routes.both], len(boxes)
    explained = [side.target(box) for side in routes.both for box in side.targets]
    positions = [box.position for box in boxes if box.kind is NodeKind.LOGIT]
    targets = [replace(one, position=at) for one, at in zip(explained, positions, strict=True)]
    nodes = Nodes(
        kind=np.array([box.kind for box in boxes], dtype=np.int8),
        layer=np.array([round(box.level) for box in boxes], dtype=np.int32),
        position=np.array([box.position for box in boxes], dtype=np.int32),
        feature=np.full(n, -1, dtype=np.int64),  # groups: no one feature's id
        activation=np.full(n, np.nan),
        value=np.full(n, np.nan),
        constant=np.full(n, np.nan),
        expanded=np.ones(n, dtype=np.bool_),
        weight=np.zeros(n),
        label=_labels(routes, boxes),
    )
    ends = np.array([(one.source, one.target) for one in arrows], dtype=np.int32).reshape(-1, 2)
    edges = Edges(ends[:, 0], ends[:, 1], np.array([one.share for one in arrows]))
    info = replace(infos[0], tokens=infos[0].tokens + infos[1].tokens, targets=tuple(targets))
    return Graph(info, nodes, edges)


def _labels(routes: TwoRoutes, boxes: Sequence[Box]) -> tuple[str, ...]:
    """Names; a supernode that both sides draw has the same letter in both."""
    first, second = ([box.twin for box in one.supernodes] for one in routes.both)
    shared = [twin for twin in first if twin in second]
    letters = {twin: f"{chr(65 + i % 26)} · " for i, twin in enumerate(shared)}
    tokens = [text for one in routes.both for text in prompt_texts(one.pruned.graph.info.tokens)]
    return tuple(
        letters.get(box.twin, "")
        + box_words(box.name, tokens[box.position], is_early=box.layers[1] < routes.early_layers)
        if box.kind is NodeKind.FEATURE
        else box.name
        for box in boxes
    )


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
