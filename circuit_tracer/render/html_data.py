"""A kept graph as the record that the viewer's scripts read: typed columns in base64, and texts.

Nodes are the kept ones, renumbered; edges come strongest first by the influence that flows along
them, so that a page can draw the first so many and every node's list is in order. What an edge
carries follows from its weight and two columns of the nodes (`total`, `passedOn`), so two hundred
thousand edges take about three megabytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.comparing.alignment import align
from circuit_tracer.graphs.comparing.comparison import compare
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.graphs.feature_pages import page_address
from circuit_tracer.graphs.files.exchange import exchange_id
from circuit_tracer.graphs.graph import Graph, Ints, NodeKind, node_names
from circuit_tracer.graphs.head_loadings import HeadLoadings, LeadingHead, leading_heads
from circuit_tracer.graphs.influence import edge_flows, handed_down, totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.render.describe import score_lines, short_label, value_words
from circuit_tracer.render.html_cards import cards_record
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.text import printable

if TYPE_CHECKING:
    from circuit_tracer.transcoders.cards import Card

ROUTES = 8
"""Routes to each target that are listed."""
MOST_EDGES = 400_000
"""Edges in a page, those of most influence: some three megabytes; the page says what is left."""
LEAST_HEAD = 0.02
"""Heads that carry less of an edge than this share are left out."""
MOST_HEADS = 6
"""Heads of an edge that are kept."""
MOST_LEADING = 24
"""Heads of the whole graph that are listed."""


class ExportCommand(NamedTuple):
    """What writes a graph of a run as a folder, for what needs one."""

    words: str
    """The command."""
    folder: str
    """The folder that it writes."""


@dataclass(frozen=True)
class Shown:
    """One graph, with what lies beside it."""

    pruned: PrunedGraph
    slug: str
    """What exported files are called."""
    heads: HeadLoadings | None = None
    leading: Sequence[LeadingHead] = ()
    """The heads of most influence; by default those that `heads` tells."""
    trust: Mapping[str, Any] | None = None
    """What the page shows of a trust report (experiments/trust/report/page_record.py)."""
    cards: Sequence[Card] | None = None
    """Cards of kept features; None where there are none to be had."""
    supernodes: Sequence[tuple[str, Sequence[int]]] = ()
    """Names with rows of the whole graph's node table."""
    pins: Sequence[int] = ()
    """Pinned rows, those of the supernodes among them or not."""
    positions: str = ""
    """Where their boxes stand in the route diagram, as `sg_pos` has it."""
    export: ExportCommand | None = None
    """For a graph that has no folder yet."""
    named: Sequence[int] = ()
    """Rows whose labels are names that people gave them."""
    notes: Mapping[int, str] = field(default_factory=dict)
    """What they wrote, by row."""


def record(shown: Shown, second: Shown | None = None, *, run: str = "") -> dict[str, Any]:
    """What a page holds: one graph, or two with what they share.

    A page that lies below the index of a `run` leads back to it. Raises UsageError for two graphs
    of different models through different dictionaries.
    """
    graphs = [graph_record(shown)]
    if second is None:
        return {"graphs": graphs, "comparison": None, "run": printable(run)}
    graphs.append(graph_record(second))
    figures = _comparison(shown.pruned, second.pruned)
    counterparts = _counterparts(shown.pruned, second.pruned)
    for graph, counterpart in zip(graphs, counterparts, strict=True):
        graph["counterpart"] = counterpart
    return {"graphs": graphs, "comparison": {"figures": figures}, "run": printable(run)}


