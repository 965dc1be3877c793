"""Grouping of features: against a slow average linkage, and on graphs with known groups."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, PrunedGraph, prune
from circuit_tracer.graphs.supernodes.grouping import (
    Reading,
    Similarity,
    Supernode,
    average_linkage,
    feature_rows,
    find_supernodes,
    named,
    similarity,
)
from circuit_tracer.graphs.supernodes.scores import against_random, group_scores
from tests.graphs.builders import graph_from_edges, random_graph


def slow_linkage(alike: np.ndarray, threshold: float) -> list[list[int]]:
    """Means over all pairs, recomputed at every step."""
    groups = [[i] for i in range(len(alike))]
    while len(groups) > 1:
        means = {
            (a, b): float(np.mean([alike[i, j] for i in groups[a] for j in groups[b]]))
            for a, b in itertools.combinations(range(len(groups)), 2)
        }
        first, second = max(means, key=lambda pair: (round(means[pair], 12), -pair[0], -pair[1]))
        if means[first, second] < threshold:
            break
        groups[first] += groups.pop(second)
    return sorted(sorted(group) for group in groups)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.0, 0.45, 0.55, 1.0])
def test_average_linkage_is_that_of_all_pairs(seed: int, threshold: float) -> None:
    noise = np.random.default_rng(seed).random((12, 12))
    alike = (noise + noise.T) / 2
    found = sorted(group.tolist() for group in average_linkage(alike, threshold))
    assert found == slow_linkage(alike, threshold)


def test_equal_similarities_are_joined_from_the_front() -> None:
    alike = np.full((4, 4), 0.2)
    alike[0, 1] = alike[1, 0] = alike[2, 3] = alike[3, 2] = 0.9
    assert [one.tolist() for one in average_linkage(alike, 0.5)] == [[0, 1], [2, 3]]
    assert average_linkage(np.zeros((0, 0)), 0.5) == []


def twins() -> PrunedGraph:
    """Two tokens; features 2, 3 alike, 4, 5 alike, 6 alone; a target."""
    e, f, t = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.LOGIT
    edges = [(0, 2, 1.0), (0, 3, 2.0), (1, 4, -1.0), (1, 5, -3.0), (0, 6, 1.0), (1, 6, 1.0)]
    edges += [(2, 7, 1.0), (3, 7, 1.1), (4, 7, 0.7), (5, 7, 1.2), (6, 7, -1.0)]
    graph = graph_from_edges([e, e, f, f, f, f, f, t], [-1, -1, 0, 0, 0, 0, 0, 1], edges)
    labels = ("", "", "banana → yes", "banana", "red → no", "red → no", "", "yes")
    graph = replace(graph, nodes=replace(graph.nodes, label=labels))
    return prune(graph, node_threshold=1.0, edge_threshold=1.0)


def test_features_with_the_same_edges_are_one_supernode() -> None:
    pruned = twins()
    alike = similarity(pruned)
    groups = find_supernodes(pruned, alike, threshold=0.9)
    assert {group.rows for group in groups} == {(2, 3), (4, 5)}
    assert {group.name for group in groups} == {"banana", "red → no"}


def test_all_that_is_known_counts_alike() -> None:
    pruned = twins()
    decoders = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 1]])
    edges = similarity(pruned).whole
    written = 2 * similarity(pruned, decoders=decoders).whole - edges
    units = decoders / np.linalg.norm(decoders, axis=1, keepdims=True)
    assert written == pytest.approx(units @ units.T)
    readings = [Reading({"a": 1.0}, {"x": 1.0}), Reading({"b": 1.0}, {"x": 1.0})] * 2
    readings += [Reading({}, {})]
    cards = 2 * similarity(pruned, readings=readings).whole - edges
    assert cards[0, 1] == pytest.approx(0.5)
    assert cards[0, 2] == pytest.approx(1.0)
    assert cards[0, 4] == pytest.approx(0.0)
    all_three = similarity(pruned, decoders=decoders, readings=readings).whole
    assert all_three == pytest.approx((edges + written + cards) / 3)


def test_tokens_keep_features_apart_unless_asked() -> None:
    pruned = twins()
    position = pruned.graph.nodes.position.copy()
    position[3] = 1
    nodes = replace(pruned.graph.nodes, position=position)
    moved = replace(pruned, graph=replace(pruned.graph, nodes=nodes))
    hard = find_supernodes(moved, similarity(moved), threshold=0.9)
    soft = find_supernodes(moved, similarity(moved, same_position=False), threshold=0.9)
    assert {group.rows for group in hard} == {(4, 5)}
    assert {group.rows for group in soft} == {(2, 3), (4, 5)}


def test_names_are_unique() -> None:
    pruned = twins()
    groups = [np.array([2]), np.array([3]), np.array([6]), np.array([4])]
    label = ("", "", "banana", "banana", "red", "red", "", "yes")
    graph = replace(pruned.graph, nodes=replace(pruned.graph.nodes, label=label))
    names = [group.name for group in named(replace(pruned, graph=graph), groups)]
    assert len(set(names)) == 4
    assert names[0].startswith("banana")
    assert names[2] == "L0/4 and like"


def test_scores_tell_a_true_grouping_from_random_ones() -> None:
    pruned = prune(random_graph(4, 2, 20, 0), node_threshold=1.0, edge_threshold=1.0)
    rows = feature_rows(pruned)
    rng = np.random.default_rng(0)
    kind = np.arange(len(rows)) % 4
    fires = [Reading({f"w{k}": 0.8, f"v{rng.integers(9)}": 0.2}, {}) for k in kind]
    blocks = np.where(kind[:, None] == kind[None], 0.9, 0.1)
    np.fill_diagonal(blocks, 1.0)
    alike = Similarity(rows, blocks, blocks, same_position=False)
    groups = [Supernode(str(k), tuple(rows[kind == k].tolist())) for k in range(4)]
    effects = {
        int(row): rng.normal(size=6) * 0.1 + np.eye(6)[k] for row, k in zip(rows, kind, strict=True)
    }
    scores = group_scores(groups, alike, readings=fires, effects=effects)
    assert all(one.silhouette == pytest.approx((0.9 - 0.1) / 0.9) for one in scores)
    assert all(one.consistency is not None and one.consistency >= 0.8 for one in scores)
    assert all(one.coherence is not None and one.coherence > 0.7 for one in scores)
    figures = against_random(pruned, groups, alike, readings=fires, effects=effects, shuffles=50)
    assert set(figures) == {"consistency", "silhouette", "coherence"}
    for figure in figures.values():
        assert figure.value > figure.random + 0.3
        assert figure.p == pytest.approx(1 / 51)
    shuffled = rng.permutation(kind)
    chance = [Supernode(str(k), tuple(rows[shuffled == k].tolist())) for k in range(4)]
    assert against_random(pruned, chance, alike, shuffles=50)["silhouette"].p > 0.05


def test_the_silhouette_is_that_of_the_definition() -> None:
    pruned = prune(random_graph(3, 2, 8, 3), node_threshold=1.0, edge_threshold=1.0)
    alike = similarity(pruned, same_position=False)
    rows = alike.rows.tolist()
    groups = [Supernode("a", tuple(rows[:4])), Supernode("b", tuple(rows[5:9]))]
    place = {row: i for i, row in enumerate(rows)}
    distance = 1 - alike.edges
    others = [[place[row] for row in group.rows] for group in groups]
    inside = {i for one in others for i in one}
    everyone = [*others, *([i] for i in range(len(rows)) if i not in inside)]
    for number, score in enumerate(group_scores(groups, alike)):
        own, values = others[number], []
        for i in own:
            a = np.mean([distance[i, j] for j in own if j != i])
            b = min(np.mean([distance[i, j] for j in o]) for o in everyone if o != own)
            values.append((b - a) / max(a, b))
        assert score.silhouette == pytest.approx(float(np.mean(values)))
        assert score.consistency is None
        assert score.coherence is None


def test_bad_requests_are_one_sentence() -> None:
    pruned = twins()
    with pytest.raises(UsageError, match="1 decoders for 5"):
        similarity(pruned, decoders=np.ones((1, 3)))
    with pytest.raises(UsageError, match="not finite"):
        similarity(pruned, decoders=np.full((5, 3), np.nan))
    with pytest.raises(UsageError, match="`threshold` 2"):
        find_supernodes(pruned, similarity(pruned), threshold=2.0)
