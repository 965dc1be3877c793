"""Attention in the terminal: heads that carry influence or edges, and what a score is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from circuit_tracer.graphs.graph import Graph, NodeKind, node_name, node_names
from circuit_tracer.graphs.head_loadings import (
    OTHERS,
    RESIDUAL,
    HeadLoadings,
    LeadingHead,
    Move,
    influence_share,
    strongest_edges,
    strongest_heads,
)
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.qk_terms import KINDS, Parts, QkAttribution, Source
from circuit_tracer.graphs.routes.head_paths import HeadParts, unfollowed_share
from circuit_tracer.graphs.token_text import prompt_texts
from circuit_tracer.render.describe import short_label
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import (
    LABEL_CELLS,
    note,
    plain_table,
    sign_style,
    titled,
)
from circuit_tracer.render.text import printable, shorten

TOKEN_CELLS = 14
Name = Callable[[Source], str]


def leading_table(pruned: PrunedGraph, heads: Sequence[LeadingHead]) -> RenderableType:
    """The heads that carry most influence, and from where to where."""
    if not heads:
        return Text("No head carries any of the kept edges.")
    table = plain_table().texts("head").numbers("influence")
    table.add_column("from → to, with its share of the head")
    for head in heads:
        moves = [f"{_move(pruned.graph, move)} {percent(move.share)}" for move in head.moves]
        table.line(head.name, percent(head.share), ",  ".join(moves))
    return Group(table, Text(_of_what(pruned), style="dim"))


def _of_what(pruned: PrunedGraph) -> str:
    """What the shares in the table are of."""
    count, edges = int(pruned.edge_kept.sum()), strongest_edges(pruned)
    note = (
        "influence: what passes through the head, of all along the kept edges. An edge passes "
        "heads in every layer between its ends, so heads of several layers can carry the same part."
    )
    if len(edges) < count:
        share = percent(influence_share(pruned, edges))
        note += (
            f" Taken apart were the {len(edges):,} strongest of {count:,} kept edges, which carry "
            f"{share} of it."
        )
    return note


def _move(graph: Graph, move: Move) -> str:
    if move.key == move.query:
        return f"{_token(graph, move.key)} itself"
    return f"{_token(graph, move.key)} → {_token(graph, move.query)}"


def _token(graph: Graph, position: int) -> str:
    words = prompt_texts(graph.info.tokens)[position]
    return f"{shorten(words, TOKEN_CELLS)}@{position}"


def ways_explained(pruned: PrunedGraph, parts: HeadParts) -> RenderableType:
    """What routes through heads are, and how much of the edges they are chosen from."""
    return note(
        "The second share is of the whole path through the same nodes, all its ways through heads "
        "together (which sum to 100 %, + and - counted). ─L1.H3@2─L3.H0→: L1.H3 brings it to "
        "position 2, then L3.H0 to the next node; a bare arrow stays in the residual stream. "
        f"Ways too weak to be followed carry {percent(unfollowed_share(pruned, parts))} of the "
        "influence along the kept edges."
    )


def edge_heads(
    graph: Graph, source: int, target: int, weight: float, part: HeadLoadings, *, most: int = 8
) -> list[RenderableType]:
    """One edge: its heads of all layers, strongest first, then every layer's sum."""
    title = Text(f"{_end(graph, source)} → {_end(graph, target)}", style="bold")
    title.append(f"   weight {weight:+.4g}", style=sign_style(weight))
    if not len(part):
        nothing = "  No attention lies between the two: it all stays in the residual stream."
        return [Group(title, Text(nothing))]
    heads = plain_table().texts("head").numbers("loading", "of edge").texts("mostly from → to")
    for head in strongest_heads(part)[:most]:
        move = _move(graph, Move(head.key, head.query, 1.0))
        cells = (head.name, f"{head.loading:+.4g}", percent(head.share), move)
        heads.line(*cells, style=sign_style(head.loading))
    return [Group(title, heads), _layers(part, weight)]


def _layers(part: HeadLoadings, weight: float) -> Table:
    table = plain_table("At every layer the heads and what stays sum to the edge's weight.")
    table.texts("layer").numbers("through heads", "stays in the stream")
    table.add_column("each head, strongest first")
    for layer in np.unique(part.layer).tolist():
        here = part.take(part.layer == layer)
        stays = float(here.loading[here.head == RESIDUAL].sum())
        rows = sorted(
            zip(here.head.tolist(), here.loading.tolist(), strict=True),
            key=lambda row: -abs(row[1]),
        )
        each = [
            f"{'others' if head == OTHERS else f'H{head}'} {loading:+.3g}"
            for head, loading in rows
            if head != RESIDUAL
        ]
        through = float(here.loading.sum()) - stays
        cells = (f"{through:+.4g}", f"{stays:+.4g}", "  ".join(each[:6]))
        table.line(f"L{layer}", *cells)
    return table


