"""A node's mark together with its label, measured and packed into lines.

The mark of a feature or error is a disc or diamond whose area goes by influence, its label
stands to the right of it; tokens and targets are boxes with their text inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.describe import called, feature_id, value_text
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.text import shorten_to_width, text_width

LABEL_SIZE = 10.0
TOKEN_SIZE = 11.0
TOKEN_WIDTH = 110.0
LARGEST_RADIUS = 10.0
SMALLEST_RADIUS = 3.4
ID_ROOM = 0.75
"""Of the room that a feature's id takes, how much its label gets in addition."""
LABEL_GAP = 3.0
NODE_GAP = 12.0
BOX_HEIGHT = 21.0
TURNED_WIDTH = 16.0
"""Of a box with its text from the bottom up."""


@dataclass(frozen=True)
class MeasuredNode:
    """One node, measured."""

    row: int
    width: float
    """Mark, gap and label."""
    height: float
    mark_width: float
    mark_height: float
    label: str
    """As written, shortened if need be."""
    is_cut: bool
    """Whether the label was shortened."""
    influence: float
    upright: bool = False
    """Whether the label, in a box, is written from the bottom up."""


Cell = tuple[int, int]  # (position, layer)
Line = Sequence[MeasuredNode]
CellLines = Sequence[Line]
Lines = Mapping[Cell, CellLines]


def measured_nodes(
    pruned: PrunedGraph, selection: Selection, label_width: float, *, upright: bool = False
) -> dict[Cell, list[MeasuredNode]]:
    """The nodes of every cell, most influential first; targets in their own order.

    Tokens are written from the bottom up if `upright`.
    """
    nodes = pruned.graph.nodes
    inner = [r for r in selection.rows if nodes.kind[r] in (NodeKind.FEATURE, NodeKind.ERROR)]
    largest = max((float(pruned.influence[row]) for row in inner), default=0.0)
    tokens = prompt_texts(pruned.graph.info.tokens)
    targets = dict(_target_labels(pruned.graph))
    cells: dict[Cell, list[MeasuredNode]] = {}
    for row in selection.rows.tolist():
        kind, position = NodeKind(int(nodes.kind[row])), int(nodes.position[row])
        if kind is NodeKind.EMBEDDING:
            node = _box(row, tokens[position], TOKEN_WIDTH, 0.0)
            node = _turned(node) if upright else node
        elif kind is NodeKind.LOGIT:
            node = _box(row, targets[row], 2 * TOKEN_WIDTH, 0.0)
        else:
            influence = float(pruned.influence[row])
            words, room = called(pruned.graph, row), label_width
            if kind is NodeKind.FEATURE and nodes.feature[row] >= 0:
                room += ID_ROOM * text_width(f"{feature_id(pruned.graph, row)} ", LABEL_SIZE)
            node = _disc(row, words, room, influence, largest)
        cells.setdefault((position, int(nodes.layer[row])), []).append(node)
    return {
        cell: sorted(cells[cell], key=lambda node: (-node.influence, node.row))
        for cell in sorted(cells)
    }


def _target_labels(graph: Graph) -> Iterator[tuple[int, str]]:
    targets = graph.info.targets
    texts = target_texts(targets)
    for row, target, words in zip(graph.target_rows.tolist(), targets, texts, strict=True):
        value = value_text(target)
        yield row, f"{shorten_to_width(words, TOKEN_SIZE, TOKEN_WIDTH)}  {value}"


def _box(row: int, label: str, limit: float, influence: float) -> MeasuredNode:
    short = shorten_to_width(label, TOKEN_SIZE, limit)
    width = text_width(short, TOKEN_SIZE) + 14
    return MeasuredNode(row, width, BOX_HEIGHT, width, BOX_HEIGHT, short, short != label, influence)


def _turned(box: MeasuredNode) -> MeasuredNode:
    across, along = TURNED_WIDTH, box.width
    return replace(
        box, width=across, height=along, mark_width=across, mark_height=along, upright=True
    )


def _disc(row: int, label: str, limit: float, influence: float, largest: float) -> MeasuredNode:
    """Area by influence, so the radius by its square root."""
    share = max(influence, 0.0) / largest if largest > 0 else 0.0
    size = 2 * max(SMALLEST_RADIUS, LARGEST_RADIUS * sqrt(share))
    short = shorten_to_width(label, LABEL_SIZE, limit)
    width = size + LABEL_GAP + text_width(short, LABEL_SIZE)
    height = max(size, LABEL_SIZE + 3)
    return MeasuredNode(row, width, height, size, size, short, short != label, influence)


def pack(members: Line, limit: float) -> list[list[MeasuredNode]]:
    """Fill lines up to `limit` wide; the first (most influential) nodes come into the top line."""
    lines: list[list[MeasuredNode]] = []
    for node in members:
        if lines and line_width([*lines[-1], node]) <= limit:
            lines[-1].append(node)
        else:
            lines.append([node])
    return lines


def line_width(line: Line) -> float:
    """Width of the nodes side by side."""
    return sum(node.width for node in line) + NODE_GAP * (len(line) - 1)


def core_width(line: Line) -> float:
    """Width without the last label, which may reach over into the next column."""
    return line_width(line) - line[-1].width + line[-1].mark_width


def line_height(line: Line) -> float:
    """Height of the highest node."""
    return max(node.height for node in line)


def cell_height(lines: CellLines, gap: float) -> float:
    """Height of the lines below each other, `gap` between them."""
    return sum(line_height(line) for line in lines) + gap * (len(lines) - 1)
