"""Direct mode is the graph's columns: features, errors and embeddings, in the model itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.spec import Change, Intervention, Strength
from circuit_tracer.transcoders.neurons import Neurons, open_neurons
from tests.attribution.frozen import Frozen, dense_rows, every_target, frozen
from tests.device import DEVICE, on_host

KINDS = [("plt", False), ("clt", False), ("plt", True), ("clt", True)]
PLACES = [("mlp.hook_in", "mlp.hook_out"), ("hook_resid_mid", "hook_mlp_out")]

each_family = pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])


def nodes(both: Frozen, strength: Strength, most: int = 200) -> tuple[list[Intervention], Tensor]:
    """Random nodes of every kind, each with its column (the oracle's numbers)."""
    features, columns = both.network.features, both.network.columns
    found = [
        (Change(NodeKind.EMBEDDING, -1, i, strength=strength), i)
        for i in range(both.replacement.n_tokens)
    ]
    for layer, position in (columns.error >= 0).nonzero().tolist():
        change = Change(NodeKind.ERROR, layer, position, strength=strength)
        found.append((change, int(columns.error[layer, position])))
    for i in range(len(features)):
        layer, position = int(features.layer[i]), int(features.position[i])
        change = Change(NodeKind.FEATURE, layer, position, int(features.index[i]), strength)
        found.append((change, int(columns.feature[i])))
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(found), generator=generator)[:most].tolist()
    assert len(chosen) == most
    return [(found[i][0],) for i in chosen], torch.tensor([found[i][1] for i in chosen])


def values(both: Frozen, logits: Tensor, seen: Tensor) -> Tensor:
    """(B, targets) of `every_target`: logits at all positions, then (linearised) pre-activations.

    `seen` (L, B, T, d) is what the dictionary reads.
    """
    features, dictionary = both.network.features, both.replacement.dictionary
    found = [logits.flatten(1)]
    for layer in range(len(seen)):
        here = (features.layer == layer).nonzero().squeeze(1)
        position = features.position[here]
        vectors, biases = dictionary.layers[layer].linear_rows(
            features.index[here].to(DEVICE),
            both.replacement.layers[layer].seen[position],
            features.activation[here].to(DEVICE),
        )
        found.append((seen[layer, :, position] * vectors).sum(-1) + biases)
    return torch.cat(found, 1)


def assert_columns(both: Frozen, tolerance: float, times: float = 0.0, most: int = 200) -> None:
    interventions, columns = nodes(both, Strength(times), most)
    effects = intervene(
        both.model,
        both.replacement.dictionary,
        both.capture.token_ids.tolist(),
        interventions,
        mode="direct",
        n_zeroed=both.replacement.n_zeroed,
        keep_seen=True,
    )
    assert effects.seen is not None
    assert effects.baseline_seen is not None
    after = on_host(values(both, effects.logits, effects.seen))
    before = on_host(values(both, effects.baseline[None], effects.baseline_seen))
    dense = dense_rows(both.replacement, every_target(both.model, both.replacement))
    expected = (times - 1) * dense[:, columns].T
    assert expected.abs().max() > 0.1
    assert (after - before - expected).abs().max() < tolerance * max(1, expected.abs().max())


MANY = {"n_features": 24, "k": 8}
"""Enough of them for 200 nodes."""


@each_family
@pytest.mark.parametrize(("kind", "skip"), KINDS)
def test_ablating_a_node_takes_its_column_away(family: str, kind: str, skip: bool) -> None:
    assert_columns(frozen(family, kind=kind, skip=skip, dtype=torch.float32, **MANY), 1e-4)


@each_family
def test_to_the_last_digits_in_float64(family: str) -> None:
    assert_columns(frozen(family, kind="clt", skip=True, **MANY), 1e-12)


@pytest.mark.parametrize("family", ["gemma3", "olmo2", "gpt_neox", "qwen3"])
@pytest.mark.parametrize(("reads", "writes"), PLACES)
def test_in_other_architectures_and_places(family: str, reads: str, writes: str) -> None:
    both = frozen(family, kind="clt", skip=True, reads=reads, writes=writes, n_zeroed=2)
    assert_columns(both, 1e-9, times=-1.5, most=60)


@each_family
def test_of_neurons(family: str) -> None:
    both = frozen(family, dictionary=open_neurons)
    assert isinstance(both.replacement.dictionary, Neurons)
    assert_columns(both, 1e-9, times=2.0)


def test_of_neurons_in_float32() -> None:
    assert_columns(frozen("llama", dictionary=open_neurons, dtype=torch.float32), 1e-4)


@each_family
def test_the_frozen_network_agrees(family: str) -> None:
    """The oracle shares no code with the tool at all."""
    both = frozen(family, kind="clt", skip=True)
    network, features = both.network, both.network.features
    rows = range(0, len(features), 9)
    interventions: list[Intervention] = [
        (
            Change(
                NodeKind.FEATURE,
                int(features.layer[i]),
                int(features.position[i]),
                int(features.index[i]),
                Strength(3.0),
            ),
        )
        for i in rows
    ]
    ids = both.capture.token_ids.tolist()
    effects = intervene(
        both.model, both.replacement.dictionary, ids, interventions, mode="direct", n_zeroed=1
    )
    for row, logits in zip(rows, effects.logits, strict=True):
        expected = network.forward(network.written_by(row, times=2.0))
        assert torch.allclose(on_host(logits), expected, rtol=0, atol=1e-9)
    assert torch.allclose(effects.baseline, both.capture.logits, rtol=0, atol=1e-9)
