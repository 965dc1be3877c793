"""Every architecture: the sweep against autograd on the Hugging Face model, conservation, and
interventions, at every place where published dictionaries read and write.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.attribution.sweep import SweepTargets
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import (
    PROMPT,
    Frozen,
    captured,
    dense_rows,
    every_logit,
    every_target,
    feature_targets,
    frozen,
    logit_targets,
    off,
)
from tests.device import DEVICE, on_host
from tests.rounding import missed_shares, rounding
from tests.tiny import FAMILIES, each_family_with, random_dictionary

READS = ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"]
WRITES = ["mlp.hook_out", "hook_mlp_out"]
BEHIND_A_NORM = {"gemma2", "gemma3", "olmo2"}

each_family = pytest.mark.parametrize("family", FAMILIES)
each_place = pytest.mark.parametrize(
    ("reads", "writes", "kind"),
    [
        (reads, writes, ("clt", "plt")[(i + j) % 2])
        for i, reads in enumerate(READS)
        for j, writes in enumerate(WRITES)
    ],
)
"""Both kinds read and write everywhere; what is read has no part in how it is written."""


def same_features(both: Frozen) -> bool:
    """Whether tool and oracle number the same features the same way."""
    own = both.replacement.features.at(torch.arange(len(both.replacement.features), device=DEVICE))
    theirs = both.network.features
    return (
        torch.equal(on_host(own.layer), theirs.layer)
        and torch.equal(on_host(own.position), theirs.position)
        and torch.equal(on_host(own.index), theirs.index)
    )


def assert_rows_equal(both: Frozen, tolerance: float, *, step: int = 1) -> None:
    """Rows of all positions, against gradients of the oracle's own logits and pre-activations."""
    assert same_features(both)
    network, replacement = both.network, both.replacement
    at, token = every_logit(both.model, replacement.n_tokens, step=step)
    features = torch.arange(len(network.features))
    targets = every_target(both.model, replacement, step=step)
    oracle = torch.cat([network.logit_rows(at, token), network.feature_rows(features)])
    assert oracle.abs().max() > 0.1
    assert off(dense_rows(replacement, targets), oracle) < tolerance


@each_family_with("kind, dtype", ("clt", torch.float64), ("plt", torch.float32))
def test_rows_equal_autograd(family: str, kind: str, dtype: torch.dtype) -> None:
    assert_rows_equal(frozen(family, kind=kind, skip=True, dtype=dtype), rounding(dtype))


@each_family
@each_place
def test_rows_equal_autograd_wherever_dictionaries_read_and_write(
    family: str, reads: str, writes: str, kind: str
) -> None:
    both = frozen(family, kind=kind, skip=kind == "clt", reads=reads, writes=writes, n_zeroed=2)
    assert_rows_equal(both, 1e-11, step=5)


@each_family
def test_places_differ_where_the_architecture_has_something_in_between(family: str) -> None:
    """Else the test above would pass with one place taken for another."""

    def rows(reads: str, writes: str) -> Tensor:
        both = frozen(family, kind="clt", skip=True, reads=reads, writes=writes)
        at = torch.full((24,), both.replacement.n_tokens - 1)
        return both.network.logit_rows(at, torch.arange(24))[:, : both.replacement.n_tokens]

    base = rows("mlp.hook_in", "mlp.hook_out")
    for reads in READS[1:]:
        assert (off(rows(reads, "mlp.hook_out"), base) > 1e-3) == (family != "olmo2")
    differs = off(rows("mlp.hook_in", "hook_mlp_out"), base) > 1e-3
    assert differs == (family in BEHIND_A_NORM)


@each_family_with("kind, dtype", ("clt", torch.float64), ("plt", torch.float32))
def test_edges_and_constant_sum_to_every_value(family: str, kind: str, dtype: torch.dtype) -> None:
    model, _ = captured(family, dtype)
    dictionary = random_dictionary(model, kind=kind, skip=kind == "clt")
    graph = trace(model, dictionary, PROMPT, TraceSettings()).graph
    assert missed_shares(graph).max() < rounding(dtype)
    assert graph.nodes.expanded.sum() > 50


@each_family
@pytest.mark.parametrize(("reads", "writes"), [*zip(READS, [*WRITES, WRITES[1]], strict=True)])
def test_values_are_those_of_an_independent_pass(family: str, reads: str, writes: str) -> None:
    """Conservation compares with these values: they must be the model's, not the sweep's."""
    both = frozen(family, kind="clt", skip=True, reads=reads, writes=writes)
    dictionary = both.replacement.dictionary
    graph = trace(both.model, dictionary, PROMPT, TraceSettings()).graph
    assert graph.info.conservation_residual < 1e-11
    network, nodes = both.network, graph.nodes
    of_features = nodes.value[nodes.of_kind(NodeKind.FEATURE)]
    assert np.allclose(of_features, network.features.activation.numpy(), rtol=0, atol=1e-11)
    logits = network.own_logits[-1]
    chosen = [target.vocabulary_ids[0] for target in graph.info.targets]
    expected = (logits - logits.mean())[chosen].numpy()
    assert np.allclose(nodes.value[graph.target_rows], expected, rtol=0, atol=1e-11)


@each_family
def test_probabilities_are_the_models_own(family: str) -> None:
    """After a soft-cap where there is one, though logits are explained before it."""
    model, capture = captured(family, torch.float64)
    graph = trace(model, random_dictionary(model), PROMPT, TraceSettings()).graph
    own = model.module(capture.token_ids[None]).logits[0, -1].softmax(-1)
    for target in graph.info.targets:
        assert target.probability == pytest.approx(float(own[target.vocabulary_ids[0]]))


