"""A graph laid out for a width on paper: as much of it as can be read there.

Larger letters are tried before smaller ones, all nodes before the most influential of them, tokens
side by side before tokens from the bottom up. Of the ways to break lines and to shorten labels that
fit, the one that shortens least and stays lowest is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.layout import place, sorted_lines
from circuit_tracer.render.node_labels import (
    LABEL_GAP,
    LABEL_SIZE,
    NODE_GAP,
    Lines,
    measured_nodes,
    pack,
)
from circuit_tracer.render.places import (
    PAPER_MARGIN,
    POINTS_PER_MM,
    UNIT_POINTS,
    Layout,
    Spacing,
    on_paper,
)
from circuit_tracer.render.selection import MAX_TOKENS, Selection, select
from circuit_tracer.render.text import shorten_to_width, text_width

LABEL_WIDTHS = (140.0, 110.0, 84.0, 64.0, 48.0)
SHORTEST_LABELS = (36.0, 24.0)
"""For pages on which nothing else fits."""
LINE_LIMITS = (0.0, 110.0, 200.0, 320.0)
USUAL_EDGES = 30, 1.5
"""As in selection.py; a narrow page holds fewer."""
COLUMN_GAPS = (80.0, 40.0, 20.0, 8.0, 0.0)
FEWER = 0.8
FEWEST_NODES = 6
TOKENS = (MAX_TOKENS, 18, 13, 10, 8, 6, 4, 2)
TALLEST_MM, TALLER = 64.0, 0.5
"""A figure is at most so high, and so much of its width more."""
PRICE_OF_TURNING = 0.5
PRICE_OF_HEIGHT = 0.35
FEW_LETTERS = 13
STUNTED = 0.2
"""Share of the labels that may have fewer letters; else fewer nodes or tokens are drawn."""
LONG_ENOUGH = 0.34
"""Share of the labels that may be shortened for the sake of larger letters."""
ENOUGH = 0.6
"""So much of the nodes is enough, if tokens then need not be written from the bottom up."""
ROUNDING = 1e-6


@dataclass(frozen=True)
class Fitted:
    """What is drawn of a graph on a page for a width on paper, and where."""

    selection: Selection
    layout: Layout
    unit: float
    """Points that a unit of the page is."""
    stunted: float
    """Share of the labels beside marks that are too short to say anything."""


def fit(pruned: PrunedGraph, width_mm: float, *, max_nodes: int) -> Fitted:
    """Lay out at most `max_nodes` features and errors for `width_mm` on paper.

    Draws fewer where more could not be read; `selection.sentences()` says how many.
    """
    numbers = list(_numbers(pruned, max_nodes))
    best = None
    for unit in UNIT_POINTS[:-1]:
        fitted = _Page(pruned, width_mm, unit).fitted(max_nodes, LABEL_WIDTHS)
        if fitted is None or fitted.stunted:
            continue
        if fitted.layout.cut <= LONG_ENOUGH:
            return fitted
    page = _Page(pruned, width_mm, UNIT_POINTS[-1])
    for number in numbers:
        if best is not None and number < ENOUGH * best.selection.drawn:
            break
        fitted = page.fitted(number, LABEL_WIDTHS)
        if fitted is not None and (best is None or fitted.stunted < best.stunted - ROUNDING):
            best = fitted
        if best is not None and best.stunted <= STUNTED:
            break
    if best is None:
        return page.fitted(FEWEST_NODES, SHORTEST_LABELS) or page.smallest()
    if best.layout.upright:
        for number in (n for n in numbers if n <= best.selection.drawn):
            level = page.fitted(number, LABEL_WIDTHS, (False,))
            if level is not None and level.stunted <= max(best.stunted, STUNTED):
                return level if level.selection.drawn >= ENOUGH * best.selection.drawn else best
    return best


def _numbers(pruned: PrunedGraph, max_nodes: int) -> Iterator[int]:
    """How many features and errors are tried, all first."""
    kinds = pruned.graph.nodes.kind[pruned.node_kept]
    there = int(((kinds == NodeKind.FEATURE) | (kinds == NodeKind.ERROR)).sum())
    yield max_nodes
    number = min(max_nodes, there)
    while (number := int(FEWER * number)) >= FEWEST_NODES:
        yield number


class _Page:
    """A page of a width on paper, with letters of one size."""

    def __init__(self, pruned: PrunedGraph, width_mm: float, unit: float) -> None:
        self.pruned, self.unit = pruned, unit
        self.width = width_mm * POINTS_PER_MM / unit - 2 * PAPER_MARGIN
        self.tallest = (TALLEST_MM + TALLER * width_mm) * POINTS_PER_MM / unit

    def fitted(
        self,
        number: int,
        label_widths: Sequence[float],
        directions: Sequence[bool] = (False, True),
    ) -> Fitted | None:
        """The best layout of so many nodes, with the most tokens that fit; None if none does."""
        tokens, best = len(self.pruned.graph.info.tokens), None
        for most in (TOKENS[0], *(n for n in TOKENS[1:] if n < tokens)):
            fitted = self._best(self._selection(number, most), label_widths, directions)
            if fitted is not None and (best is None or fitted.stunted < best.stunted - ROUNDING):
                best = fitted
            if best is not None and best.stunted <= STUNTED:
                break
        return best

    def _best(
        self, selection: Selection, label_widths: Sequence[float], directions: Sequence[bool]
    ) -> Fitted | None:
        """The best layout of these nodes, tokens turned or not; columns closer if that helps."""
        labels = _labels(self.pruned, selection)
        found: list[tuple[float, int, Lines, Layout, Spacing]] = []
        for upright in directions:
            spacing = on_paper(self.width, upright=upright)
            for lines, layout in self._layouts(selection, spacing, label_widths):
                price = _price(lengthened(layout, labels), labels)
                found.append((price, len(found), lines, layout, spacing))
        if not found:
            return None
        _, _, lines, layout, spacing = min(found, key=lambda one: one[:2])
        graph, tries = self.pruned.graph, []
        for gap in COLUMN_GAPS:
            closer = replace(spacing, largest_gap=gap)
            done = place(graph, lines, closer)
            done = sorted_lines(graph, selection, lines, done, closer)
            if self._holds(done):
                tries.append(lengthened(done, labels))
        layout = min(tries or [lengthened(layout, labels)], key=lambda one: _price(one, labels))
        return Fitted(selection, layout, self.unit, stunted(layout, labels))

    def smallest(self) -> Fitted:
        """As little as there can be, for a page on which nothing fits: it is wider or higher."""
        selection = self._selection(1, TOKENS[-1])
        spacing = on_paper(self.width, upright=True)
        (lines,) = self._lines(selection, spacing, SHORTEST_LABELS[-1], (0.0,))
        return Fitted(selection, place(self.pruned.graph, lines, spacing), self.unit, 1.0)

    def _layouts(
        self, selection: Selection, spacing: Spacing, label_widths: Sequence[float]
    ) -> Iterator[tuple[Lines, Layout]]:
        """Those that fit, by the width of labels and of lines."""
        graph = self.pruned.graph
        ends = LINE_LIMITS[0], LINE_LIMITS[-1]
        narrowest, lowest = self._lines(selection, spacing, label_widths[-1], ends)
        if place(graph, narrowest, spacing).width > self.width + ROUNDING:
            return
        if place(graph, lowest, spacing).height > self.tallest:
            return
        for label_width in label_widths:
            for lines in self._lines(selection, spacing, label_width, LINE_LIMITS):
                layout = place(graph, lines, spacing)
                if self._holds(layout):
                    yield lines, layout
                if layout.width > self.width + ROUNDING:
                    break  # longer lines are wider still

    def _lines(
        self,
        selection: Selection,
        spacing: Spacing,
        label_width: float,
        limits: Sequence[float],
    ) -> Iterator[Lines]:
        nodes = measured_nodes(self.pruned, selection, label_width, upright=spacing.upright)
        for limit in limits:
            yield {cell: pack(members, limit) for cell, members in nodes.items()}

    def _holds(self, layout: Layout) -> bool:
        return layout.width <= self.width + ROUNDING and layout.height <= self.tallest

    def _selection(self, number: int, max_tokens: int) -> Selection:
        """So many nodes; of the edges, by default, fewer than on a page with more room."""
        return select(self.pruned, max_nodes=number, max_tokens=max_tokens, usual_edges=USUAL_EDGES)


def lengthened(layout: Layout, labels: Mapping[int, str]) -> Layout:
    """The layout with shortened labels as long as there is room to their right.

    `labels` are whole, by row, of the nodes whose labels stand beside their marks.
    """
    placed = dict(layout.placed)
    for row, words in labels.items():
        node = placed[row]
        if node.label == words:
            continue
        end = layout.width
        for other in placed.values():
            is_level = other.box.top < node.box.bottom and node.box.top < other.box.bottom
            if is_level and other.box.left >= node.box.right:
                end = min(end, other.box.left - NODE_GAP / 2)
        left = node.mark.right + LABEL_GAP
        longer = shorten_to_width(words, LABEL_SIZE, end - left)
        if len(longer) > len(node.label):
            right = left + text_width(longer, LABEL_SIZE)
            placed[row] = replace(node, label=longer, box=node.box._replace(right=right))
    cut = sum(placed[row].label != words for row, words in labels.items())
    return replace(layout, placed=placed, cut=cut / max(len(placed), 1))


def _labels(pruned: PrunedGraph, selection: Selection) -> dict[int, str]:
    """By row: the whole labels that stand beside marks."""
    nodes = measured_nodes(pruned, selection, inf)
    return {
        node.row: node.label
        for cell in nodes.values()
        for node in cell
        if node.width > node.mark_width
    }


def stunted(layout: Layout, labels: Mapping[int, str]) -> float:
    """The share of labels that are shortened to less than a few words."""
    shown = [(layout.placed[row].label, words) for row, words in labels.items()]
    short = sum(label != words and len(label) < FEW_LETTERS for label, words in shown)
    return short / max(len(shown), 1)


def _price(layout: Layout, labels: Mapping[int, str]) -> float:
    """What is to be paid in shortened labels, height, and a head put on its side."""
    height = PRICE_OF_HEIGHT * layout.height / layout.width
    shortened = stunted(layout, labels) + 0.5 * layout.cut
    return round(shortened + height + PRICE_OF_TURNING * layout.upright, 6)
