"""The legend under the figure: marks, scores, settings, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render import palette
from circuit_tracer.render.describe import features_there, score_lines, softcap_line
from circuit_tracer.render.markup import element, figure, text
from circuit_tracer.render.selection import Selection
from circuit_tracer.render.shapes import error_mark, feature_mark, stroke
from circuit_tracer.render.text import shorten_to_width, text_width

SIZE = 9.0
LINE = 15.0
MARKS_WIDTH = 210.0
READING = (
    "Edges run upwards; an edge is as wide as its share of what goes into its target, and fainter "
    "the less influence it carries."
)


@dataclass(frozen=True)
class Legend:
    """Markup that starts at (0, 0), and its height."""

    markup: str
    height: float


def legend(
    pruned: PrunedGraph,
    selection: Selection,
    width: float,
    *,
    on_edges: str = "",
    drawn: str = "",
) -> Legend:
    """Three blocks side by side, then the sentences on what is drawn, `on_edges` among them.

    `drawn` says what part of a graph this is (views.py), in place of the counts of the whole.
    """
    scores = [(score.name, score.value) for score in score_lines(pruned)]
    side = min((width - MARKS_WIDTH) / 2, 280.0)
    settings = _settings(pruned) + ([] if drawn else _counts(pruned, selection))
    blocks = (
        (0.0, *_marks(pruned, selection)),
        (MARKS_WIDTH, *_table("Scores of the whole graph", scores, side)),
        (MARKS_WIDTH + side, *_table("Settings", settings, side)),
    )
    height = LINE * (1 + max(lines for _, _, lines in blocks))
    placed = [
        element("g", markup, transform=f"translate({figure(x)} {figure(LINE)})")
        for x, markup, _ in blocks
    ]
    y = height + 6
    sentences = []
    chosen = [one for one in selection.sentences() if not (drawn and one.startswith("All "))]
    said = (READING, on_edges, drawn, *chosen, softcap_line(pruned.graph))
    for line in wrap(" ".join(said), SIZE, width):
        y += LINE - 2
        sentences.append(text(line, 0, y, font_size=SIZE, fill=palette.INK))
    rule = element("line", x1=0, y1=0, x2=width, y2=0, stroke=palette.RULE)
    return Legend(rule + "".join(placed) + "".join(sentences), y + 4)


def wrap(content: str, size: float, width: float) -> list[str]:
    """The text in lines that fit the width; a single word that does not is cut short."""
    lines: list[str] = []
    for word in content.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten_to_width(word, size, width))
    return lines


def _heading(content: str) -> str:
    return text(content, 0, 0, font_size=SIZE, font_weight="bold", fill=palette.INK)


def _marks(pruned: PrunedGraph, selection: Selection) -> tuple[str, int]:
    """The shapes and lines with what they stand for; only those that occur."""
    nodes = pruned.graph.nodes
    kinds = {int(kind) for kind in nodes.kind[selection.rows]}
    rows = [
        (_box_sample(palette.TARGET, palette.TARGET), "target and its probability"),
        (_box_sample(palette.TOKEN, palette.TOKEN_EDGE), "token; darker with more influence"),
        (_line_sample(False), "pushes its target up"),
        (_line_sample(True), "pushes its target down"),
    ]
    if NodeKind.FEATURE in kinds:
        rows.insert(1, (feature_mark(11.0, -3.0, 5.0), "feature; area by influence"))
    if NodeKind.ERROR in kinds:
        rows.insert(2, (error_mark(11.0, -3.0, 5.5), "error: what the dictionary misses"))
    hollow = nodes.kind[selection.rows] == NodeKind.FEATURE
    if bool((hollow & ~nodes.expanded[selection.rows]).any()):
        rows.insert(2, (feature_mark(11.0, -3.0, 5.0, False), "feature, inputs not computed"))
    parts = [_heading("Legend")]
    for i, (mark, words) in enumerate(rows, start=1):
        label = text(words, 28, 0, font_size=SIZE, fill=palette.INK)
        parts.append(element("g", mark, label, transform=f"translate(0 {figure(i * LINE)})"))
    return "".join(parts), len(rows)


def _box_sample(fill: str, line: str) -> str:
    return element("rect", x=1, y=-8, width=20, height=10, rx=3, fill=fill, stroke=line)


def _line_sample(negative: bool) -> str:
    return element("line", x1=0, y1=-3, x2=23, y2=-3, **stroke(negative, 0.25, 0.6))


def _table(name: str, rows: list[tuple[str, str]], width: float) -> tuple[str, int]:
    parts = [_heading(name)]
    indent = max(text_width(left, SIZE) for left, _ in rows) + 10
    for i, (left, right) in enumerate(rows, start=1):
        y = i * LINE
        parts.append(text(left, 0, y, font_size=SIZE, fill=palette.QUIET))
        short = shorten_to_width(right, SIZE, width - indent - 12)
        parts.append(text(short, indent, y, font_size=SIZE, fill=palette.INK))
    return "".join(parts), len(rows)


def _settings(pruned: PrunedGraph) -> list[tuple[str, str]]:
    info = pruned.graph.info
    return [
        ("model", info.model.name),
        ("dictionary", info.dictionary.name),
        ("node threshold", f"{pruned.node_threshold:g}"),
        ("edge threshold", f"{pruned.edge_threshold:g}"),
        ("dtype", info.dtype),
    ]


def _counts(pruned: PrunedGraph, selection: Selection) -> list[tuple[str, str]]:
    return [
        ("nodes kept", f"{int(pruned.node_kept.sum()):,} of {len(pruned.node_kept):,}"),
        (features_there(pruned.graph), f"{selection.active:,}"),
    ]
