"""Where everything on the page goes: tokens along x, layers up y. Pure arithmetic, no drawing.

1. Every drawn node is measured with its label (node_labels.py); the nodes of one (token, layer)
   cell are packed side by side into lines.
2. Columns are as wide as their marks need; a label may reach over into the next column where the
   layer is free there. Layers without nodes take no room, runs of tokens without nodes collapse.
3. Of a few line and label widths the one that gives the page the best proportions is taken.
4. Within a line, nodes are sorted a few times by where their neighbours stand, which takes most
   crossings out of the edges (the barycentre method of Sugiyama, Tagawa and Toda, 1981).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log

from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.token_text import prompt_texts
from circuit_tracer.render.node_labels import (
    BOX_HEIGHT,
    NODE_GAP,
    TOKEN_SIZE,
    TOKEN_WIDTH,
    Cell,
    CellLines,
    Line,
    Lines,
    MeasuredNode,
    cell_height,
    core_width,
    line_height,
    line_width,
    measured_nodes,
    pack,
)
from circuit_tracer.render.places import SCREEN, Band, Box, Column, Layout, Placed, Spacing
from circuit_tracer.render.selection import MAX_TOKENS, Selection
from circuit_tracer.render.text import shorten_to_width, text_width

FEW_TOKENS = 10
GAP_WIDTH = 22.0
APART = 24.0
LABEL_WIDTHS = (140.0, 115.0, 95.0, 78.0)
LINE_LIMITS = (60.0, 120.0, 180.0, 250.0, 330.0, 420.0, 520.0)
PROPORTION = 1.4
FLATTEST = 1.9
ROUNDS = 6
STAGGER = (0.5, 0.1, 0.9, 0.3, 0.7)
"""Where in its column's room a line stands, layer by layer: upright edges pass between marks."""


@dataclass(frozen=True)
class _Span:
    """A column while widths are being settled: where its core stands."""

    column: Column
    left: float
    core: float


def lay_out(
    pruned: PrunedGraph,
    selection: Selection,
    spacing: Spacing = SCREEN,
) -> Layout:
    """Place the selected nodes: no marks or labels overlap."""
    tries = [
        {cell: pack(members, limit) for cell, members in nodes.items()}
        for nodes, limit in product(
            [measured_nodes(pruned, selection, width) for width in LABEL_WIDTHS], LINE_LIMITS
        )
    ]
    layouts = [place(pruned.graph, lines, spacing) for lines in tries]
    best = min(range(len(tries)), key=lambda i: (round(_ugliness(layouts[i], spacing), 6), i))
    return sorted_lines(pruned.graph, selection, tries[best], layouts[best], spacing)


def sorted_lines(
    graph: Graph, selection: Selection, lines: Lines, layout: Layout, spacing: Spacing
) -> Layout:
    """The layout with the nodes of each line sorted by where their neighbours stand."""
    neighbours = _neighbours(graph, selection)
    for _ in range(ROUNDS):
        lines = _sort_lines(lines, layout, neighbours, graph.info.n_layers)
        layout = place(graph, lines, spacing)
    return layout


def _ugliness(layout: Layout, spacing: Spacing) -> float:
    """Distance from a landscape page, and a price on small print and on shortened labels."""
    too_wide = max(0.0, layout.width / spacing.widest - 1)
    return abs(log(layout.width / layout.height / PROPORTION)) + 2 * too_wide + 0.6 * layout.cut


