"""What a figure shows, in words: a caption for the paper, as plain text.

Only what occurs in the figure is explained; every number comes from the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from circuit_tracer.graphs.graph import NodeKind, Target
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import Path
from circuit_tracer.graphs.token_text import target_texts
from circuit_tracer.render.describe import softcap_line, value_text
from circuit_tracer.render.edge_labels import MEANING
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.route_lines import one_line
from circuit_tracer.render.svg import DrawnGraph
from circuit_tracer.render.text import printable


def caption(
    pruned: PrunedGraph,
    shown: PrunedGraph,
    figure: DrawnGraph,
    *,
    drawn: str = "",
    routes: Sequence[Path] = (),
) -> str:
    """The caption of a `figure` that shows `shown`, all or a part of `pruned`.

    `drawn` says what part that is, `routes` are the routes it consists of, if it does.
    """
    sentences = [_subject(pruned), drawn, _routes(pruned, routes)]
    sentences += [
        sentence
        for sentence in figure.selection.sentences()
        if not (drawn and sentence.startswith("All "))
    ]
    sentences += [_kept(pruned), *_marks(shown, figure), *_edges(shown, figure)]
    sentences.append(softcap_line(pruned.graph))
    return " ".join(sentence for sentence in sentences if sentence)


def _subject(pruned: PrunedGraph) -> str:
    info = pruned.graph.info
    texts = target_texts(info.targets)
    named = [_target(one, words) for one, words in zip(info.targets, texts, strict=True)]
    noun = "target" if len(named) == 1 else "targets"
    return (
        f"Attribution graph of {info.model.name} through the dictionary {info.dictionary.name} "
        f'for the prompt "{printable(info.prompt).strip()}" and the {noun} {_listed(named)}.'
    )


def _target(target: Target, words: str) -> str:
    said = "difference of logits " if target.is_contrast else "" if target.is_token else "value "
    return f'"{words}" ({said}{value_text(target)})'


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _routes(pruned: PrunedGraph, routes: Sequence[Path]) -> str:
    """Each route with its share of all paths, and what they come to for each target."""
    if not routes:
        return ""
    lines = [f"({i}) {one_line(pruned.graph, path)}" for i, path in enumerate(routes, start=1)]
    words = dict(
        zip(pruned.graph.target_rows.tolist(), target_texts(pruned.graph.info.targets), strict=True)
    )
    sums: dict[int, float] = {}
    for path in routes:
        sums[path.rows[-1]] = sums.get(path.rows[-1], 0.0) + path.share
    totals = [f'{percent(share)} of all paths to "{words[row]}"' for row, share in sums.items()]
    return (
        f"Routes, with the share of all paths from tokens to their target that runs along each, "
        f"+ where it pushes the target up and - down: {'; '.join(lines)}. "
        f"Together they are {_listed(totals)}."
    )


def _kept(pruned: PrunedGraph) -> str:
    kept = pruned.cumulative[pruned.node_kept]
    share = float(kept.max(initial=0.0))
    return (
        f"The graph keeps the nodes that carry {percent(share)} of the influence on the targets "
        f"(node threshold {pruned.node_threshold:g}, edge threshold {pruned.edge_threshold:g}); "
        f"replacement score {pruned.scores.replacement:.2f}, completeness score "
        f"{pruned.scores.completeness:.2f}."
    )


def _marks(shown: PrunedGraph, figure: DrawnGraph) -> Iterator[str]:
    nodes, rows = shown.graph.nodes, figure.selection.rows
    kinds = nodes.kind[rows]
    is_feature = kinds == NodeKind.FEATURE
    yield "Tokens run along x with their positions below, layers up y."
    if is_feature.any():
        yield "Discs are features, the larger the more influence they have."
    if (is_feature & ~nodes.expanded[rows]).any():
        yield "The inputs of hollow ones were not computed."
    if (kinds == NodeKind.ERROR).any():
        yield "Diamonds are errors: what the dictionary does not reconstruct."
    yield "Boxes below are tokens, darker with more influence; boxes above are the targets."


def _edges(shown: PrunedGraph, figure: DrawnGraph) -> Iterator[str]:
    is_negative = shown.graph.edges.weight[figure.selection.edges] < 0
    ways = [
        words
        for words, occurs in (
            ("blue edges push their target up", (~is_negative).any()),
            ("dashed orange edges push it down", is_negative.any()),
        )
        if occurs
    ]
    if ways:
        how = ", ".join(ways)
        yield (
            f"{how[0].upper()}{how[1:]}; an edge is as wide as its share of what goes into its "
            "target, and fainter the less influence it carries."
        )
    if figure.has_heads:
        yield MEANING
