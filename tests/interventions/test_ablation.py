"""What a graph predicts, what is measured, and that both are about the same model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust.passes import Subject, responses
from circuit_tracer.graphs import PrunedGraph, prune
from circuit_tracer.graphs.graph import Edges, Graph, NodeKind
from circuit_tracer.interventions.ablation import ablate, item_named, item_of, item_together
from circuit_tracer.interventions.prediction import ablation_shares, predict
from circuit_tracer.interventions.selection import (
    parse_node,
    rows_labelled,
    rows_of_influence,
    rows_of_route,
)
from circuit_tracer.interventions.spec import ABLATED, Strength
from circuit_tracer.models import Model, open_model
from circuit_tracer.transcoders.cards import load_cards
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders
from tests.attribution.frozen import PROMPT, captured
from tests.tiny import random_dictionary


@cache
def sprout(transcoders: str) -> tuple[Model, Any, PrunedGraph]:
    model = open_model("sprout", device="cpu")
    dictionary: Any = (
        open_neurons(model) if transcoders == "neurons" else open_transcoders(transcoders, model)
    )
    settings = TraceSettings(contrast="yellow,red", max_feature_nodes=150)
    book = load_cards(find_dictionary("sprout/plt").path)
    labels = book.labels if transcoders == "plt" else None
    graph = trace(model, dictionary, "a banana is", settings, labels=labels).graph
    return model, dictionary, prune(graph)


@pytest.mark.parametrize("transcoders", ["plt", "clt", "neurons"])
def test_on_the_bundled_model_direct_effects_are_the_edges(transcoders: str) -> None:
    model, dictionary, pruned = sprout(transcoders)
    rows = rows_of_influence(pruned, 100)
    items = [item_of(pruned.graph, [row], Strength(2.0)) for row in rows]
    table = ablate(model, dictionary, pruned.graph, items)
    predicted = np.array([row.predicted_direct for row in table.rows], dtype=float)
    direct = np.array([row.measured["direct"].logits for row in table.rows])
    assert np.abs(predicted).max() > 0.3
    assert np.abs(predicted - direct).max() < 1e-4
    assert table.top.strip() == "yellow"
    assert table.probabilities[0] == pytest.approx(pruned.graph.info.targets[0].probability)
    free = np.array([row.measured["free"].logits[0] for row in table.rows])
    total = np.array([row.predicted_total for row in table.rows], dtype=float)[:, 0]
    assert np.corrcoef(free, total)[0, 1] > 0.2


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_total_effects_are_those_of_the_frozen_network_with_features_that_answer(
    family: str, kind: str
) -> None:
    """By hand: (1 - A / activation)^-1 on the dense matrix."""
    model, _ = captured(family, torch.float64)
    dictionary = random_dictionary(model, kind=kind, skip=True)  # type: ignore[arg-type]
    graph = trace(model, dictionary, PROMPT, TraceSettings(edge_floor=0.0)).graph
    n, nodes = len(graph.nodes), graph.nodes
    dense = np.zeros((n, n))
    dense[graph.edges.target, graph.edges.source] = graph.edges.weight
    is_feature = nodes.kind == NodeKind.FEATURE
    answers = np.where(
        is_feature[:, None], dense / np.where(is_feature, nodes.activation, 1)[:, None], 0
    )
    features = nodes.of_kind(NodeKind.FEATURE)
    for row in features[:: len(features) // 7].tolist():
        clamped = answers.copy()
        clamped[row] = 0
        pushed = np.zeros(n)
        pushed[row] = -1.0
        shares = np.linalg.solve(np.eye(n) - clamped, pushed)
        expected = (dense @ shares)[graph.target_rows]
        found = predict(graph, ablation_shares(graph, [row]), targets_only=True)
        assert np.allclose(found.total[:, 0], expected, rtol=0, atol=1e-9)
        assert np.allclose(found.direct[:, 0], -dense[graph.target_rows, row], rtol=0, atol=1e-12)


def test_with_norms_frozen_it_measures_what_the_trust_report_does() -> None:
    model, dictionary, pruned = sprout("plt")
    rows = rows_of_influence(pruned, 20)
    items = [item_of(pruned.graph, [row], ABLATED) for row in rows]
    table = ablate(model, dictionary, pruned.graph, items, modes=["constrained"], freeze_norms=True)
    found = np.array([row.measured["constrained"].logits for row in table.rows])
    subject = Subject.of(pruned.graph, model, dictionary)
    frozen = responses(
        subject, [item.changes for item in items], "attention, norms", every_node=False
    ).moved
    assert np.abs(found - frozen).max() < 1e-4
    total = np.array([row.predicted_total for row in table.rows], dtype=float)
    free = responses(subject, [item.changes for item in items], "attention", every_node=False).moved
    assert np.abs(found - total).mean() < np.abs(free - total).mean()


def test_prediction_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, pruned = sprout("plt")
    shares = ablation_shares(pruned.graph, rows_of_influence(pruned, 5))
    whole = predict(pruned.graph, shares)
    monkeypatch.setattr("circuit_tracer.interventions.prediction.CHUNK", 97)
    assert np.allclose(predict(pruned.graph, shares).total, whole.total, rtol=0, atol=1e-6)


def test_a_feature_by_name_is_changed_wherever_it_fires() -> None:
    model, dictionary, pruned = sprout("plt")
    nodes = pruned.graph.nodes
    pairs = [(int(nodes.layer[r]), int(nodes.feature[r])) for r in nodes.of_kind(NodeKind.FEATURE)]
    layer, feature = next(pair for pair in pairs if pairs.count(pair) == 2)
    both = item_named(pruned.graph, parse_node(f"L{layer}/{feature}"), ABLATED)
    assert len(both.changes) == 2
    items = [item_of(pruned.graph, [row], ABLATED) for row in both.shares or ()]
    table = ablate(model, dictionary, pruned.graph, [both, item_together(items)], modes=["free"])
    named, together = (row.measured["free"].logits for row in table.rows)
    assert named == pytest.approx(together, abs=1e-4)
    assert table.rows[0].predicted_total == table.rows[1].predicted_total


def test_a_silent_feature_can_be_set_but_not_multiplied() -> None:
    model, dictionary, pruned = sprout("plt")
    nodes = pruned.graph.nodes
    firing = set(nodes.feature[nodes.layer == 2].tolist())
    silent = next(i for i in range(1024) if i not in firing)
    with pytest.raises(UsageError, match="nothing to multiply"):
        item_named(pruned.graph, parse_node(f"L2/{silent}@3"), ABLATED)
    item = item_named(pruned.graph, parse_node(f"L2/{silent}@3"), Strength(5.0, is_multiple=False))
    table = ablate(model, dictionary, pruned.graph, [item], modes=["free"])
    assert table.rows[0].predicted_direct is None
    assert abs(table.rows[0].measured["free"].logits[0]) > 0


def test_selection_by_label_route_and_influence() -> None:
    _, _, pruned = sprout("plt")
    nodes = pruned.graph.nodes
    assert all("yellow" in nodes.label[row] for row in rows_labelled(pruned.graph, "Yellow"))
    route = rows_of_route(pruned, 1)
    assert route
    assert all(nodes.kind[row] == NodeKind.FEATURE for row in route)
    top = pruned.influence[rows_of_influence(pruned, 5)]
    assert (np.diff(top) <= 0).all()
    for call, said in (
        (lambda: rows_labelled(pruned.graph, "zebra crossing"), "no feature of this graph"),
        (lambda: rows_labelled(pruned.graph, " "), "`find` is empty"),
        (lambda: rows_of_route(pruned, 0), "from 1"),
        (lambda: rows_of_route(pruned, 100_000), "choose one of them"),
        (lambda: parse_node("banana"), "names no node"),
        (lambda: parse_node("L3/error"), "names no node"),
    ):
        with pytest.raises(UsageError, match=said):
            call()


def without_edges(graph: Graph, **info: Any) -> Graph:
    none = np.zeros(0, dtype=np.int32)
    edges = Edges(none, none, np.zeros(0, dtype=np.float32))
    return Graph(replace(graph.info, **info), graph.nodes, edges)


def test_a_graph_of_something_else_is_refused() -> None:
    model, dictionary, pruned = sprout("plt")
    graph, info = pruned.graph, pruned.graph.info
    items = [item_of(graph, rows_of_influence(pruned, 1), ABLATED)]
    for changed, said in (
        ({"model": replace(info.model, sha256="0" * 64)}, "another model"),
        ({"dictionary": replace(info.dictionary, sha256="0" * 64)}, "another dictionary"),
        ({"token_ids": (0, 1, 2, 3)}, "other tokens"),
    ):
        with pytest.raises(UsageError, match=said):
            ablate(model, dictionary, without_edges(graph, **changed), items)
    with pytest.raises(UsageError, match="nothing is to be changed"):
        ablate(model, dictionary, graph, [])
