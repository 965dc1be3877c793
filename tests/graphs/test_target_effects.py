"""What every node does to the targets, beside what the graph predicts when that node is ablated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.target_effects import MOST_TARGETS, target_effects
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.interventions.prediction import ablation_shares, predict
from tests.graphs.builders import degenerate_graphs, hand_graph, random_graph

GRAPHS = {
    "hand": hand_graph(),
    **{f"random {seed}": random_graph(seed=seed, unexpanded=seed) for seed in range(3)},
}


@pytest.mark.parametrize("name", GRAPHS)
def test_an_effect_is_what_ablating_the_node_takes_away(name: str) -> None:
    """The walk from the targets down against the one from an ablated node up."""
    graph = GRAPHS[name]
    effects, targets = target_effects(graph), graph.target_rows[:MOST_TARGETS]
    sources = np.arange(graph.target_rows[0])
    found = predict(graph, ablation_shares(graph, sources))
    assert np.abs(effects.indirect[sources]).max() > 1e-3
    np.testing.assert_allclose(effects.direct[sources], -found.direct[targets].T, atol=1e-9)
    np.testing.assert_allclose(effects.total[sources], -found.total[targets].T, atol=1e-9)


def test_tokens_have_the_exact_effects_where_the_graph_knows_them() -> None:
    graph = GRAPHS["random 1"]
    n = len(graph.info.tokens)
    numbers = np.arange(2.0 * n).reshape(2, n)
    exact = TokenTotals(tuple(numbers[0]), tuple(numbers[1]), error=0.0, constant=0.0)
    known = replace(graph, info=replace(graph.info, totals=(exact,)))
    before, after = target_effects(graph), target_effects(known)
    tokens = graph.nodes.kind == NodeKind.EMBEDDING
    assert after.total[tokens, 0].tolist() == numbers[0, graph.nodes.position[tokens]].tolist()
    assert after.direct[tokens, 0].tolist() == numbers[1, graph.nodes.position[tokens]].tolist()
    assert (after.total[tokens, 0] != before.total[tokens, 0]).any()
    np.testing.assert_array_equal(after.total[~tokens], before.total[~tokens])
    np.testing.assert_array_equal(after.total[:, 1:], before.total[:, 1:])


def test_graphs_with_little_in_them_have_finite_effects() -> None:
    for graph in degenerate_graphs().values():
        assert np.isfinite(target_effects(graph).total).all()