def graph_record(shown: Shown) -> dict[str, Any]:
    """One graph's part of the page."""
    pruned, graph = shown.pruned, shown.pruned.graph
    info, kept = graph.info, shown.pruned.kept_rows
    number = _numbered(kept, len(graph.nodes))
    order, edges = _edges(pruned, number)
    names = node_names(graph)
    cumulative = pruned.cumulative
    is_token = graph.nodes.kind == NodeKind.EMBEDDING
    ids = [exchange_id(graph, row) for row in kept.tolist()]
    return {
        "slug": shown.slug,
        "identity": _identity(info.prompt, ids, edges),
        "prompt": printable(info.prompt),
        "about": _about(pruned, len(order)),
        "tokens": list(prompt_texts(info.tokens)),
        "nLayers": info.n_layers,
        "nodes": _node_columns(pruned, kept, cumulative),
        "edges": edges,
        "label": [printable(short_label(graph, row)).strip() for row in kept.tolist()],
        "name": [printable(names[row]) for row in kept.tolist()],
        "id": ids,
        "tokenInfluence": float(pruned.influence[is_token].max(initial=0.0)),
        "targets": _targets(graph, number),
        "routes": _routes(pruned, number),
        "scores": [asdict(line) for line in score_lines(pruned)],
        "trust": shown.trust,
        "heads": _heads(shown.heads, pruned, order),
        "leading": _leading(shown),
        "exportCommand": None
        if shown.export is None
        else {name: printable(words) for name, words in shown.export._asdict().items()},
        "cards": cards_record(shown.cards),
        "featurePages": page_address(info.dictionary.source),
        "groups": [
            {"name": printable(name), "rows": number[list(rows)].tolist()}
            for name, rows in shown.supernodes
        ],
        "pins": sorted(
            {int(number[row]) for row in shown.pins}
            | {int(number[row]) for _, rows in shown.supernodes for row in rows}
        ),
        "positions": shown.positions,
        "named": sorted(int(number[row]) for row in shown.named if number[row] >= 0),
        "notes": [
            [int(number[row]), "\n".join(printable(line) for line in note.splitlines())]
            for row, note in sorted(shown.notes.items())
            if number[row] >= 0
        ],
    }


def _identity(prompt: str, ids: Sequence[str], edges: Mapping[str, list[str]]) -> str:
    """The same for the same nodes and edges, wherever the page lies: what a link's rows count."""
    content = json.dumps([prompt, ids, edges], sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:12]


def column(values: NDArray[Any], kind: str) -> list[str]:
    """A column as its type and its little-endian bytes in base64; `kind` as numpy names it."""
    raw = np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<")).tobytes()
    return [kind, base64.b64encode(raw).decode("ascii")]


def _numbered(rows: Ints, size: int) -> Ints:
    """By row: its place among `rows`, -1 for all others."""
    numbers = np.full(size, -1, dtype=np.int64)
    numbers[rows] = np.arange(len(rows))
    return numbers


def _about(pruned: PrunedGraph, n_edges: int) -> str:
    info, kept = pruned.graph.info, int(pruned.edge_kept.sum())
    left = f" · the strongest {n_edges:,} of {kept:,} kept edges" if n_edges < kept else ""
    return printable(
        f"{info.model.name} through {info.dictionary.name} · node threshold "
        f"{pruned.node_threshold:g}, edge threshold {pruned.edge_threshold:g}{left}"
    )


def _node_columns(
    pruned: PrunedGraph, kept: Ints, cumulative: NDArray[np.float64]
) -> dict[str, list[str]]:
    nodes, influence = pruned.graph.nodes, pruned.influence
    effects = target_effects(pruned.graph)
    return {
        "kind": column(nodes.kind[kept], "u1"),
        "layer": column(nodes.layer[kept], "i4"),
        "position": column(nodes.position[kept], "i4"),
        "feature": column(nodes.feature[kept], "f8"),
        "activation": column(nodes.activation[kept], "f4"),
        "value": column(nodes.value[kept], "f4"),
        "constant": column(nodes.constant[kept], "f4"),
        "influence": column(influence[kept], "f4"),
        "cumulative": column(cumulative[kept], "f4"),
        "total": column(totals(pruned.graph)[kept], "f4"),
        "passedOn": column(handed_down(pruned.graph, influence)[kept], "f4"),
        "targetWeight": column(nodes.weight[kept], "f4"),
        "expanded": column(nodes.expanded[kept], "u1"),
        "directEffect": column(effects.direct[kept], "f4"),
        "totalEffect": column(effects.total[kept], "f4"),
    }


def _edges(pruned: PrunedGraph, number: Ints) -> tuple[Ints, dict[str, list[str]]]:
    """The strongest kept edges: their places among the kept ones, and the columns."""
    edges = pruned.kept_edges
    flow = edge_flows(edges, handed_down(pruned.graph, pruned.influence), slice(None))
    order = np.argsort(-flow, kind="stable")[:MOST_EDGES]
    ends = "u2" if int(number.max(initial=0)) < 1 << 16 else "u4"
    return order, {
        "source": column(number[edges.source][order], ends),
        "target": column(number[edges.target][order], ends),
        "weight": column(edges.weight[order], "f4"),
    }


