"""Influence against a matrix inverse and against the numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from circuit_tracer.graphs.graph import Edges, NodeKind
from circuit_tracer.graphs.influence import (
    cumulative_influence,
    edge_influence,
    flow,
    influence,
)
from circuit_tracer.graphs.scores import scores
from tests.graphs.builders import HAND_ROWS, graph_from_edges, hand_graph, random_graph
from tests.graphs.oracles import dense, influence_by_inverse, upstream_scores

GRAPHS: list[dict[str, Any]] = [
    {"seed": 0},
    {"seed": 1, "n_layers": 1, "n_tokens": 1, "per_layer": 1},
    {"seed": 2, "n_layers": 6, "n_tokens": 5, "per_layer": 9, "n_targets": 3},
    {"seed": 3, "density": 0.2, "unexpanded": 4},
    {"seed": 4, "dtype": np.float64, "density": 0.05},
]


def test_hand_computed_graph() -> None:
    by_hand = np.array([1 / 12, 1 / 3, 0, 1 / 4, 0, 0, 1 / 3, 0, 1 / 4, 1 / 4, 1 / 6, 0])
    np.testing.assert_allclose(influence(hand_graph())[HAND_ROWS], by_hand, atol=1e-15)


@pytest.mark.parametrize("shape", GRAPHS)
def test_influence_equals_matrix_inverse(shape: dict[str, Any]) -> None:
    graph = random_graph(**shape)
    expected = influence_by_inverse(dense(graph), graph.nodes.weight)
    np.testing.assert_allclose(influence(graph), expected, rtol=1e-12, atol=1e-14)
    assert not influence(graph)[graph.target_rows].any()


def test_edge_order_does_not_matter_to_flow() -> None:
    graph = random_graph(seed=5)
    edges, shuffled = graph.edges, np.random.default_rng(0).permutation(len(graph.edges))
    received = flow(
        [edges.take(shuffled)],
        level=graph.nodes.layer,
        target_weight=graph.nodes.weight,
    )
    np.testing.assert_allclose(received, influence(graph), rtol=1e-12)


def test_flow_refuses_an_edge_that_does_not_go_up() -> None:
    with pytest.raises(ValueError, match="lower to a higher"):
        flow(
            [Edges(np.array([0]), np.array([1]), np.array([1.0]))],
            level=np.array([0, 0]),
            target_weight=np.array([0.0, 1.0]),
        )


@pytest.mark.parametrize("shape", GRAPHS)
def test_flow_into_a_node_is_what_it_hands_down(shape: dict[str, Any]) -> None:
    graph = random_graph(**shape)
    n, received = len(graph.nodes), influence(graph)
    flows = edge_influence(graph)
    np.testing.assert_allclose(
        np.bincount(graph.edges.source, weights=flows, minlength=n), received, atol=1e-14
    )
    has_row = np.bincount(graph.edges.target, minlength=n) > 0
    np.testing.assert_allclose(
        np.bincount(graph.edges.target, weights=flows, minlength=n)[has_row],
        (received + graph.nodes.weight)[has_row],
        atol=1e-14,
    )


@pytest.mark.parametrize("shape", GRAPHS)
def test_scores_equal_dense_ones_and_final_shares_sum_to_one(shape: dict[str, Any]) -> None:
    graph = random_graph(**shape)
    found = scores(graph)
    replacement, completeness = upstream_scores(graph)
    assert found.replacement == pytest.approx(replacement, abs=1e-12)
    assert found.completeness == pytest.approx(completeness, abs=1e-12)
    ends = (found.error_share, found.constant_share, found.unexpanded_share, found.embedding_share)
    assert sum(ends) == pytest.approx(1, abs=1e-12)
    assert min(ends) >= 0


def test_scores_by_hand() -> None:
    found = scores(hand_graph())
    # Errors hold 1/3 + 1/4, tokens 1/4 + 1/6.
    assert found.replacement == pytest.approx(5 / 12)
    # Half of the target (weight 1), a third of node 3 (1/4); nodes 0, 1 (1/12, 1/3) have none.
    assert found.completeness == pytest.approx((1 / 2 + 1 / 4 * 2 / 3 + 1 / 12 + 1 / 3) / (5 / 3))
    assert found.constant_share == 0
    assert found.error_share == pytest.approx(7 / 12)


def test_no_errors_means_full_scores() -> None:
    e, f, t = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.LOGIT
    graph = graph_from_edges([e, f, t], [-1, 0, 1], [(0, 1, -2.0), (1, 2, 3.0)])
    found = scores(graph)
    assert (found.replacement, found.completeness, found.embedding_share) == (1, 1, 1)


def test_cumulative_influence_ranks_from_the_strongest_and_ties_by_row() -> None:
    shares = cumulative_influence(np.array([1.0, 4.0, 1.0, 0.0, 2.0]))
    np.testing.assert_allclose(shares, [7 / 8, 4 / 8, 1, 1, 6 / 8])
    assert cumulative_influence(np.zeros(3)).tolist() == [0, 0, 0]
