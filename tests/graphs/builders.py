"""Small graphs for tests: random layered ones, and the one of method.md section 5."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from circuit_tracer.graphs.graph import (
    DROPPED,
    Edges,
    Graph,
    GraphInfo,
    Identity,
    NodeKind,
    Nodes,
    Target,
)

WORDS = ("the", " banana", " is", " yellow", " sky", " not", ' "red"', " été", " 猫", " <b>", "\n")


def make_info(tokens: tuple[str, ...], n_layers: int, targets: tuple[Target, ...]) -> GraphInfo:
    """Plausible facts of a run."""
    return GraphInfo(
        prompt="".join(tokens[1:]),
        tokens=tokens,
        token_ids=tuple(range(100, 100 + len(tokens))),
        n_layers=n_layers,
        targets=targets,
        model=Identity("tiny", "bundled", "ab" * 32, "llama"),
        dictionary=Identity("tiny-plt", "folder", "cd" * 32, "plt"),
        dtype="float32",
        conservation_residual=1.5e-7,
        conservation_tolerance=1e-4,
        settings={"max_n_logits": 10, "desired_logit_prob": 0.95, "seed": 0},
        versions={"circuit-tracer-cli": "0.1.0"},
    )


def make_targets(position: int, n_targets: int = 2) -> tuple[Target, ...]:
    """Token targets with falling probabilities, the last one a contrast if there are three."""
    words = [w.strip() or "x" for w in WORDS[3:]]
    targets = []
    for i in range(n_targets):
        contrast = i == 2
        ids = (500 + i, 600 + i) if contrast else (500 + i,)
        token = "yes - no" if contrast else words[i]
        targets.append(Target(token, ids, position, 0.6 * 0.5**i, 9.0 - i, i))
    return tuple(targets)


def random_graph(
    n_layers: int = 3,
    n_tokens: int = 4,
    per_layer: int = 5,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
    *,
    n_targets: int = 2,
    density: float = 0.7,
    unexpanded: int = 0,
) -> Graph:
    """A seeded layered graph that conserves: value = sum of incoming edges + constant.

    `per_layer` features at random positions and one error a position in each of `n_layers`
    layers; edges respect the causal cone; `unexpanded` features (the last ones) have no row.
    """
    rng = np.random.default_rng(seed)
    tokens = ("<bos>", *(WORDS[i % len(WORDS)] for i in range(n_tokens - 1)))
    targets = make_targets(n_tokens - 1, n_targets)
    columns = _node_columns(rng, n_layers, n_tokens, per_layer, tokens, targets)
    kind, layer = columns["kind"], columns["layer"]
    expanded = (kind == NodeKind.FEATURE) | (kind == NodeKind.LOGIT)
    if unexpanded:
        expanded[np.flatnonzero(kind == NodeKind.FEATURE)[-unexpanded:]] = False
    edges = _random_edges(rng, kind, layer, columns["position"], expanded, density, dtype)
    n = len(kind)
    sums = np.bincount(edges.target, weights=edges.weight, minlength=n)
    constant = np.where(expanded, 0.1 * rng.normal(size=n), np.nan)
    probabilities = np.array([t.probability for t in targets])
    weight = np.zeros(n)
    weight[kind == NodeKind.LOGIT] = probabilities / probabilities.sum()
    values = {"value": sums + constant, "constant": constant, "weight": weight}
    nodes = Nodes(**columns, **values, expanded=expanded)
    return Graph(make_info(tokens, n_layers, targets), nodes, edges)


def _node_columns(
    rng: np.random.Generator,
    n_layers: int,
    n_tokens: int,
    per_layer: int,
    tokens: tuple[str, ...],
    targets: tuple[Target, ...],
) -> dict[str, Any]:
    """Columns in the order of `Graph`: embeddings, per layer features and errors, targets."""
    rows: list[tuple[int, int, int, int, float, str]] = [
        (NodeKind.EMBEDDING, -1, p, 100 + p, np.nan, tokens[p]) for p in range(n_tokens)
    ]
    for at in range(n_layers):
        indices = sorted(rng.choice(50 * per_layer, size=per_layer, replace=False).tolist())
        for index in indices:
            position, activation = int(rng.integers(n_tokens)), float(rng.gamma(2.0))
            label = f"feature about{WORDS[index % len(WORDS)]}" if index % 3 else ""
            rows.append((NodeKind.FEATURE, at, position, index, activation, label))
        rows += [(NodeKind.ERROR, at, p, -1, np.nan, "") for p in range(n_tokens)]
    for target in targets:
        index = -1 if target.is_contrast else target.vocabulary_ids[0]
        row = (NodeKind.LOGIT, n_layers, target.position, index, np.nan, target.token)
        rows.append(row)
    kind, layer, position, feature, activation, label = zip(*rows, strict=True)
    return {
        "kind": np.array(kind, dtype=np.int8),
        "layer": np.array(layer, dtype=np.int32),
        "position": np.array(position, dtype=np.int32),
        "feature": np.array(feature, dtype=np.int64),
        "activation": np.array(activation, dtype=np.float64),
        "label": tuple(label),
    }


def _random_edges(
    rng: np.random.Generator,
    kind: Any,
    layer: Any,
    position: Any,
    expanded: Any,
    density: float,
    dtype: DTypeLike,
) -> Edges:
    n = len(kind)
    allowed = expanded[:, None] & (layer[None, :] < layer[:, None])
    allowed &= position[None, :] <= position[:, None]
    allowed &= (rng.random((n, n)) < density) | (kind == NodeKind.EMBEDDING)[None, :]
    target, source = np.nonzero(allowed)
    weight = rng.normal(size=len(target)) * rng.gamma(1.0, size=len(target))
    return Edges(source.astype(np.int32), target.astype(np.int32), weight.astype(dtype))


def graph_from_edges(
    kinds: list[NodeKind], layers: list[int], edges: list[tuple[int, int, float]]
) -> Graph:
    """A graph from (source, target, weight) triples; no constants; targets share the weight."""
    n = len(kinds)
    kind = np.array(kinds, dtype=np.int8)
    layer = np.array(layers, dtype=np.int32)
    table = sorted((target, source, weight) for source, target, weight in edges)
    is_target = kind == NodeKind.LOGIT
    takes_input = is_target | (kind == NodeKind.FEATURE)
    target, source, weight = (np.array(c) for c in zip(*table, strict=True))
    counters = dict.fromkeys((*NodeKind, "layer"), 0)
    index = []
    for one in kinds:
        index.append(counters[one])
        counters[one] += 1
    values = np.bincount(target, weights=weight, minlength=n)
    nodes = Nodes(
        kind=kind,
        layer=layer,
        position=np.where(kind == NodeKind.FEATURE, 0, np.array(index)).astype(np.int32),
        feature=np.where(kind == NodeKind.ERROR, -1, np.array(index)).astype(np.int64),
        activation=np.where(kind == NodeKind.FEATURE, 1.0, np.nan),
        value=np.where(takes_input, values, np.nan),
        constant=np.where(takes_input, 0.0, np.nan),
        expanded=takes_input,
        weight=np.where(is_target, 1 / is_target.sum(), 0.0),
        label=("",) * n,
    )
    n_tokens = max(int(nodes.position.max()) + 1, 1)
    tokens = tuple(f"t{i}" for i in range(n_tokens))
    targets = tuple(Target("x", (i,), 0, 0.5, 1.0, i) for i in range(int(is_target.sum())))
    info = make_info(tokens, int(layer.max()), targets)
    return Graph(
        info,
        nodes,
        Edges(source.astype(np.int32), target.astype(np.int32), weight.astype(np.float64)),
    )


# method.md section 5 numbers its nodes features 0-4, errors 5-8, tokens 9-10, target 11. A Graph
# is in topological order, so HAND_ROWS[i] is the row of the section's node i.
HAND_ROWS = np.array([2, 3, 4, 8, 9, 5, 6, 7, 10, 0, 1, 11])


def hand_graph() -> Graph:
    """The graph of method.md section 5, to be read through HAND_ROWS."""
    e, f, r, t = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.ERROR, NodeKind.LOGIT
    kinds = [e, e, f, f, f, r, r, r, f, f, r, t]
    layers = [-1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    incoming = {11: (1, 3, 6, 8), 3: (0, 1, 6), 1: (9, 10), 0: (9,)}
    edges = [
        (int(HAND_ROWS[source]), int(HAND_ROWS[target]), 10.0)
        for target, sources in incoming.items()
        for source in sources
    ]
    return graph_from_edges(kinds, layers, edges)


def thinned(graph: Graph, *, mass: float, most: int | None = None) -> Graph:
    """The graph with each row cut down to its strongest edges; the sums go to its node.

    Kept are the fewest that reach `mass` of the row's absolute sum, at most `most`; ties by source.
    """
    nodes, edges = graph.nodes, graph.edges
    n = len(nodes)
    kept = np.zeros(len(edges), dtype=np.bool_)
    for target in np.unique(edges.target):
        row = np.flatnonzero(edges.target == target)
        size = np.abs(edges.weight[row].astype(np.float64))
        order = np.argsort(-size, kind="stable")
        before = np.cumsum(size[order]) - size[order]
        chosen = order[(before < mass * size.sum() * (1 - 1e-12)) & (size[order] > 0)]
        kept[row[chosen if most is None else chosen[:most]]] = True
    left = edges.take(~kept)
    weight = left.weight.astype(np.float64)
    sums = [np.bincount(left.target, weights=weight, minlength=n)]
    for kind in (NodeKind.EMBEDDING, NodeKind.ERROR, NodeKind.FEATURE):
        size = np.abs(weight) * (nodes.kind[left.source] == kind)
        sums.append(np.bincount(left.target, weights=size, minlength=n))
    columns = {name: getattr(nodes, name) + s for name, s in zip(DROPPED, sums, strict=True)}
    return replace(graph, nodes=replace(nodes, **columns), edges=edges.take(kept))


def _without(graph: Graph, *kinds: NodeKind) -> Graph:
    """The graph without the nodes of some kinds, and without their edges."""
    nodes, edges = graph.nodes, graph.edges
    left = np.flatnonzero(~np.isin(nodes.kind, kinds))
    row_of = np.full(len(nodes), -1)
    row_of[left] = np.arange(len(left))
    some = edges.take((row_of[edges.source] >= 0) & (row_of[edges.target] >= 0))
    rows = (row_of[one].astype(np.int32) for one in (some.source, some.target))
    return Graph(graph.info, nodes.take(left), Edges(*rows, some.weight))


def _weighted(graph: Graph, factor: float) -> Graph:
    return replace(graph, edges=replace(graph.edges, weight=graph.edges.weight * factor))


def _unlinked(graph: Graph) -> Graph:
    return replace(graph, edges=graph.edges.take(slice(0, 0)))


def degenerate_graphs() -> dict[str, Graph]:
    """Graphs that lack what graphs usually have, by what they lack."""
    usual = random_graph(n_layers=2, n_tokens=3, per_layer=3)
    e, f, r = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.ERROR
    one_token = random_graph(n_layers=2, n_tokens=1, per_layer=2)
    return {
        "no edges": _unlinked(usual),
        "no features": _without(usual, f),
        "no errors": _without(usual, r),
        "errors alone": _without(usual, e, f),
        "features alone": _without(usual, e, r),
        "targets alone": _without(usual, e, f, r),
        "one token": one_token,
        "one token without edges": _unlinked(one_token),
        "one token without features": _without(one_token, f),
        "no influence": _weighted(usual, 0.0),
        "no rows of features": random_graph(n_layers=2, n_tokens=3, per_layer=3, unexpanded=6),
        "no layers": random_graph(n_layers=0, n_tokens=2, per_layer=0),
    }