def place(graph: Graph, lines: Lines, spacing: Spacing) -> Layout:
    """Everything where these lines put it; on a page wider than asked for, if it must be."""
    top_layer = graph.info.n_layers
    inner = {cell: at for cell, at in lines.items() if cell[1] < top_layer}
    order = {layer: i for i, layer in enumerate(sorted({layer for _, layer in inner}))}
    at_top = {
        cell: [node for line in at for node in line]
        for cell, at in lines.items()
        if cell[1] >= top_layer
    }
    wanted = sum(
        max(line_width(line) for line in _even_lines(nodes, spacing.widest))
        for nodes in at_top.values()
    )
    filled = max(spacing.narrowest, wanted + spacing.gutter)
    spans, width = _filled_spans(graph, inner, order, filled, spacing)
    targets = {cell: _even_lines(nodes, width - spacing.gutter) for cell, nodes in at_top.items()}
    bands = _bands({**inner, **targets}, spacing, stretch=1.0)
    flatness = width / bands[min(bands)].bottom / FLATTEST
    if flatness > 1:
        bands = _bands({**inner, **targets}, spacing, stretch=min(flatness, 2.2))
    placed: dict[int, Placed] = {}
    for (position, layer), cell in inner.items():
        span = spans[position]
        lefts = [
            span.left + (span.core - core_width(line)) * _stagger(order[layer], i)
            for i, line in enumerate(cell)
        ]
        _place_cell(placed, cell, lefts, bands[layer].middle, spacing.line_gap)
    end = spacing.gutter
    for (position, layer), cell in sorted(targets.items()):
        room = max(line_width(line) for line in cell)
        centre = spans[position].column.centre
        left = max(min(centre - room / 2, width - room), end)
        lefts = [left + (room - line_width(line)) / 2 for line in cell]
        _place_cell(placed, cell, lefts, bands[layer].middle, spacing.line_gap)
        end = left + room + NODE_GAP
    nodes = [node for cell in lines.values() for line in cell for node in line]
    return Layout(
        width=max(width, end - NODE_GAP),
        height=bands[min(bands)].bottom,
        placed={row: placed[row] for row in sorted(placed)},
        columns=tuple(span.column for span in spans.values()),
        bands=tuple(bands.values()),
        cut=sum(node.is_cut for node in nodes) / max(len(nodes), 1),
        upright=spacing.upright,
        smallest=spacing.smallest,
    )


