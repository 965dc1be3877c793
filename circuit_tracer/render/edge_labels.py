"""What is written on edges: the heads that carry them, as far as there is room.

Only edges between two tokens get a label: there the head that carries them says who looked where.
Of edges into the same layer between the same tokens that one head carries, the strongest bears its
name for all. Labels stand on their curves, those of the strongest edges first: of the points along
a curve the one nearest its middle at which the label covers no node and no earlier label. An edge
on which there is no such point goes without; every edge has its heads in its tooltip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Edges, Graph
from circuit_tracer.graphs.head_loadings import Carrier, HeadLoadings, carriers
from circuit_tracer.render import palette
from circuit_tracer.render.curves import Curve, sample
from circuit_tracer.render.markup import element
from circuit_tracer.render.node_labels import TOKEN_SIZE
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.places import Box, Layout
from circuit_tracer.render.shapes import boxed, centred
from circuit_tracer.render.text import text_width

SIZE = 7.5
PADDING = 1.5
MOST_LABELS = 24
FEWEST_LABELS = 6
LEAST_SHARE = 0.25
"""A head that carries less of its edge is not written on it."""
LEAST_NAMED = 0.1
"""A head that carries less is not named in the tooltip either."""
MEANING = (
    "On edges between tokens: the attention head that brings most of it over, and its share (above "
    "100 % where others work against it), written once for like edges."
)


@dataclass(frozen=True)
class EdgeLabel:
    """A few words on an edge."""

    edge: int
    """Index into the graph's edge table."""
    words: str
    box: Box
    size: float = SIZE
    """Of the letters."""


def carriers_of(edges: Edges, loadings: HeadLoadings | None) -> dict[int, list[Carrier]]:
    """By index of an edge: the heads that carry a share of it worth naming, strongest first."""
    if loadings is None:
        return {}
    by_pair = carriers(loadings, least=LEAST_NAMED)
    n = 1 + int(edges.target[-1]) if len(edges) else 1
    keys = edges.target.astype(np.int64) * n + edges.source
    pairs = [pair for pair in by_pair if pair[1] < n]
    wanted = np.array([target * n + source for source, target in pairs], dtype=np.int64)
    at = np.searchsorted(keys, wanted)
    return {
        int(edge): by_pair[pair]
        for edge, pair, key in zip(at, pairs, wanted, strict=True)
        if edge < len(keys) and keys[edge] == key
    }


def labels_of(
    graph: Graph, curves: Sequence[Curve], carried: Mapping[int, Sequence[Carrier]]
) -> dict[int, str]:
    """By index of an edge: what is to be written on it; of curves with the strongest first."""
    nodes, edges = graph.nodes, graph.edges
    words: dict[int, str] = {}
    seen = set()
    for curve in curves:
        label = carrier_words(carried.get(curve.edge, ()))
        source, target = int(edges.source[curve.edge]), int(edges.target[curve.edge])
        places = int(nodes.position[source]), int(nodes.position[target])
        if not label or places[0] == places[1]:
            continue
        alike = (*places, int(nodes.layer[target]), label.partition(" ")[0])
        if alike not in seen:
            seen.add(alike)
            words[curve.edge] = label
    return words


def carrier_words(heads: Sequence[Carrier]) -> str:
    """ "L3.H2 62 %": the strongest that brings the edge to another token, else the strongest.

    "" where none carries enough to be named.
    """
    named = [head for head in heads if abs(head.share) >= LEAST_SHARE]
    moving = [head for head in named if head.key != head.query]
    return "".join(f"{head.name} {percent(head.share)}" for head in (moving or named)[:1])


def carried_by(loadings: HeadLoadings | None) -> dict[tuple[int, int], str]:
    """By (source, target) of an edge: `carrier_words`, where there are any."""
    if loadings is None:
        return {}
    by_pair = carriers(loadings, least=LEAST_SHARE)
    return {pair: carrier_words(heads) for pair, heads in by_pair.items()}


def carrier_lines(heads: Sequence[Carrier], most: int = 4) -> list[str]:
    """For a tooltip: "through L3.H2 62 %, L1.H0 −12 %"; nothing where no head is worth naming."""
    named = [f"{one.name} {percent(one.share)}" for one in heads[:most]]
    return [f"through {', '.join(named)}"] if named else []


def place_labels(
    curves: Sequence[Curve], words: Mapping[int, str], layout: Layout, *, most: int = MOST_LABELS
) -> list[EdgeLabel]:
    """The labels that find room, for curves with the strongest first; on paper fewer of them."""
    if layout.smallest:
        most = min(most, max(FEWEST_LABELS, len(layout.placed) // 4))
    taken = [placed.box for placed in layout.placed.values()] + _axis_boxes(layout)
    size = max(SIZE, layout.smallest)
    labels: list[EdgeLabel] = []
    for curve in curves:
        if len(labels) == most:
            break
        label = words.get(curve.edge, "")
        box = _room(curve, label, size, taken, layout) if label else None
        if box is not None:
            labels.append(EdgeLabel(curve.edge, label, box, size))
            taken.append(box)
    return labels


def _axis_boxes(layout: Layout) -> list[Box]:
    """Where layers are named at the left, and tokens below that may have no box of their own."""
    boxes = [Box(0, band.middle - 7, 22, band.middle + 7) for band in layout.bands]
    for column in layout.columns:
        half = text_width(column.label, TOKEN_SIZE) / 2 if layout.upright else TOKEN_SIZE
        middle = layout.bands[-1].middle
        boxes.append(Box(column.left, middle - half, column.right, middle + half))
    return boxes


def _room(
    curve: Curve, words: str, size: float, taken: Sequence[Box], layout: Layout
) -> Box | None:
    points = sample(np.array([curve.points]))[0]
    half, half_height = text_width(words, size) / 2 + 2, size / 2 + PADDING / 2
    for index in np.argsort(np.abs(np.arange(len(points)) - (len(points) - 1) / 2), kind="stable"):
        x, y = (float(value) for value in points[index])
        box = Box(x - half, y - half_height, x + half, y + half_height)
        inside = box.left >= 0 and box.right <= layout.width
        if inside and not any(box.overlaps(other) for other in taken):
            return box
    return None


def label_shape(label: EdgeLabel, color: str) -> str:
    """The words in the colour of their edge, on paper that hides the line beneath."""
    box = label.box
    ground = boxed(box, rx=2.5, fill=palette.PAPER, fill_opacity=0.9)
    middle = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return element("g", ground, centred(label.words, *middle, label.size, color), class_="heads")
