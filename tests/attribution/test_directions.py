"""Directions as targets, against autograd on the frozen model and against the model's own pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from circuit_tracer.attribution.directions import (
    DirectionTarget,
    bare,
    between,
    in_file,
    of_feature,
)
from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import trace
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import prune
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import PROMPT, Frozen, frozen, off
from tests.tiny import FAMILIES

LAYER = 1
"""Neither the lowest nor the highest of the tiny models."""


def random_vector(d: int) -> Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def graph_of(both: Frozen, direction: DirectionTarget, position: int = -1) -> Graph:
    settings = TraceSettings(max_feature_nodes=0, zeroed_positions=1, position=position)
    dictionary = both.replacement.dictionary
    return trace(both.model, dictionary, PROMPT, settings, direction=direction).graph


def row_of(graph: Graph, both: Frozen) -> Tensor:
    """The target's edges in the oracle's columns, which have no gaps above the target's layer."""
    edges = graph.edges.take(graph.edges.target == graph.target_rows[0])
    row = torch.zeros(both.network.columns.count, dtype=torch.float64)
    row[torch.from_numpy(edges.source.astype(np.int64))] = torch.from_numpy(
        edges.weight.astype(np.float64)
    )
    return row


@pytest.mark.parametrize(("layer", "position"), [(0, -1), (LAYER, -1), (-1, -1), (LAYER, 4)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_direction_after_a_layer_has_the_edges_that_autograd_gives(
    family: str, layer: int, position: int
) -> None:
    both = frozen(family, kind="clt", skip=True)
    layer, at = layer % both.model.n_layers, position % both.replacement.n_tokens
    vector = random_vector(both.model.d_model)
    graph = graph_of(both, bare("v", layer, vector), position)
    oracle = both.network.stream_rows(layer, at, vector[None])[0]
    assert oracle.abs().max() > 0.1
    if position == -1:  # the oracle numbers the nodes of the whole prompt
        assert off(row_of(graph, both), oracle) < 1e-11
    streams = both.capture.resid_post(layer)
    (target,), (row,) = graph.info.targets, graph.target_rows
    assert target.logit == pytest.approx(float(streams[at] @ vector), rel=1e-6)
    into = graph.edges.weight[graph.edges.target == row].sum()
    assert into + graph.nodes.constant[row] == pytest.approx(target.logit, rel=1e-9)
    layers = graph.nodes.layer[graph.nodes.kind == NodeKind.FEATURE]
    assert layers.max() <= layer
    assert graph.nodes.layer[row] == graph.info.n_layers == both.model.n_layers


@pytest.mark.parametrize("reads", ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"])
@pytest.mark.parametrize("kind", ["plt", "clt"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_a_feature_as_target_has_the_edges_of_its_own_row(
    family: str, kind: str, reads: str
) -> None:
    """Autograd of the pre-activation itself: no vector is handed in."""
    both = frozen(family, kind=kind, skip=True, reads=reads)
    features = both.network.features
    here = (features.layer == LAYER) & (features.position == both.replacement.n_tokens - 1)
    number = int(here.nonzero()[0])
    index = int(features.index[number])
    graph = graph_of(both, of_feature(both.replacement.dictionary, LAYER, index, "a label"))
    oracle = both.network.feature_rows(torch.tensor([number]))[0]
    assert off(row_of(graph, both), oracle) < 1e-11
    (target,), (row,) = graph.info.targets, graph.target_rows
    assert target.logit == pytest.approx(float(features.activation[number]), rel=1e-9)
    into = graph.edges.weight[graph.edges.target == row].sum()
    assert into + graph.nodes.constant[row] == pytest.approx(target.logit, rel=1e-9)
    assert target.token.endswith(f'L{LAYER}/{index} "a label"')


def test_a_silent_feature_has_its_negative_pre_activation_as_value() -> None:
    both = frozen(kind="plt")
    transcoder = both.replacement.dictionary.layers[LAYER]
    seen = both.replacement.layers[LAYER].seen[-1]
    before = transcoder.pre_activations(seen)
    index = int(before.argmin())
    assert before[index] < 0
    graph = graph_of(both, of_feature(both.replacement.dictionary, LAYER, index))
    assert graph.info.targets[0].logit == pytest.approx(float(before[index]), rel=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_direction_through_neurons_and_a_neuron_as_target(family: str) -> None:
    both = frozen(family, dictionary=open_neurons)
    vector = random_vector(both.model.d_model)
    graph = graph_of(both, bare("v", LAYER, vector))
    oracle = both.network.stream_rows(LAYER, both.replacement.n_tokens - 1, vector[None])[0]
    row = graph.edges.target == graph.target_rows[0]
    assert np.sort(np.abs(graph.edges.weight[row]))[-50:] == pytest.approx(
        oracle.abs().sort().values[-50:].numpy(), rel=1e-9
    )
    neuron = graph_of(both, of_feature(both.replacement.dictionary, LAYER, 5))
    fired = both.replacement.dictionary.layers[LAYER].encode(both.capture.mlp_in[LAYER])[-1, 5]
    assert neuron.info.targets[0].logit == pytest.approx(float(fired), rel=1e-8)


@pytest.mark.parametrize("at_mlp", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_edges_into_a_direction_come_apart_by_head(family: str, at_mlp: bool) -> None:
    """What passes through a head is what vanishes when its pattern does."""
    both = frozen(family, kind="plt", skip=True)
    vector, dictionary = random_vector(both.model.d_model), both.replacement.dictionary
    target = of_feature(dictionary, LAYER, 0) if at_mlp else bare("v", LAYER, vector)
    pruned = prune(graph_of(both, target), node_threshold=1.0, edge_threshold=1.0)
    loadings = head_loadings(both.model, dictionary, pruned, pruned.graph.edges, floor=0.0)
    assert loadings.layer.max() == (LAYER - 1 if family == "gpt_neox" and at_mlp else LAYER)
    if not at_mlp:
        through = loadings.loading[(loadings.layer == LAYER) & (loadings.head == 1)].sum()
        at = both.replacement.n_tokens - 1
        whole = both.network.stream_rows(LAYER, at, vector[None]).sum()
        with both.network.without(LAYER, 1):
            left = both.network.stream_rows(LAYER, at, vector[None]).sum()
        assert through == pytest.approx(float(whole - left), rel=1e-8)


def test_the_mean_difference_of_two_prompt_sets() -> None:
    both = frozen(kind="plt")
    first, second = ["the banana is yellow", "a lemon is blue"], ["the banana is blue"]
    target = between(both.model, first, second, LAYER, "yellow - blue")

    def last(prompt: str) -> Tensor:
        capture = both.model.capture(both.model.tokenize(prompt))
        return capture.resid_pre[LAYER + 1][-1]

    expected = (last(first[0]) + last(first[1])) / 2 - last(second[0])
    assert torch.allclose(target.linear(expected)[0], expected)


def test_a_direction_in_a_file(tmp_path: Path) -> None:
    both, file = frozen(kind="plt"), tmp_path / "joker.safetensors"
    vector = torch.randn(both.model.d_model)
    save_file({"direction": vector}, file, metadata={"layer": "1"})
    target = in_file(file)
    assert (target.name, target.layer, target.reads) == ("joker", 1, "hook_resid_post")
    assert torch.equal(target.linear(vector)[0], vector)
    assert in_file(file, 0).layer == 0


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"v": torch.ones(16)}, None, "does not say after which layer"),
        (
            {"v": torch.ones(2, 16)},
            {"layer": "0"},
            r"one vector of d numbers; it holds v \(2, 16\)",
        ),
        ({"v": torch.ones(4), "w": torch.ones(4)}, {"layer": "0"}, "one vector"),
        ({"v": torch.zeros(16)}, {"layer": "0"}, "zero or not finite"),
        ({"v": torch.full((16,), torch.nan)}, {"layer": "0"}, "zero or not finite"),
    ],
)
def test_files_that_hold_no_direction(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None, words: str
) -> None:
    save_file(tensors, tmp_path / "x.safetensors", metadata=metadata)
    with pytest.raises(UsageError, match=words):
        in_file(tmp_path / "x.safetensors")


def test_what_is_no_safetensors_file_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "x.pt")
    with pytest.raises(UsageError, match="no safetensors file"):
        in_file(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("layer", "d", "settings", "words"),
    [
        (9, 16, TraceSettings(), "has layers 0 to"),
        (0, 3, TraceSettings(), "3 wide at layer 0"),
        (0, 16, TraceSettings(contrast="yes,no"), "`contrast` and a direction"),
        (0, 16, TraceSettings(targets=("yes",)), "`targets` and a direction"),
    ],
)
def test_directions_that_do_not_fit(
    layer: int, d: int, settings: TraceSettings, words: str
) -> None:
    both = frozen(kind="plt")
    with pytest.raises(UsageError, match=words):
        trace(
            both.model,
            both.replacement.dictionary,
            PROMPT,
            settings,
            direction=bare("v", layer, torch.ones(d)),
        )


def test_features_that_a_dictionary_lacks() -> None:
    dictionary = frozen(kind="plt").replacement.dictionary
    with pytest.raises(UsageError, match="no feature of"):
        of_feature(dictionary, 1, 10_000)
    with pytest.raises(UsageError, match="no feature of"):
        of_feature(dictionary, 99, 0)
