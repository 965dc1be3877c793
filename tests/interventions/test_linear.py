"""Features that respond linearly inside the model: the graph's own sums when all else is frozen."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.experiments.trust.passes import FREER_WAYS, responses
from circuit_tracer.experiments.trust.steps.indirect import draw_features
from circuit_tracer.graphs.graph import Ints, NodeKind
from circuit_tracer.interventions.prediction import ablation_shares, predict
from tests.experiments.trust.subjects import Traced, linear_neurons, tiny


def several(traced: Traced) -> Ints:
    """Features of every layer, the last one's too."""
    rows = traced.pruned.graph.nodes.of_kind(NodeKind.FEATURE)
    return rows[:: max(1, len(rows) // 12)]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize(("kind", "skip"), [("plt", False), ("plt", True), ("clt", True)])
def test_with_attention_and_norms_frozen_they_are_the_graphs_sums(
    family: str, kind: str, skip: bool
) -> None:
    """Passes through the model's modules against a walk over the edges: nothing is shared."""
    traced = tiny(family, kind=kind, skip=skip)
    subject, graph, rows = traced.subject, traced.pruned.graph, several(traced)
    changes = subject.changes(rows)
    found = responses(subject, changes, "attention, norms", responding="graph").values
    expected = predict(graph, ablation_shares(graph, rows)).total
    known = graph.nodes.expanded & (graph.nodes.kind != NodeKind.ERROR)
    known[rows] = False  # an ablated feature is fixed; its own value is not its activation
    routed = predict(graph, ablation_shares(graph, rows)).indirect
    assert np.abs(routed[known]).max() > 1e-3
    np.testing.assert_allclose(found[known], expected[known], atol=1e-9)


def test_neurons_answer_with_their_edges_own_vectors() -> None:
    traced = tiny("llama", neurons=True)
    subject, graph = traced.subject, traced.pruned.graph
    rows = draw_features(traced.pruned, 8, seed=0)
    changes = subject.changes(rows)
    found = responses(subject, changes, "attention, norms", responding="graph").values
    expected = predict(graph, ablation_shares(graph, rows)).total
    known = graph.nodes.expanded.copy()
    known[rows] = False
    np.testing.assert_allclose(found[known], expected[known], atol=1e-9)


def test_of_linear_neurons_the_prediction_with_norms_responding_is_what_the_model_does() -> None:
    """Their MLPs are what the features are, so that nothing is left but the norms."""
    traced = linear_neurons()
    subject = traced.subject
    rows = draw_features(traced.pruned, 8, seed=1)
    changes = subject.changes(rows)
    sums = predict(traced.pruned.graph, ablation_shares(traced.pruned.graph, rows)).total
    targets = traced.pruned.graph.target_rows
    for frozen in FREER_WAYS:
        prediction = responses(subject, changes, frozen, responding="graph")
        real = responses(subject, changes, frozen)
        np.testing.assert_allclose(prediction.moved, real.moved, atol=1e-9)
        assert np.abs(sums[targets].T - real.moved).max() > 1e-3


@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_rows_of_different_layers_do_not_know_of_each_other(kind: str) -> None:
    """Also where some rows hold an MLP that others compute, and skips carry on."""
    traced = tiny("llama", kind=kind, skip=True)
    subject, rows = traced.subject, several(traced)
    changes = subject.changes(rows)
    for frozen in ("attention, norms", "attention"):
        together = responses(subject, changes, frozen).values
        for column in range(0, len(rows), 4):
            alone = responses(subject, changes[column : column + 1], frozen).values
            np.testing.assert_allclose(together[:, column], alone[:, 0], atol=1e-12)