def _end(graph: Graph, row: int) -> str:
    """A node's name and its label or token."""
    name, label = printable(node_name(graph, row)), printable(short_label(graph, row)).strip()
    if graph.nodes.kind[row] == NodeKind.ERROR or label in name:
        return name
    quoted = shorten(label, LABEL_CELLS)
    return f"{name} {quoted}" if '"' in quoted else f'{name} "{quoted}"'


def qk_parts(graph: Graph, qk: QkAttribution, *, top: int) -> list[RenderableType]:
    """What a head's score is made of, and what sets its key apart from the strongest other."""
    name = source_names(graph)
    parts = qk.parts
    key, query = _token(graph, qk.key), _token(graph, qk.query)
    title = (
        f"L{qk.layer}.H{qk.head} at {query} looks at {key} with {percent(qk.attention)} "
        "of its attention"
    )
    lines = [_explained(parts)]
    if qk.softcap is not None:
        lines.append(
            f"This model caps scores to ±{qk.softcap:g} by tanh; scores and terms are those "
            "before the cap."
        )
    if qk.sees[0] > 0:
        lines.append(
            f"From {query} this head sees {_token(graph, qk.sees[0])} and what follows it: its "
            f"window is {qk.window} tokens."
        )
    sections: list[list[RenderableType]] = [
        titled(title, Text("\n".join(lines))),
        [_keys(graph, qk)],
        titled("Sums of terms: the query's sources down, the key's across", _by_kind(parts)),
        titled("Strongest terms for and against the score", _terms(parts, name, top)),
        titled("Single sources times the whole other side", _single(parts, name, top)),
    ]
    for other in qk.against[:1]:
        title = f"Why {key} and not {_token(graph, other.key)}: {other.parts.value:+.3f}"
        sections += [
            titled(title, Text(_explained(other.parts))),
            [_terms(other.parts, name, top)],
            [_single(other.parts, name, top)],
        ]
    return [Group(*section) for section in sections]


def _explained(parts: Parts) -> str:
    both = float(parts.by_kind[0, 0])
    one_side = float(parts.by_kind[0].sum() + parts.by_kind[:, 0].sum()) - both
    return (
        f"Explained by features on both sides: {percent(parts.feature_share)} of what adds up to "
        f"{parts.value:+.3f}, whether + or -.\n"
        f"Features on both sides give {both:+.3f}, on one side at least {one_side:+.3f}."
    )


def _keys(graph: Graph, qk: QkAttribution, most: int = 6) -> Table:
    ranked = sorted(qk.keys, key=lambda key: -key.attention)
    shown = [key for i, key in enumerate(ranked) if i < most or key.position == qk.key]
    left = len(ranked) - len(shown)
    table = plain_table(f"{left} more keys with less attention." if left > 0 else "")
    table.texts("key").numbers("attention", "score")
    for key in shown:
        mark = "  ←" if key.position == qk.key else ""
        name = _token(graph, key.position) + mark
        table.line(name, percent(key.attention), f"{key.score:+.3f}")
    return table


def _by_kind(parts: Parts) -> Table:
    table = plain_table(
        "constant: biases, and all that is no node (features zeroed at BOS). The sum misses the "
        f"model's own score by a share of {parts.residual:.0e}."
    )
    table.texts("query \\ key").numbers(*KINDS, "sum")
    whole = np.vstack([parts.by_kind, parts.by_kind.sum(0)])
    for name, row in zip((*KINDS, "sum"), whole, strict=True):
        table.line(name, *(f"{value:+.3f}" for value in (*row.tolist(), float(row.sum()))))
    return table


def _terms(parts: Parts, name: Name, top: int) -> Table:
    note = "Weak sources were only summed; a stronger term may be among them."
    table = plain_table("" if parts.complete else note).numbers("term")
    table.texts("source of the query", "source of the key")
    for term in (*parts.positive[:top], *parts.negative[:top]):
        cells = (f"{term.value:+.4f}", name(term.query), name(term.key))
        table.line(*cells, style=sign_style(term.value))
    return table


def _single(parts: Parts, name: Name, top: int) -> Table:
    table = plain_table()
    for side in ("of the query", "of the key"):
        table.texts(side).numbers("")
    sides = (
        [(name(one.source), f"{one.value:+.3f}") for one in shares[:top]]
        for shares in (parts.query_sources, parts.key_sources)
    )
    for query, key in zip_longest(*sides, fillvalue=("", "")):
        table.line(*query, *key)
    return table


def source_names(graph: Graph) -> Name:
    """How sources are named: features with their labels."""
    texts = zip(node_names(graph), graph.nodes.label, graph.nodes.kind.tolist(), strict=True)
    labels = {
        name: printable(label).strip() for name, label, kind in texts if kind == NodeKind.FEATURE
    }

    def name(source: Source) -> str:
        if source.kind == "embedding":
            return f"embedding {_token(graph, source.position)}"
        label = labels.get(source.name, "")
        return f"{source.name} {shorten(label, LABEL_CELLS)}" if label else source.name

    return name