def _even_lines(nodes: Line, room: float) -> list[list[MeasuredNode]]:
    """As few lines as fit the room, of about the same number of nodes, in the given order."""
    fewest = len(pack(nodes, room))
    while True:
        size = -(-len(nodes) // fewest)
        lines = [list(nodes[i : i + size]) for i in range(0, len(nodes), size)]
        if size == 1 or max(line_width(line) for line in lines) <= room:
            return lines
        fewest += 1


def _stagger(layer: int, line: int) -> float:
    return STAGGER[(layer + line) % len(STAGGER)]


def _place_cell(
    placed: dict[int, Placed],
    lines: CellLines,
    lefts: Sequence[float],
    y: float,
    gap: float,
) -> None:
    top = y - cell_height(lines, gap) / 2
    for line, x in zip(lines, lefts, strict=True):
        middle = top + line_height(line) / 2
        for node in line:
            half, mark_half = node.height / 2, node.mark_height / 2
            mark = Box(x, middle - mark_half, x + node.mark_width, middle + mark_half)
            box = Box(x, middle - half, x + node.width, middle + half)
            placed[node.row] = Placed(node.row, mark, box, node.label, node.upright)
            x += node.width + NODE_GAP
        top += line_height(line) + gap


def _filled_spans(
    graph: Graph, lines: Lines, order: Mapping[int, int], wanted: float, spacing: Spacing
) -> tuple[dict[int, _Span], float]:
    """Columns that fill at least the wanted width: what is over goes between them."""
    is_short = len(graph.info.tokens) <= FEW_TOKENS
    gap = spacing.column_gap if is_short else spacing.narrow_column_gap
    spans, width = _spans(graph, lines, order, gap, spacing)
    if width < wanted:
        gap += min((wanted - width) / len(spans), spacing.largest_gap)
        spans, width = _spans(graph, lines, order, gap, spacing)
    return spans, max(width, wanted)


def _spans(
    graph: Graph, lines: Lines, order: Mapping[int, int], gap: float, spacing: Spacing
) -> tuple[dict[int, _Span], float]:
    """Columns from left to right, by their first position, and the right end of everything."""
    tokens = prompt_texts(graph.info.tokens)
    by_position: dict[int, dict[int, CellLines]] = {
        target.position: {} for target in graph.info.targets
    }
    for (position, layer), cell in lines.items():
        by_position.setdefault(position, {})[layer] = cell
    ends: dict[int, float] = {}  # right end of what is placed so far, by layer
    spans: dict[int, _Span] = {}
    shortest_run = 2 if len(tokens) <= MAX_TOKENS else 1
    left, position = spacing.gutter + gap / 2, 0
    while position < len(tokens):
        if position == spacing.apart:
            left = max([left, *ends.values()]) + APART
        run = position
        while run < len(tokens) and run not in by_position:
            run += 1
        if run - position >= shortest_run:
            column = Column(position, run - position, left, left + GAP_WIDTH, "")
            spans[position] = _Span(column, left, GAP_WIDTH)
            left += GAP_WIDTH + gap
            position = run
            continue
        label = shorten_to_width(tokens[position], TOKEN_SIZE, TOKEN_WIDTH)
        across = TOKEN_SIZE if spacing.upright else text_width(label, TOKEN_SIZE)
        cells = by_position.get(position, {})
        span = _span(position, label, across, cells, left, ends, order, gap)
        spans[position] = span
        left = span.left + span.core + gap
        position += 1
    return spans, max([left - gap / 2, *ends.values()])


def _span(
    position: int,
    label: str,
    across: float,
    cells: Mapping[int, CellLines],
    left: float,
    ends: dict[int, float],
    order: Mapping[int, int],
    gap: float,
) -> _Span:
    """One column: as far left as its cells find their layers free; moves `ends` on."""
    cores = [core_width(line) for cell in cells.values() for line in cell]
    core = max([across, *cores])
    offsets = {
        layer: [
            ((core - core_width(line)) * _stagger(order[layer], i), line_width(line))
            for i, line in enumerate(cell)
        ]
        for layer, cell in cells.items()
    }
    for layer, at in offsets.items():
        if layer in ends:
            left = max(left, ends[layer] + NODE_GAP - min(offset for offset, _ in at))
    for layer, at in offsets.items():
        ends[layer] = left + max(offset + width for offset, width in at)
    column = Column(position, 1, left - gap / 2, left + core + gap / 2, label)
    return _Span(column, left, core)


def _bands(lines: Lines, spacing: Spacing, stretch: float) -> dict[int, Band]:
    """Stripes from the targets down to the tokens, each as high as its fullest cell."""
    layers = sorted({layer for _, layer in lines} | {-1}, reverse=True)
    bands: dict[int, Band] = {}
    y = 0.0
    for layer in layers:
        heights = [
            cell_height(cell, spacing.line_gap) for (_, at), cell in lines.items() if at == layer
        ]
        height = max(heights, default=BOX_HEIGHT)
        half = spacing.layer_gap / 2 * stretch
        above = spacing.token_gap * stretch - half if layer < 0 else half
        middle = y + above + height / 2
        bottom = middle + height / 2 + (spacing.layer_gap / 2 if layer < 0 else half)
        bands[layer] = Band(layer, y, bottom, middle)
        y = bottom
    return bands


def _neighbours(graph: Graph, selection: Selection) -> dict[int, list[tuple[int, float]]]:
    """For every drawn node: the nodes at the other ends of its drawn edges, with the flow."""
    neighbours: dict[int, list[tuple[int, float]]] = {row: [] for row in selection.rows.tolist()}
    for edge, flow in zip(selection.edges.tolist(), selection.flow.tolist(), strict=True):
        source, target = int(graph.edges.source[edge]), int(graph.edges.target[edge])
        neighbours[source].append((target, flow))
        neighbours[target].append((source, flow))
    return neighbours


def _sort_lines(
    lines: Lines,
    layout: Layout,
    neighbours: Mapping[int, Sequence[tuple[int, float]]],
    top_layer: int,
) -> dict[Cell, list[list[MeasuredNode]]]:
    """Sort every line by the flow-weighted mean x of its nodes' neighbours; targets stay."""

    def pull(node: MeasuredNode) -> float:
        near = neighbours[node.row]
        total = sum(flow for _, flow in near)
        if total <= 0:
            return round(layout.placed[node.row].x, 3)
        return round(sum(layout.placed[at].x * flow for at, flow in near) / total, 3)

    return {
        (position, layer): [
            list(line)
            if layer >= top_layer
            else sorted(line, key=lambda node: (pull(node), node.row))
            for line in cell
        ]
        for (position, layer), cell in lines.items()
    }