def _targets(graph: Graph, number: Ints) -> list[dict[str, Any]]:
    targets, texts = graph.info.targets, target_texts(graph.info.targets)
    return [
        {
            "row": int(number[row]),
            "token": text,
            "probability": target.probability,
            "logit": target.logit,
            "value": "" if target.is_token else value_words(target),
            "vocabularyId": next(iter(target.vocabulary_ids), -1),
        }
        for row, target, text in zip(graph.target_rows.tolist(), targets, texts, strict=True)
    ]


def _routes(pruned: PrunedGraph, number: Ints) -> list[dict[str, Any]]:
    """The strongest routes, and the strongest of those through features; strongest first."""
    both = [*best_paths(pruned, k=ROUTES), *best_paths(pruned, k=ROUTES, direct=False)]
    unique = {path.rows: path for path in both}
    return [
        {"rows": number[list(path.rows)].tolist(), "share": path.share, "sign": path.sign}
        for path in sorted(unique.values(), key=lambda path: (-path.share, path.rows))
    ]


def _heads(
    loadings: HeadLoadings | None, pruned: PrunedGraph, order: Ints
) -> dict[str, Any] | None:
    """The strongest heads of every edge whose heads are known, under the page's edge numbers."""
    if loadings is None or not len(loadings):
        return None
    edges, n = pruned.kept_edges, len(pruned.graph.nodes)
    keys = edges.target.astype(np.int64) * n + edges.source  # ascending, as the edges are
    some = loadings.take(loadings.head >= 0)
    which = np.searchsorted(keys, some.target.astype(np.int64) * n + some.source)
    size = np.abs(some.loading)
    enough = size >= LEAST_HEAD * np.abs(edges.weight[which].astype(np.float64))
    some, which, size = some.take(enough), which[enough], size[enough]
    ranked = np.lexsort((-size, which))
    place = np.arange(len(ranked)) - np.searchsorted(which[ranked], which[ranked])
    best = ranked[place < MOST_HEADS]
    page_number = _numbered(order, len(edges))
    best = best[page_number[which[best]] >= 0]
    return {
        "columns": {
            "edge": column(page_number[which[best]], "u4"),
            "layer": column(some.layer[best], "i2"),
            "head": column(some.head[best], "i2"),
            "key": column(some.key[best], "i4"),
            "query": column(some.query[best], "i4"),
            "loading": column(some.loading[best], "f4"),
        }
    }


def _leading(shown: Shown) -> list[dict[str, Any]]:
    """The heads that most of the influence passes through, each with its largest move."""
    leading = shown.leading
    if not leading and shown.heads is not None:
        leading = leading_heads(shown.pruned, shown.heads, most=MOST_LEADING, moves=1)
    return [
        {
            "name": head.name,
            "share": head.share,
            "key": head.moves[0].key if head.moves else -1,
            "query": head.moves[0].query if head.moves else -1,
        }
        for head in leading[:MOST_LEADING]
    ]


def _comparison(first: PrunedGraph, second: PrunedGraph) -> list[dict[str, str]]:
    """How much the two share, each figure with what it means."""
    pair = compare(first, second, shuffles=0)
    counts, kept = pair.counts, pair.kept
    shares = (
        ("overlap of features", kept.features, "Influence that both give to the same features."),
        ("overlap of paths", kept.paths, "Share of all paths that runs along shared edges."),
        ("overlap of tokens", kept.tokens, "Influence that both give to the same words."),
    )
    figures = [
        ("features of both", f"{counts.shared:,}", "At places that belong together."),
        ("of A alone, of B alone", f"{counts.first:,}, {counts.second:,}", "Half discs."),
        *((name, percent(value), words) for name, value, words in shares if value is not None),
    ]
    return [{"name": name, "value": value, "meaning": words} for name, value, words in figures]


def _counterparts(first: PrunedGraph, second: PrunedGraph) -> tuple[list[int], list[int]]:
    """For each kept node of either graph: the same node's number in the other, or -1."""
    merged = merge(first, second, align(first.graph, second.graph))
    # One more than there are nodes: the last, which rows of -1 find, is kept by neither.
    numbers = [
        _numbered(pruned.kept_rows, len(pruned.graph.nodes) + 1) for pruned in (first, second)
    ]
    counterparts = [[-1] * len(pruned.kept_rows) for pruned in (first, second)]
    for pair in merged.rows:
        here, there = int(numbers[0][pair[0]]), int(numbers[1][pair[1]])
        if here >= 0 and there >= 0:
            counterparts[0][here], counterparts[1][there] = there, here
    return counterparts[0], counterparts[1]
