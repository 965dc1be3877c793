"""Edges as curves that go around the nodes they do not belong to.

Every edge is a cubic Bezier from the top of its source to the bottom of its target, leaving and
arriving upright. A handful of bent variants are tried; the one that crosses the fewest other
nodes and labels, and bends the least, is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Edges, Floats, Graph, NodeKind
from circuit_tracer.render.places import Layout
from circuit_tracer.render.selection import Selection

_BENDS = (16.0, -16.0, 32.0, -32.0, 52.0, -52.0, 80.0, -80.0)
BENDS = np.array(
    [
        (0.0, 0.0),
        *((b, b) for b in _BENDS),
        *((b, 0.0) for b in _BENDS),
        *((0.0, b) for b in _BENDS),
    ]
)
"""How far to the side a curve goes near its source and near its target: at both, or at one alone
where the node in the way is near, so that the rest of the curve need not swing out."""
SAMPLES = 24
CLEARANCE = 3.0


@dataclass(frozen=True)
class Curve:
    """One drawn edge."""

    edge: int
    """Index into the graph's edge table."""
    points: tuple[tuple[float, float], ...]
    """Start, two control points, end."""


def curves(graph: Graph, selection: Selection, layout: Layout) -> list[Curve]:
    """One curve an edge, in the order of `selection.edges`."""
    boxes = np.array([placed.box for placed in layout.placed.values()])
    marks = np.array([placed.mark for placed in layout.placed.values()])
    index = {row: i for i, row in enumerate(layout.placed)}
    ports = _ports(graph, selection, layout)
    drawn = []
    for edge in selection.edges.tolist():
        source, target = int(graph.edges.source[edge]), int(graph.edges.target[edge])
        start = (ports[edge, source], layout.placed[source].mark.top)
        end = (ports[edge, target], layout.placed[target].mark.bottom)
        own = [index[source], index[target]]
        points = _best_curve(start, end, np.delete(marks, own, 0), np.delete(boxes, own, 0), layout)
        drawn.append(Curve(edge, points))
    return drawn


def _ports(graph: Graph, selection: Selection, layout: Layout) -> dict[tuple[int, int], float]:
    """Where each edge meets each of its ends: (edge, row) -> x.

    Discs and diamonds are met in the middle; at boxes the edges stand side by side, in the order
    of where they come from.
    """
    ports: dict[tuple[int, int], float] = {}
    at_box: dict[int, list[tuple[float, int]]] = {}
    edges: Edges = graph.edges
    for edge in selection.edges.tolist():
        source, target = int(edges.source[edge]), int(edges.target[edge])
        for row, other in ((source, target), (target, source)):
            ports[edge, row] = layout.placed[row].x
            if graph.nodes.kind[row] in (NodeKind.EMBEDDING, NodeKind.LOGIT):
                at_box.setdefault(row, []).append((layout.placed[other].x, edge))
    for row, met in at_box.items():
        placed = layout.placed[row]
        room = 2 * placed.radius - 12
        step = min(7.0, room / max(len(met) - 1, 1))
        for place, (_, edge) in enumerate(sorted(met)):
            ports[edge, row] = placed.x + step * (place - (len(met) - 1) / 2)
    return ports


def _best_curve(
    start: tuple[float, float],
    end: tuple[float, float],
    marks: Floats,
    boxes: Floats,
    layout: Layout,
) -> tuple[tuple[float, float], ...]:
    rise = start[1] - end[1]
    pull = min(max(0.42 * rise, 12.0), 140.0)
    control = np.zeros((len(BENDS), 4, 2))
    control[:, 0], control[:, 3] = start, end
    # A cubic reaches three quarters of the way to its control points: bend them by 4/3.
    control[:, 1, 0], control[:, 1, 1] = start[0] + BENDS[:, 0] * 4 / 3, start[1] - pull
    control[:, 2, 0], control[:, 2, 1] = end[0] + BENDS[:, 1] * 4 / 3, end[1] + pull
    points = sample(control)
    outside = (points[..., 0] < 0) | (points[..., 0] > layout.width)
    cost = (
        1.0 * hits(points, marks, CLEARANCE)
        + 0.3 * hits(points, boxes, 0.0)
        + 2.0 * outside.sum(axis=1)
        + 0.0125 * np.abs(BENDS).sum(axis=1)
    )
    best = int(np.argmin(np.round(cost, 6)))
    return tuple((float(x), float(y)) for x, y in control[best])


def sample(control: Floats) -> Floats:
    """(variants, 4, 2) control points to (variants, SAMPLES, 2) points along the curves."""
    t = np.linspace(0.0, 1.0, SAMPLES + 2)[1:-1]
    basis = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    points: Floats = np.einsum("sk,vkd->vsd", basis, control)
    return points


def hits(points: Floats, boxes: Floats, clearance: float) -> Floats:
    """(variants,) how many sampled points lie in a box, each box grown by `clearance`."""
    left, top, right, bottom = (boxes + clearance * np.array([-1, -1, 1, 1])).T
    first, last = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    near = (left < last[0]) & (right > first[0]) & (top < last[1]) & (bottom > first[1])
    x, y = points[..., 0, None], points[..., 1, None]
    inside = (x > left[near]) & (x < right[near]) & (y > top[near]) & (y < bottom[near])
    hits: Floats = inside.sum(axis=(1, 2)).astype(np.float64)
    return hits
