"""Supernodes in the terminal: the groups with their scores, and the routes between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuit_tracer.graphs.graph import Graph, NodeKind, node_name
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.graph import GroupPath, SupernodeGraph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.graphs.supernodes.scores import Figure, GroupScores, ScoredGroups
from circuit_tracer.graphs.token_text import prompt_texts
from circuit_tracer.render.describe import feature_id, short_label
from circuit_tracer.render.numbers import percent, signed_percent
from circuit_tracer.render.terminal import (
    LABEL_CELLS,
    WIDTH,
    in_lines,
    note,
    plain_table,
    titled,
)
from circuit_tracer.render.text import printable, shorten

MEANINGS = {
    "consistency": "members fire on the same tokens (0 to 1)",
    "silhouette": "edges more alike inside than to the next group (-1 to 1)",
    "coherence": "members move together when intervened on (-1 to 1)",
}


def page(scored: ScoredGroups, *, width: int = WIDTH) -> list[RenderableType]:
    """The groups with their scores and members, random ones, and the routes between them."""
    pruned, groups = scored.pruned, scored.groups
    against: list[RenderableType] = []
    if scored.figures:
        against = titled("Against random groups of the same sizes", figures_table(scored.figures))
    return [
        group_table(pruned, groups, scored.scores),
        members(pruned, groups, width=width),
        *against,
        *titled(
            "Strongest routes between supernodes",
            group_routes(pruned, scored.whole, scored.paths, width=width),
        ),
    ]


def group_table(
    pruned: PrunedGraph, groups: Sequence[Supernode], scores: Sequence[GroupScores]
) -> Table:
    """One line a supernode: name, token, members, layers, influence, scores."""
    nodes = pruned.graph.nodes
    words = prompt_texts(pruned.graph.info.tokens)
    grouped = {row for group in groups for row in group.rows}
    table = plain_table(
        f"{len(groups)} supernodes of {len(grouped)} nodes; influence: summed over the members."
    )
    shown = [name for name in MEANINGS if any(getattr(s, name) is not None for s in scores)]
    table.texts("supernode", "at token").numbers("nodes").texts("layers")
    table.numbers("influence", *shown)
    for group, score in zip(groups, scores, strict=True):
        rows = list(group.rows)
        positions = sorted({int(nodes.position[row]) for row in rows})
        layers = sorted({int(nodes.layer[row]) for row in rows})
        ends = dict.fromkeys((layers[0], layers[-1]))
        table.line(
            shorten(printable(group.name), LABEL_CELLS),
            shorten(" ".join(f"{words[at]}@{at}" for at in positions), 18),
            str(len(rows)),
            "-".join(_level(pruned.graph, layer) for layer in ends),
            percent(float(pruned.influence[rows].sum())),
            *(_score(getattr(score, name)) for name in shown),
        )
    return table


def _level(graph: Graph, layer: int) -> str:
    if layer < 0:
        return "tokens"
    return f"L{layer}" if layer < graph.info.n_layers else "targets"


def members(pruned: PrunedGraph, groups: Sequence[Supernode], *, width: int = WIDTH) -> Text:
    """The nodes of each supernode with their labels."""
    nodes = pruned.graph.nodes
    text = Text()
    for group in groups:
        names = []
        for row in group.rows:
            is_feature = nodes.kind[row] == NodeKind.FEATURE
            name = feature_id(pruned.graph, row)
            name = name if is_feature else printable(node_name(pruned.graph, row))
            label = shorten(short_label(pruned.graph, row), LABEL_CELLS)
            names.append(name if label.strip() in name else f"{name} {label}")
        text.append(f"{printable(group.name)}\n", style="bold")
        pieces = [f"  {names[0]};", *(f" {name};" for name in names[1:])]
        text.append("".join(f"{line.rstrip(';')}\n" for line in in_lines(pieces, width - 1)))
    return text


def figures_table(figures: Mapping[str, Figure]) -> Table:
    """The grouping beside random ones of the same sizes."""
    table = plain_table().texts("score").numbers("here", "random", "p")
    table.add_column("")
    for name, figure in figures.items():
        table.line(
            name,
            f"{figure.value:.2f}",
            f"{figure.random:.2f}",
            f"{figure.p:.3f}",
            MEANINGS[name],
        )
    return table


def group_routes(
    pruned: PrunedGraph,
    whole: SupernodeGraph,
    paths: Sequence[GroupPath],
    *,
    width: int = WIDTH,
) -> RenderableType:
    """Routes between groups, one a line, with the shares that push the target up and down."""
    if not paths:
        return Text("  No route from a token to a target was kept: lower the pruning.")
    text = Text(no_wrap=True, overflow="ignore")
    target = paths[0].nodes[-1]
    for path in paths:
        if path.nodes[-1] != target:
            text.append("\n")
            target = path.nodes[-1]
        up = signed_percent(path.up) if path.up > 0 else ""
        down = signed_percent(-path.down) if path.down > 0 else ""
        text.append(f"  {up:>8} {down:>8}  ")
        names = [_called(pruned.graph, whole.nodes[node]) for node in path.nodes]
        arrows = ["", *[" → "] * (len(names) - 2), " ⟹ "]
        pieces = [arrow + name for arrow, name in zip(arrows, names, strict=True)]
        text.append(("\n" + " " * 20).join(in_lines(pieces, width - 20)) + "\n")
    text.rstrip()
    below = "Share of all paths from tokens to the target that push it up, and down; [supernode]."
    return Group(text, note(below))


def _called(graph: Graph, node: Supernode) -> str:
    """A supernode by its name, a token or target by its text, any other node by its label."""
    if len(node.rows) > 1:
        return shorten(f"[{printable(node.name)}]", LABEL_CELLS)
    row = node.rows[0]
    words = shorten(short_label(graph, row).strip(), LABEL_CELLS)
    if graph.nodes.kind[row] in (NodeKind.EMBEDDING, NodeKind.LOGIT):
        tokens = graph.info.tokens
        is_unique = tokens.count(graph.token_of(row)) == 1
        is_target = graph.nodes.kind[row] == NodeKind.LOGIT
        return words if is_target or is_unique else f"{words}@{graph.nodes.position[row]}"
    if graph.nodes.kind[row] == NodeKind.FEATURE:
        name = feature_id(graph, row)
        return name if words == name else f"{name} {words}"
    return f"L{graph.nodes.layer[row]} {words}"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
