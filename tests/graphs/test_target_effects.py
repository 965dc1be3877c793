"""What every node does to the targets, beside what the graph predicts when that node is ablated."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.graphs.target_effects import MOST_TARGETS, target_effects
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


def test_graphs_with_little_in_them_have_finite_effects() -> None:
    for graph in degenerate_graphs().values():
        assert np.isfinite(target_effects(graph).total).all()
