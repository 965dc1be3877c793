"""The legend under the figure: marks, scores, settings, what was left out; or the marks alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.describe import features_there, score_lines, softcap_line
from circuit_tracer.render.markup import element
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.shapes import edge_color, error_mark, feature_mark, stroke
from circuit_tracer.render.svg_page import (
    SMALL,
    Block,
    bold,
    ink,
    line,
    paragraph,
    quiet,
    rect,
    shift,
)
from circuit_tracer.render.tables import below_tokens
from circuit_tracer.render.text import shorten_to_width, text_width

LegendKind = Literal["none", "short", "full"]
LEGENDS: tuple[LegendKind, ...] = ("none", "short", "full")
LINE = 15.0
SAMPLE = 28.0
"""Width of a mark with the gap after it."""
SHORT_GAP = 9.0
MARKS_WIDTH = 210.0
NARROW = 480.0
"""A page so wide has the tables beside the marks."""
NARROWEST = 250.0
"""A page so wide has the tables side by side."""
READING = (
    "Edges run upwards; an edge is as wide as its share of what goes into its target, and fainter "
    "the less influence it carries."
)


def legend(
    pruned: PrunedGraph,
    selection: Selection,
    width: float,
    *,
    on_edges: str = "",
    drawn: str = "",
) -> Block:
    """Three blocks, then the sentences on what is drawn, `on_edges` among them.

    The blocks stand side by side, on a narrow page the tables below the marks.

    `drawn` says what part of a graph this is (views.py), in place of the counts of the whole.
    """
    scores = [(score.name, score.value) for score in score_lines(pruned)]
    settings = _settings(pruned) + ([] if drawn else _counts(pruned))
    marks = _marks(pruned, selection, width)
    is_narrow, is_stacked = width < NARROW, width < NARROWEST
    left, top = (0.0, marks.height + LINE / 2) if is_narrow else (MARKS_WIDTH, 0.0)
    side = width if is_stacked else min((width - left) / 2, 280.0)
    tables = (
        _table("Scores of the whole graph", scores, side),
        _table("Settings", settings, side),
    )
    placed, bottom = [shift(0, LINE, marks.markup)], top
    for table in tables:
        placed.append(shift(left, LINE + top, table.markup))
        bottom = max(bottom, top + table.height)
        left, top = (0.0, bottom + LINE / 2) if is_stacked else (left + side, top)
    height = max(marks.height, bottom)
    chosen = [
        sentence
        for sentence in selection.sentences()
        if not (drawn and sentence.startswith("All "))
    ]
    effects = below_tokens(pruned.graph.info)
    sentences = (READING, on_edges, drawn, *chosen, effects, softcap_line(pruned.graph))
    below, y = paragraph(" ".join(sentences), 0, height + 19, width)
    rule = line((0, 0), (width, 0), palette.RULE)
    return Block("".join([rule, *placed, below]), y - 9)


def short_legend(pruned: PrunedGraph, selection: Selection, width: float) -> Block:
    """What the shapes and lines stand for, one after the other in as many lines as it takes."""
    parts, x, y = [], 0.0, LINE
    is_negative = pruned.graph.edges.weight[selection.edges] < 0
    for mark, sentence in _samples(pruned, selection, bool(is_negative.any())):
        words = sentence.partition(";")[0].partition(":")[0]
        words = shorten_to_width(words, SMALL, width - SAMPLE)
        across = SAMPLE + text_width(words, SMALL)
        if x and x + across > width:
            x, y = 0.0, y + LINE
        parts.append(shift(x, y, mark, ink(words, SAMPLE, 0, font_size=SMALL)))
        x += across + SHORT_GAP
    return Block("".join(parts), y + 3)


def _marks(pruned: PrunedGraph, selection: Selection, width: float) -> Block:
    """The shapes and lines with what they stand for, one a line."""
    rows = _samples(pruned, selection, True)
    parts = [bold("Legend", 0, 0, SMALL)]
    for i, (mark, sentence) in enumerate(rows, start=1):
        words = shorten_to_width(sentence, SMALL, width - SAMPLE)
        parts.append(shift(0, i * LINE, mark, ink(words, SAMPLE, 0, font_size=SMALL)))
    return _listed(parts, rows)


def _samples(
    pruned: PrunedGraph, selection: Selection, has_negative: bool
) -> list[tuple[str, str]]:
    """The shapes and lines with what they stand for; only those that occur."""
    graph, nodes = pruned.graph, pruned.graph.nodes
    kinds = nodes.kind[selection.rows]
    is_hollow = (kinds == NodeKind.FEATURE) & ~nodes.expanded[selection.rows]
    target = graph.info.targets[0]
    words = "probability" if target.is_token else "value"
    words = "difference of logits" if target.is_contrast else words
    rows = [(_box_sample(palette.TARGET, palette.TARGET), f"target and its {words}")]
    if NodeKind.FEATURE in kinds:
        rows.append((feature_mark(11.0, -3.0, 5.0), "feature; area by influence"))
    if is_hollow.any():
        rows.append((feature_mark(11.0, -3.0, 5.0, False), "feature, inputs not computed"))
    if NodeKind.ERROR in kinds:
        rows.append((error_mark(11.0, -3.0, 5.5), "error: what the dictionary misses"))
    return [
        *rows,
        (_box_sample(palette.TOKEN, palette.TOKEN_EDGE), "token; darker with more influence"),
        (_line_sample(False), "pushes its target up"),
        *([(_line_sample(True), "pushes its target down")] if has_negative else []),
    ]


def _box_sample(fill: str, edge: str) -> str:
    return rect(1, -8, 20, 10, rx=3, fill=fill, stroke=edge)


def _line_sample(negative: bool) -> str:
    style = stroke(negative, 0.25, 0.6, edge_color(negative))
    return element("line", x1=0, y1=-3, x2=23, y2=-3, **style)


def _table(name: str, rows: list[tuple[str, str]], width: float) -> Block:
    parts = [bold(name, 0, 0, SMALL)]
    indent = max(text_width(left, SMALL) for left, _ in rows) + 10
    for i, (left, right) in enumerate(rows, start=1):
        short = shorten_to_width(right, SMALL, width - indent - 12)
        parts.append(quiet(left, 0, i * LINE, font_size=SMALL))
        parts.append(ink(short, indent, i * LINE, font_size=SMALL))
    return _listed(parts, rows)


def _listed(parts: Sequence[str], rows: Sequence[object]) -> Block:
    return Block("".join(parts), LINE * (1 + len(rows)))


def _settings(pruned: PrunedGraph) -> list[tuple[str, str]]:
    info = pruned.graph.info
    return [
        ("model", info.model.name),
        ("dictionary", info.dictionary.name),
        ("node threshold", f"{pruned.node_threshold:g}"),
        ("edge threshold", f"{pruned.edge_threshold:g}"),
        ("dtype", info.dtype),
    ]


def _counts(pruned: PrunedGraph) -> list[tuple[str, str]]:
    features = len(pruned.graph.nodes.of_kind(NodeKind.FEATURE))
    return [
        ("nodes kept", f"{int(pruned.node_kept.sum()):,} of {len(pruned.node_kept):,}"),
        (features_there(pruned.graph), f"{features:,}"),
    ]
