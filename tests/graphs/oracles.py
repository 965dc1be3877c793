"""Slow, obvious versions of influence, pruning and paths, to hold the fast ones against."""

from __future__ import annotations

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph, NodeKind


def dense(graph: Graph) -> Floats:
    """(target, source) matrix of weights."""
    n = len(graph.nodes)
    matrix = np.zeros((n, n))
    matrix[graph.edges.target, graph.edges.source] = graph.edges.weight
    return matrix


def normalised(matrix: Floats) -> Floats:
    """Rows of |matrix| divided by their sums; zero rows stay zero."""
    absolute = np.abs(matrix)
    sums = absolute.sum(axis=1, keepdims=True)
    return np.divide(absolute, sums, out=np.zeros_like(absolute), where=sums > 0)


def influence_by_inverse(matrix: Floats, weight: Floats) -> Floats:
    """w ((1 - N)^-1 - 1)."""
    n = normalised(matrix)
    return weight @ (np.linalg.inv(np.eye(len(n)) - n) - np.eye(len(n)))


def upstream_scores(graph: Graph) -> tuple[float, float]:
    """Replacement and completeness, the latter over nodes with inputs only, on dense matrices."""
    matrix = dense(graph)
    kind = graph.nodes.kind
    received = influence_by_inverse(matrix, graph.nodes.weight)
    embeddings = received[kind == NodeKind.EMBEDDING].sum()
    errors = received[kind == NodeKind.ERROR].sum()
    importance = received + graph.nodes.weight
    importance[np.abs(matrix).sum(axis=1) == 0] = 0
    explained = 1 - normalised(matrix)[:, kind == NodeKind.ERROR].sum(axis=1)
    completeness = float((importance * explained).sum() / importance.sum())
    return float(embeddings / (embeddings + errors)), completeness


def prune_dense(
    graph: Graph, node_threshold: float, edge_threshold: float
) -> tuple[set[int], set[tuple[int, int]]]:
    """Kept rows and (source, target) pairs, step by step as method.md section 5 says."""
    matrix, kind = dense(graph), graph.nodes.kind
    always = {int(i) for i in np.flatnonzero(np.isin(kind, (NodeKind.EMBEDDING, NodeKind.LOGIT)))}
    received = influence_by_inverse(matrix, graph.nodes.weight)
    kept = _reach({i: float(v) for i, v in enumerate(received) if v > 1e-15}, node_threshold)
    kept |= always
    for i in set(range(len(matrix))) - kept:
        matrix[i], matrix[:, i] = 0, 0
    passed_on = influence_by_inverse(matrix, graph.nodes.weight) + graph.nodes.weight
    flows = normalised(matrix) * passed_on[:, None]
    by_edge = {(int(s), int(t)): float(flows[t, s]) for t, s in np.argwhere(flows > 1e-18)}
    edges = _reach(by_edge, edge_threshold)
    while True:
        edges = {(s, t) for s, t in edges if s in kept and t in kept}
        leads, fed = {s for s, _ in edges}, {t for _, t in edges}
        loose = {i for i in kept - always if i not in leads}
        loose |= {i for i in kept if kind[i] == NodeKind.FEATURE and i not in fed}
        if not loose:
            return kept, edges
        kept -= loose


def _reach(values, threshold):  # type: ignore[no-untyped-def]
    """The fewest keys whose values reach a share of the sum."""
    kept, running, whole = set(), 0.0, sum(values.values())
    for key in sorted(values, key=lambda key: -values[key]):
        if running >= (threshold - 1e-12) * whole and threshold < 1:
            break
        kept.add(key)
        running += values[key]
    return kept


def all_paths(
    graph: Graph, edges: set[tuple[int, int]], source: int, target: int
) -> list[tuple[tuple[int, ...], float]]:
    """Every path from source to target along `edges`, with its signed strength."""
    matrix = dense(graph)
    shares = normalised(matrix) * np.sign(matrix)
    found: list[tuple[tuple[int, ...], float]] = []

    def walk(rows: tuple[int, ...], strength: float) -> None:
        if rows[-1] == target:
            found.append((rows, strength))
            return
        for s, t in edges:
            if s == rows[-1] and t <= target:
                walk((*rows, t), strength * float(shares[t, s]))

    walk((source,), 1.0)
    return [(rows, strength) for rows, strength in found if len(rows) > 1]


def strongest_by_sorting(row: Floats, mass: float, most: int) -> set[int]:
    """Columns of one row: from the strongest down until the mass or the number is reached."""
    order = sorted(range(len(row)), key=lambda i: (-abs(row[i]), i))
    whole, running, kept = float(np.abs(row).sum()), 0.0, set[int]()
    for i in order:
        if len(kept) >= most or row[i] == 0 or (mass < 1 and running >= (mass - 1e-12) * whole):
            break
        kept.add(i)
        running += abs(float(row[i]))
    return kept


def shares_with_constants(graph: Graph) -> dict[str, float]:
    """Where influence ends, on dense matrices: constants and what was dropped as extra columns."""
    nodes, n = graph.nodes, len(graph.nodes)
    extra = {
        "constant": np.nan_to_num(np.abs(nodes.constant)),
        "embedding": nodes.dropped_embeddings,
        "error": nodes.dropped_errors,
        "dropped": nodes.dropped_features,
    }
    wide = np.zeros((n + 4, n + 4))
    wide[:n, :n] = dense(graph)
    wide[:n, n:] = np.stack(list(extra.values()), axis=1)
    weight = np.concatenate([nodes.weight, np.zeros(4)])
    arrived = influence_by_inverse(wide, weight) + weight
    ends = {name: float(arrived[n + i]) for i, name in enumerate(extra)}
    ends["embedding"] += float(arrived[:n][nodes.kind == NodeKind.EMBEDDING].sum())
    ends["error"] += float(arrived[:n][nodes.kind == NodeKind.ERROR].sum())
    sourceless = np.abs(wide).sum(axis=1)[:n] == 0
    features = np.isin(nodes.kind, (NodeKind.FEATURE, NodeKind.LOGIT))
    ends["unexpanded"] = float(arrived[:n][sourceless & features].sum())
    return ends
