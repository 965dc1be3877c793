"""A graph that was broken on purpose: the report says so, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import conservation, trace
from circuit_tracer.errors import ConservationError, UsageError
from circuit_tracer.experiments.trust.results import Trust
from circuit_tracer.experiments.trust.run import trust
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.graphs.graph import Edges, Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models.norms import FrozenNorm, Norm
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.experiments.trust.subjects import PROMPT, bundled, sprout, sprout_dictionary

QUICK = TrustSettings(quick=True, features=10)


def with_graph(pruned: PrunedGraph, graph: Graph) -> PrunedGraph:
    return replace(pruned, graph=graph)


def with_weights(graph: Graph, weight: Any) -> Graph:
    return replace(graph, edges=Edges(graph.edges.source, graph.edges.target, weight))


def report(pruned: PrunedGraph, dictionary: Dictionary | None = None) -> Trust:
    return trust(sprout(), dictionary or sprout_dictionary(), pruned, QUICK)


def kept_features(pruned: PrunedGraph) -> list[int]:
    """By influence, strongest first, below the last layer."""
    nodes = pruned.graph.nodes
    rows = [
        int(row)
        for row in pruned.kept_rows
        if nodes.kind[row] == NodeKind.FEATURE and nodes.layer[row] < 4
    ]
    return sorted(rows, key=lambda row: -float(pruned.influence[row]))


def test_the_graph_itself_is_whole() -> None:
    found = report(bundled().pruned)
    assert found.verdict.level in ("sound", "care")
    assert found.measured.conservation.holds
    assert found.measured.direct is not None
    assert found.measured.direct.holds


def test_an_edge_whose_sign_was_turned_breaks_a_sum() -> None:
    pruned = bundled().pruned
    graph = pruned.graph
    edge = int(np.argmax(np.abs(graph.edges.weight) * pruned.edge_kept))
    weight = graph.edges.weight.copy()
    weight[edge] *= -1
    found = report(with_graph(pruned, with_weights(graph, weight)))
    assert found.verdict.level == "broken"
    assert found.verdict.headline.startswith("Do not believe this graph")
    assert not found.measured.conservation.holds
    assert any("miss the value of" in reason.text for reason in found.verdict.reasons)


def test_edges_of_two_features_exchanged_keep_the_sums_and_are_found_directly() -> None:
    """As if one feature's decoder stood in the other's place: every row still adds up."""
    pruned = bundled().pruned
    graph = pruned.graph
    first, second = kept_features(pruned)[:2]
    weight = graph.edges.weight.copy()
    of = [
        {int(graph.edges.target[i]): int(i) for i in np.flatnonzero(graph.edges.source == row)}
        for row in (first, second)
    ]
    for target in of[0].keys() & of[1].keys():
        a, b = of[0][target], of[1][target]
        weight[a], weight[b] = weight[b], weight[a]
    found = report(with_graph(pruned, with_weights(graph, weight)))
    assert found.measured.conservation.holds
    assert found.verdict.level == "broken"
    assert "is off by a share of" in found.verdict.reasons[0].text


def test_a_dictionary_with_another_decoder_of_the_same_name_is_found() -> None:
    pruned, dictionary = bundled().pruned, sprout_dictionary()
    row = kept_features(pruned)[0]
    layer, index = int(pruned.graph.nodes.layer[row]), int(pruned.graph.nodes.feature[row])
    of_layer = dictionary.layers[layer]
    assert isinstance(of_layer.W_dec, Tensor)
    decoders = of_layer.W_dec.clone()
    decoders[index] = decoders[(index + 1) % len(decoders)]
    layers = list(dictionary.layers)
    layers[layer] = replace(of_layer, W_dec=decoders)
    found = report(pruned, replace(dictionary, layers=tuple(layers)))
    assert found.verdict.level == "broken"
    assert f"L{layer}/{index}@" in found.verdict.reasons[0].text


def test_constants_left_out_break_sums() -> None:
    pruned = bundled().pruned
    nodes = pruned.graph.nodes
    without = replace(nodes, constant=np.where(np.isnan(nodes.constant), np.nan, 0.0))
    found = report(with_graph(pruned, replace(pruned.graph, nodes=without)))
    assert found.verdict.level == "broken"
    assert not found.measured.conservation.holds


@dataclass(frozen=True)
class UnfrozenNorm(FrozenNorm):
    """A norm whose denominator is differentiated as well (RMSNorm)."""

    x: Any = None
    scale: Any = None

    def pull(self, cotangent: Tensor, position: Any) -> Tensor:
        pulled = super().pull(cotangent, position)
        x, scale = self.x[position], self.scale[position][..., None]
        along: Tensor = x * (x * pulled).mean(-1, keepdim=True) * scale**2
        return pulled - along


def unfreeze(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze_norm = Norm.freeze

    def freeze(self: Norm, x: Tensor, *, weighted: bool = True) -> FrozenNorm:
        frozen = freeze_norm(self, x, weighted=weighted)
        return UnfrozenNorm(frozen.gain, frozen.bias, frozen.centred, x, self.scale(x))

    monkeypatch.setattr(Norm, "freeze", freeze)


def test_a_norm_that_was_not_frozen_is_refused_by_the_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unfreeze(monkeypatch)
    with pytest.raises(ConservationError):
        trace(sprout(), sprout_dictionary(), PROMPT)


def test_a_norm_that_was_not_frozen_is_found_in_a_graph_that_adds_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The constant is made to take what is missing, so that nothing but the edges is wrong."""
    with monkeypatch.context() as patched:
        unfreeze(patched)
        patched.setitem(conservation.TOLERANCE, "float32", 1e9)
        graph = trace(sprout(), sprout_dictionary(), PROMPT).graph
    sums = np.bincount(graph.edges.target, weights=graph.edges.weight, minlength=len(graph.nodes))
    nodes = replace(graph.nodes, constant=graph.nodes.value - sums)
    info = replace(graph.info, conservation_tolerance=1e-4)
    found = report(prune(replace(graph, nodes=nodes, info=info)))
    assert found.measured.conservation.holds
    assert found.verdict.level == "broken"
    assert "not frozen" in found.verdict.reasons[0].text


def test_another_dictionary_or_model_is_refused_in_one_sentence() -> None:
    pruned = bundled().pruned
    with pytest.raises(UsageError, match="another dictionary"):
        trust(sprout(), sprout_dictionary("clt"), pruned, QUICK)
    info = replace(pruned.graph.info, model=replace(pruned.graph.info.model, sha256="00" * 32))
    with pytest.raises(UsageError, match="another model"):
        report(with_graph(pruned, replace(pruned.graph, info=info)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"features": 1}, "`features` 1"),
        ({"random_sets": 0}, "`random_sets` 0"),
        ({"draws": 0}, "`draws` 0"),
        ({"seed": -1}, "`seed` -1"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TrustSettings(**wrong)


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    report(bundled().pruned)
    assert torch.get_num_threads() == before
