"""What a terminal shows of a trace: tokens, targets, scores with their meaning, routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import Path
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.describe import features_there, score_lines, softcap_line, value_words
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.route_lines import routes, straight
from circuit_tracer.render.tables import effects
from circuit_tracer.render.terminal import (
    LABEL_CELLS,
    WIDTH,
    in_lines,
    note,
    plain_table,
    titled,
)
from circuit_tracer.render.text import shorten

MOST_TOKENS = 8
"""Tokens whose effects are listed, those with most."""


def summary(
    pruned: PrunedGraph,
    paths: Sequence[Path] | None,
    *,
    width: int = WIDTH,
    section: RenderableType | None = None,
    carried: Mapping[tuple[int, int], str] | None = None,
) -> RenderableType:
    """The trace on one screen: tokens, targets, what tokens do to the first, scores, strongest
    routes (none if None).

    `section` is shown in place of the routes, where it is given; `carried` as in `routes`.
    """
    gap, capped = Text(""), softcap_line(pruned.graph)
    parts = [*titled("Tokens", tokens(pruned.graph, width=width)), gap]
    parts += titled("Targets", targets(pruned.graph), *([note(capped)] if capped else []), gap)
    info = pruned.graph.info
    if info.totals:
        parts += [*effects(info, limit=MOST_TOKENS), gap]
    parts += titled("Scores", scores(pruned), gap)
    if section is not None:
        parts += [section, gap]
    elif paths is not None:
        listed = routes(pruned, paths, width=width, carried=carried)
        parts += titled("Strongest routes through features", listed, straight(pruned.graph), gap)
    return Group(*parts, counts(pruned))


def counts(pruned: PrunedGraph) -> Text:
    """One line on how much of the graph was kept."""
    features = pruned.graph.nodes.kind == NodeKind.FEATURE
    kept = int(pruned.node_kept[features].sum())
    return Text(
        f"{kept:,} of {int(features.sum()):,} {features_there(pruned.graph)} and "
        f"{int(pruned.edge_kept.sum()):,} of {len(pruned.edge_kept):,} edges kept "
        f"(thresholds {pruned.node_threshold:g}, {pruned.edge_threshold:g}).",
        style="dim",
    )


def tokens(graph: Graph, *, width: int = WIDTH) -> Text:
    """The prompt's tokens with their positions, as many to a line as fit."""
    texts = enumerate(prompt_texts(graph.info.tokens))
    pieces = [f"  {position}:{shorten(token, LABEL_CELLS)}" for position, token in texts]
    return Text("\n".join(in_lines(pieces, width)), no_wrap=True, overflow="ignore")


def targets(graph: Graph) -> Table:
    """What the graph explains: each target with its probability, logit and weight."""
    table = plain_table()
    table.add_column("target", no_wrap=True, min_width=12)
    table.numbers("at", "probability", "logit", "weight").texts("")
    texts = target_texts(graph.info.targets)
    rows = graph.target_rows.tolist()
    for row, target, words in zip(rows, graph.info.targets, texts, strict=True):
        table.line(
            shorten(words, LABEL_CELLS),
            str(target.position),
            "" if target.direction else percent(target.probability),
            f"{target.logit:.2f}" if target.is_token else f"{target.logit:+.2f}",
            percent(float(graph.nodes.weight[row])),
            f"choice {target.rank + 1}" if target.is_token else value_words(target),
        )
    return table


def scores(pruned: PrunedGraph) -> Table:
    """Every score with one sentence on what its value means."""
    table = plain_table(header=False).texts("").numbers("")
    table.add_column()
    for score in score_lines(pruned):
        table.line(score.name, score.value, score.meaning)
    return table