@each_family_with("kind", ("clt",), ("plt",))
def test_doubling_a_feature_with_everything_frozen_moves_the_rest_by_its_column(
    family: str, kind: str
) -> None:
    both = frozen(family, kind=kind, skip=True, dtype=torch.float32)
    network = both.network
    dense = dense_rows(both.replacement, every_target(both.model, both.replacement))
    before = torch.cat([network.forward().flatten(), network.pre_activations()])
    for row in range(0, len(network.features), 5):
        logits = network.forward(network.written_by(row))
        moved = torch.cat([logits.flatten(), network.pre_activations()]) - before
        column = dense[:, network.columns.feature[row]]
        assert column.abs().max() > 1e-3
        largest = float(torch.maximum(before.abs().max(), column.abs().max()))
        assert torch.allclose(
            on_host(moved), column, rtol=0, atol=rounding(torch.float32) * largest
        )


def real_streams(
    model: Model, ids: Tensor, added: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Inputs (T, d) of every norm of the real model, with `added` to outputs of named modules."""
    seen: dict[str, Tensor] = {}
    handles = []
    for name, module in model.module.named_modules():
        if "norm" in type(module).__name__.lower() and "attn." not in name:

            def keep(_: Any, inputs: Any, name: str = name) -> None:
                seen[name] = inputs[0][0]

            handles.append(module.register_forward_pre_hook(keep))
        if name in (added or {}):

            def add(_: Any, __: Any, output: Tensor, name: str = name) -> Tensor:
                return output + added[name].to(output)  # type: ignore[index]

            handles.append(module.register_forward_hook(add))
    model.module(ids[None])
    for handle in handles:
        handle.remove()
    return seen


def unit_targets(level: int, position: int, d: int) -> SweepTargets:
    """Every coordinate of the residual stream at one place."""
    at = torch.full((2, d), level, device=DEVICE)
    at[1] = position
    return SweepTargets(*at, torch.eye(d, dtype=torch.float64, device=DEVICE))


LAST = 2
"""The highest layer of the tiny models."""

FINAL_NORM = {"gpt2": "transformer.ln_f", "gpt_neox": "gpt_neox.final_layer_norm"}
LAYERS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}


@each_family_with("kind", ("clt",), ("plt",))
def test_writing_in_the_real_model_moves_the_final_stream_as_the_edges_say(
    family: str, kind: str
) -> None:
    """Nothing is frozen here: what the highest layer adds reaches the final norm as it is."""
    both = frozen(family, kind=kind, writes="hook_mlp_out")
    stem = "gpt_neox" if family.startswith("gpt_neox") else family
    final = FINAL_NORM.get(stem, "model.norm")
    mlp = f"{LAYERS.get(stem, 'model.layers')}.{LAST}."
    mlp += "post_feedforward_layernorm" if family in BEHIND_A_NORM else "mlp"
    ids, network = both.capture.token_ids, both.network
    before = real_streams(both.model, ids)[final]
    at_last = (network.features.layer == LAST).nonzero().squeeze(1)
    for row in at_last[::7].tolist():
        position = int(network.features.position[row])
        added = {mlp: network.written_by(row, times=2.0)[LAST]}
        moved = real_streams(both.model, ids, added)[final] - before
        units = unit_targets(LAST + 1, position, both.model.d_model)
        column = dense_rows(both.replacement, units)[:, network.columns.feature[row]]
        assert column.abs().max() > 1e-3
        assert torch.allclose(on_host(moved[position]), 2 * column, rtol=0, atol=1e-12)
        moved[position] = 0
        assert not moved.any()


def test_parallel_layers_pass_a_write_on_unchanged_in_the_real_model() -> None:
    """GPT-NeoX reads the layer's input: an edge to the next layer's MLP is no attention's."""
    both = frozen("gpt_neox", kind="plt")
    ids, network, features = both.capture.token_ids, both.network, both.network.features
    before = real_streams(both.model, ids)
    for row in (features.layer < LAST).nonzero().squeeze(1)[::9].tolist():
        layer, position = int(features.layer[row]), int(features.position[row])
        norm = f"gpt_neox.layers.{layer + 1}.post_attention_layernorm"
        added = {f"gpt_neox.layers.{layer}.mlp": network.written_by(row)[layer]}
        moved = real_streams(both.model, ids, added)[norm] - before[norm]
        units = unit_targets(layer + 1, position, both.model.d_model)
        column = dense_rows(both.replacement, units)[:, network.columns.feature[row]]
        assert torch.allclose(on_host(moved[position]), column, rtol=0, atol=1e-12)


@each_family_with("dtype", (torch.float64,), (torch.float32,))
def test_rows_of_neurons_equal_autograd(family: str, dtype: torch.dtype) -> None:
    both = frozen(family, dtype=dtype, dictionary=open_neurons, n_zeroed=1)
    assert same_features(both)
    network, replacement = both.network, both.replacement
    chosen = torch.arange(len(network.features))
    at, token = torch.full((24,), replacement.n_tokens - 1), torch.arange(24)
    features = dense_rows(replacement, feature_targets(replacement, chosen))
    assert off(features, network.feature_rows(chosen)) < rounding(dtype)
    logits = dense_rows(replacement, logit_targets(both.model, replacement, at, token))
    assert off(logits, network.logit_rows(at, token)) < rounding(dtype)


@each_family_with("dtype", (torch.float64,), (torch.float32,))
def test_edges_between_neurons_sum_to_every_value(family: str, dtype: torch.dtype) -> None:
    model, _ = captured(family, dtype)
    neurons = open_neurons(model)
    graph = trace(model, neurons, PROMPT, TraceSettings()).graph
    assert missed_shares(graph).max() < rounding(dtype)
    assert not len(graph.nodes.of_kind(NodeKind.ERROR))
