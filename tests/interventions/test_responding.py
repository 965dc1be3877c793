"""The replacement model run for real, against one put together by hand; the linear prediction is
its derivative."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.experiments.trust.passes import FREER_WAYS, responses
from circuit_tracer.graphs.graph import Ints, NodeKind
from circuit_tracer.interventions.ablation import ablate, item_of
from circuit_tracer.interventions.prediction import ablation_shares, predict
from circuit_tracer.interventions.spec import Strength
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.device import DEVICE
from tests.experiments.trust.subjects import Traced, tiny

SETTINGS = [
    ("llama", {"kind": "plt", "skip": True}),
    ("gpt2", {"kind": "clt", "skip": True, "activation": "jumprelu"}),
    ("gemma2", {"kind": "clt", "writes": "hook_mlp_out"}),
    ("gpt_neox", {"kind": "plt", "reads": "hook_resid_mid", "activation": "relu"}),
]
SMALL = 1e-6


def several(traced: Traced) -> Ints:
    """Features of all layers but the last."""
    nodes = traced.pruned.graph.nodes
    rows = nodes.of_kind(NodeKind.FEATURE)
    rows = rows[nodes.layer[rows] < 3]
    return rows[:: max(1, len(rows) // 8)]


def by_hand(traced: Traced, row: int | None, times: float = 0.0) -> Tensor:
    """(V,) logits at the end, every MLP replaced by the dictionary plus a constant error."""
    model, dictionary, graph = traced.model, traced.dictionary, traced.pruned.graph
    assert isinstance(dictionary, Dictionary)
    ids = torch.tensor([model.tokenize("the banana is yellow yes a lemon is")], device=DEVICE)
    activity = model.mlp_activity(ids, dictionary.reads, dictionary.writes)
    acts: list[Tensor] = []

    def encoded(layer: int, seen: Tensor) -> Tensor:
        found = dictionary.layers[layer].encode(seen)
        found[:, 0] = 0
        return found

    natural = [encoded(i, x) for i, x in enumerate(activity.inputs)]
    rebuilt = dictionary.reconstruct(list(activity.inputs), natural)

    def substitute(layer: int, seen: Tensor) -> Tensor:
        now = encoded(layer, seen)
        nodes = graph.nodes
        if row is not None and nodes.layer[row] == layer:
            place = (0, int(nodes.position[row]), int(nodes.feature[row]))
            now[place] = times * natural[layer][place]
        acts.append(now)
        made = dictionary.layers[layer].b_dec + dictionary.layers[layer].skip(seen)
        for reading, one in enumerate(acts):
            if layer < reading + dictionary.layers[reading].n_written:
                made = made + dictionary.layers[reading].write(one, layer)
        return made + activity.outputs[layer] - rebuilt[layer]

    logits: Tensor = model.replaced(ids, substitute, dictionary.reads, dictionary.writes)[0, -1]
    cap = model.wiring.logit_softcap
    return logits if cap is None else cap * torch.atanh(logits / cap)


@pytest.mark.parametrize(("family", "settings"), SETTINGS, ids=str)
def test_the_replacement_model_is_the_one_put_together_by_hand(
    family: str, settings: dict[str, str]
) -> None:
    traced = tiny(family, **settings)
    subject, rows = traced.subject, several(traced)
    found = responses(subject, subject.changes(rows), "nothing", responding="replacement").moved
    model = responses(subject, subject.changes(rows), "nothing").moved
    base = by_hand(traced, None)
    targets = [target.vocabulary_ids[0] for target in traced.pruned.graph.info.targets]
    for row, moved in zip(rows.tolist(), found, strict=True):
        change = by_hand(traced, row) - base
        expected = (change - change.mean())[targets].cpu().numpy()
        np.testing.assert_allclose(moved, expected, atol=1e-8)
    assert np.abs(found).max() > 1e-3
    assert np.abs(found - model).max() > 1e-3  # it is not the model


@pytest.mark.parametrize(("family", "settings"), SETTINGS, ids=str)
def test_the_linear_prediction_is_its_derivative(family: str, settings: dict[str, str]) -> None:
    """A millionth of a feature is taken away, so that none starts or stops firing."""
    traced = tiny(family, **settings)
    subject, rows = traced.subject, several(traced)
    changes = subject.changes(rows, 1 - SMALL)
    for frozen in FREER_WAYS:
        linear = responses(subject, changes, frozen, responding="graph").moved / SMALL
        real = responses(subject, changes, frozen, responding="replacement").moved / SMALL
        np.testing.assert_allclose(linear, real, atol=1e-4)
    targets = [target.vocabulary_ids[0] for target in traced.pruned.graph.info.targets]
    last = (by_hand(traced, int(rows[0]), 1 - SMALL) - by_hand(traced, None)) / SMALL
    expected = (last - last.mean())[targets].cpu().numpy()
    np.testing.assert_allclose(linear[0], expected, atol=1e-4)
    frozen_run = responses(subject, changes, "attention, norms", responding="replacement").moved
    graph = traced.pruned.graph
    sums = predict(graph, ablation_shares(graph, rows), targets_only=True).total.T
    np.testing.assert_allclose(frozen_run / SMALL, sums, atol=1e-4)


@pytest.mark.parametrize(("family", "settings"), SETTINGS[:2], ids=str)
def test_ablate_has_each_prediction_by_mode(family: str, settings: dict[str, str]) -> None:
    traced = tiny(family, **settings)
    subject, rows = traced.subject, several(traced)
    graph = traced.pruned.graph
    items = [item_of(graph, [row], Strength(0.0)) for row in rows.tolist()]
    table = ablate(traced.model, traced.dictionary, graph, items)
    assert set(table.rows[0].predicted) == set(table.rows[0].replaced) == {"constrained", "free"}
    ways = (("constrained", "attention"), ("free", "nothing"))
    for mode, frozen in ways:
        for name, responding in (("predicted", "graph"), ("replaced", "replacement")):
            found = [getattr(row, name)[mode] for row in table.rows]
            expected = responses(
                subject,
                subject.changes(rows),
                frozen,  # type: ignore[arg-type]
                responding=responding,  # type: ignore[arg-type]
            ).moved
            np.testing.assert_allclose(found, expected, atol=1e-9)
    frozen_norms = ablate(
        traced.model, traced.dictionary, graph, items, modes=["constrained"], freeze_norms=True
    )
    for row in frozen_norms.rows:
        assert row.predicted["constrained"] == pytest.approx(row.predicted_total, abs=1e-9)


def test_nothing_responds_up_to_the_end_layer() -> None:
    """With every layer frozen a prediction is the direct effect, what a skip passes on left out."""
    traced = tiny("llama", kind="plt")
    graph, rows = traced.pruned.graph, several(traced)
    items = [item_of(graph, [row], Strength(0.0)) for row in rows.tolist()]
    table = ablate(
        traced.model,
        traced.dictionary,
        graph,
        items,
        modes=["constrained"],
        end_layer=3,
    )
    for row in table.rows:
        measured = row.measured["constrained"].logits
        assert row.predicted["constrained"] == pytest.approx(measured, abs=1e-9)
        assert row.replaced["constrained"] == pytest.approx(measured, abs=1e-9)


def test_of_neurons_the_replacement_model_is_the_model() -> None:
    traced = tiny("llama", neurons=True)
    graph = traced.pruned.graph
    items = [item_of(graph, [int(several(traced)[0])], Strength(0.0))]
    table = ablate(traced.model, traced.dictionary, graph, items)
    assert table.rows[0].replaced == {}
    assert set(table.rows[0].predicted) == {"constrained", "free"}
    assert replace(table.rows[0]).predicted_total is not None
