"""Pruning against a step-by-step dense version, and what must always hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Edges, NodeKind
from circuit_tracer.graphs.influence import influence
from circuit_tracer.graphs.pruning import prune
from tests.graphs.builders import HAND_ROWS, graph_from_edges, hand_graph, random_graph
from tests.graphs.oracles import prune_dense


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("thresholds", [(0.8, 0.98), (0.5, 0.5), (1, 1), (0.95, 0.3), (1e-9, 1)])
def test_prune_equals_dense_version(seed: int, thresholds: tuple[float, float]) -> None:
    graph = random_graph(4, 4, 6, seed, density=0.4 + 0.1 * seed, unexpanded=seed % 3)
    pruned = prune(graph, node_threshold=thresholds[0], edge_threshold=thresholds[1])
    nodes, edges = prune_dense(graph, *thresholds)
    assert set(pruned.kept_rows.tolist()) == nodes
    kept = pruned.kept_edges
    assert set(zip(kept.source.tolist(), kept.target.tolist(), strict=True)) == edges


def test_hand_graph_keeps_the_strongest() -> None:
    pruned = prune(hand_graph(), node_threshold=0.5, edge_threshold=1.0)
    kept = np.flatnonzero(pruned.node_kept[HAND_ROWS])
    # Influence is 4,4,3,3,3,2,1 twelfths over nodes 1,6,3,8,9,10,0: half of 20/12 is three nodes,
    # of the threes the first row's, which is node 9's; tokens 9, 10 and target 11 stay anyway.
    assert set(kept.tolist()) == {1, 6, 9, 10, 11}


def test_threshold_one_keeps_all_that_has_influence_and_a_row() -> None:
    graph = random_graph(seed=1)
    pruned = prune(graph, node_threshold=1, edge_threshold=1)
    has_row = np.zeros(len(graph.nodes), dtype=bool)
    has_row[graph.edges.target] = True
    fixed = np.isin(graph.nodes.kind, (NodeKind.EMBEDDING, NodeKind.LOGIT))
    influential = (influence(graph) > 0) & (has_row | (graph.nodes.kind == NodeKind.ERROR))
    np.testing.assert_array_equal(pruned.node_kept, fixed | influential)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_dangles_and_tokens_and_targets_stay(seed: int) -> None:
    graph = random_graph(5, 5, 8, seed, density=0.3, unexpanded=4)
    pruned = prune(graph, node_threshold=0.6, edge_threshold=0.7)
    kind, kept, edges = graph.nodes.kind, pruned.node_kept, pruned.kept_edges
    assert kept[np.isin(kind, (NodeKind.EMBEDDING, NodeKind.LOGIT))].all()
    assert kept[edges.source].all()
    assert kept[edges.target].all()
    features = set(np.flatnonzero(kept & (kind == NodeKind.FEATURE)).tolist())
    errors = set(np.flatnonzero(kept & (kind == NodeKind.ERROR)).tolist())
    assert features <= set(edges.target.tolist())
    assert features | errors <= set(edges.source.tolist())


def test_lower_thresholds_keep_fewer() -> None:
    graph = random_graph(5, 5, 8, 0)
    sizes = [int(prune(graph, node_threshold=t).node_kept.sum()) for t in (0.3, 0.6, 0.9, 1.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_result_is_the_same_however_weights_are_scaled() -> None:
    graph = random_graph(seed=3, dtype=np.float64)
    doubled = replace(graph, edges=replace(graph.edges, weight=graph.edges.weight * -4))
    one, other = prune(graph), prune(doubled)
    np.testing.assert_array_equal(one.node_kept, other.node_kept)
    np.testing.assert_array_equal(one.edge_kept, other.edge_kept)


def test_equal_influences_go_by_row() -> None:
    e, f, t = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.LOGIT
    edges = [(0, i, 1.0) for i in (1, 2, 3, 4)] + [(i, 5, 1.0) for i in (1, 2, 3, 4)]
    graph = graph_from_edges([e, f, f, f, f, t], [-1, 0, 0, 0, 0, 1], edges)
    # The embedding has 1 of 2, each feature 1/4: 0.75 of 2 takes the embedding and two features.
    pruned = prune(graph, node_threshold=0.75, edge_threshold=1)
    assert pruned.kept_rows.tolist() == [0, 1, 2, 5]


def test_kept_graph_stands_alone() -> None:
    graph = random_graph(seed=2)
    pruned = prune(graph)
    alone = pruned.kept_graph()
    assert len(alone.nodes) == pruned.node_kept.sum()
    rows, kept = pruned.kept_rows, pruned.kept_edges
    np.testing.assert_array_equal(rows[alone.edges.source], kept.source)
    np.testing.assert_array_equal(rows[alone.edges.target], kept.target)
    assert (alone.edges.source < alone.edges.target).all()


def test_graph_without_edges_keeps_tokens_and_targets() -> None:
    graph = random_graph(seed=0)
    none = np.zeros(0, dtype=np.int32)
    pruned = prune(replace(graph, edges=Edges(none, none, none.astype(np.float32))))
    kinds = set(graph.nodes.kind[pruned.node_kept].tolist())
    assert kinds == {NodeKind.EMBEDDING, NodeKind.LOGIT}


@pytest.mark.parametrize("value", [0, -0.1, 1.01, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["node_threshold", "edge_threshold"])
def test_threshold_outside_its_range_is_one_sentence(name: str, value: float) -> None:
    with pytest.raises(UsageError, match="give a number above 0 and at most 1"):
        prune(random_graph(), **{name: value})
