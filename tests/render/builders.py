"""Believable graphs to draw: a fact recalled over a few layers, with labels like real ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from circuit_tracer.graphs.graph import (
    Edges,
    Graph,
    GraphInfo,
    Identity,
    NodeKind,
    Nodes,
    Target,
)
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.render.svg import drawn_graph

BANANA = ("[BOS]", "a", "banana", "is")
LABELS = (
    "banana", "fruit", "say: yellow", "banana → yellow", "is: a property follows", "colour word",
    "articles", "say: a colour", "food, ripe", "", "things one can eat for breakfast or lunch", "",
    "copula", "tropical", "not green", "say: red",
)  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>", '"quoted" & \'so\'', "</title><g>", "𓀀🍌👩\u200d🍳 emoji",
    "\u202eright to left override",
    "two\nlines\tand\x00nul\x1b[31mred", "שלום עולם", "日本語の特徴",
    "[bold]markup[/bold]", "\ud800 half a pair", "\ufffe\uffff", "%s {0} \\N \\l", "-->", "]]>",
)  # fmt: skip


def svg(pruned: PrunedGraph, **options: Any) -> str:
    """The figure of a graph as a document."""
    return drawn_graph(pruned, **options).svg


def story(
    *,
    tokens: tuple[str, ...] = BANANA,
    n_layers: int = 6,
    n_features: int = 14,
    n_errors: int = 5,
    targets: tuple[tuple[str, float], ...] = (("yellow", 0.621), ("green", 0.142)),
    labels: tuple[str, ...] = LABELS,
    contrast: bool = False,
    seed: int = 0,
) -> Graph:
    """A seeded graph with most features late and at the last tokens, as real ones have."""
    rng = np.random.default_rng(seed)
    last = len(tokens) - 1
    cells = set()
    crowd = np.arange(1, last + 1) ** 2.0
    while len(cells) < n_features:
        position = int(rng.choice(np.arange(1, last + 1), p=crowd / crowd.sum()))
        cells.add((int(rng.integers(n_layers)), position, int(rng.integers(4000))))
    errors = set()
    while len(errors) < min(n_errors, n_layers * last):
        errors.add((int(rng.integers(n_layers)), int(rng.integers(1, last + 1)), -1))
    inner = sorted(cells, key=lambda c: (c[0], c[1], c[2])) + sorted(errors)
    inner.sort(key=lambda c: (c[0], c[2] < 0, c[1], c[2]))
    rows = [(NodeKind.EMBEDDING, -1, p, 10 + p, np.nan, token) for p, token in enumerate(tokens)]
    for i, (layer, position, feature) in enumerate(inner):
        kind = NodeKind.ERROR if feature < 0 else NodeKind.FEATURE
        label = "" if feature < 0 else labels[i % len(labels)]
        activation = np.nan if feature < 0 else float(rng.gamma(2.0))
        rows.append((kind, layer, position, feature, activation, label))
    facts = tuple(
        Target(t, (20 + i, 21) if contrast else (20 + i,), last, p, 9.0 - i, i)
        for i, (t, p) in enumerate(targets)
    )
    rows += [
        (NodeKind.LOGIT, n_layers, last, -1 if contrast else 20 + i, np.nan, t.token)
        for i, t in enumerate(facts)
    ]
    return _graph(rows, _edges(rng, rows), tokens, n_layers, facts)


def _edges(rng: np.random.Generator, rows: list) -> Edges:
    found = []
    for t, (kind, layer, position, *_) in enumerate(rows):
        if kind in (NodeKind.EMBEDDING, NodeKind.ERROR):
            continue
        for s in range(t):
            if rows[s][1] >= layer or rows[s][2] > position:
                continue
            far = position - rows[s][2] + 0.4 * (layer - rows[s][1])
            if rng.random() < np.exp(-0.12 * far):
                found.append((s, t, rng.normal() ** 3 + 0.3 * np.exp(-far)))
    source, target, weight = zip(*found, strict=True)
    return Edges(
        np.array(source, np.int32), np.array(target, np.int32), np.array(weight, np.float32)
    )


def _graph(
    rows: list, edges: Edges, tokens: tuple[str, ...], n_layers: int, facts: tuple[Target, ...]
) -> Graph:
    kind, layer, position, feature, activation, label = zip(*rows, strict=True)
    kinds = np.array(kind, np.int8)
    expanded = (kinds == NodeKind.FEATURE) | (kinds == NodeKind.LOGIT)
    total = np.bincount(edges.target, edges.weight, minlength=len(rows))
    probability = np.array([t.probability for t in facts])
    weight = np.zeros(len(rows))
    weight[kinds == NodeKind.LOGIT] = probability / probability.sum()
    nodes = Nodes(
        kind=kinds,
        layer=np.array(layer, np.int32),
        position=np.array(position, np.int32),
        feature=np.array(feature, np.int64),
        activation=np.array(activation),
        value=np.where(expanded, total + 0.1, np.nan),
        constant=np.where(expanded, 0.1, np.nan),
        expanded=expanded,
        weight=weight,
        label=tuple(label),
    )
    info = GraphInfo(
        prompt=" ".join(tokens[1:]),
        tokens=tokens,
        token_ids=tuple(range(10, 10 + len(tokens))),
        n_layers=n_layers,
        targets=facts,
        model=Identity("sprout", "bundled", "ab" * 32, "llama"),
        dictionary=Identity("sprout-plt", "bundled", "cd" * 32, "plt"),
        dtype="float32",
        conservation_residual=3.2e-7,
        conservation_tolerance=1e-4,
    )
    return Graph(info, nodes, edges)


@cache
def small() -> PrunedGraph:
    """About 25 nodes, all drawn."""
    return prune(story(), node_threshold=0.95)


@cache
def middle() -> PrunedGraph:
    """About 60 nodes kept."""
    return prune(story(n_layers=8, n_features=60, n_errors=18, seed=1), node_threshold=0.9)


@cache
def large() -> PrunedGraph:
    """24 tokens and some 400 nodes, far more than a page holds."""
    words = "the quick brown fox jumps over the lazy dog while an incomprehensibilities-laden"
    more = "story about bananas , lemons and the sky asks : is this"
    tokens = ("[BOS]", *f"{words} {more}".split())[:24]
    graph = story(tokens=tokens, n_layers=12, n_features=330, n_errors=60, seed=2)
    return prune(graph, node_threshold=0.98)


@cache
def hostile() -> PrunedGraph:
    """Labels, tokens and targets that try to break out of the page."""
    tokens = ("[BOS]", "<b>&amp;", "\u202eabc\n", "", "   ", "x" * 80, "🍌")
    targets = (("</svg>\x00", 0.5), ('"', 0.2), (" yes", 0.1), ("yes", 0.09))
    graph = story(tokens=tokens, labels=HOSTILE, targets=targets, n_features=30, seed=3)
    return prune(graph, node_threshold=1.0)


def loadings_of(pruned: PrunedGraph) -> HeadLoadings:
    """Every kept edge passes through the heads 0 and 1 of layer 0, by made-up parts."""
    edges = pruned.kept_edges
    m, weight = len(edges), edges.weight.astype(np.float64)
    ends = [np.repeat(one, 3).astype(np.int32) for one in (edges.source, edges.target)]
    heads = np.tile(np.array([-1, 0, 1], np.int16), m)
    parts = np.stack([0.1 * weight, 0.899 * weight, 0.001 * weight], axis=1).ravel()
    places = np.where(heads < 0, -1, 0).astype(np.int32)
    zeros = np.zeros(3 * m, np.int16)
    return HeadLoadings(*ends, zeros, heads, places, places, parts, parts)
