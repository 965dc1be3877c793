"""The derivative of every family's MLP against finite differences of the model's own modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.activations import ACT2FN

from circuit_tracer.models.capture import capture_mlps
from circuit_tracer.models.mlp_map import mlp_map, slope
from tests.device import DEVICE, on_host
from tests.mlps import module_output
from tests.tiny import FAMILIES, tiny_model

PROMPT = "the banana is yellow yes a lemon is blue"
STEP = 1e-4
READS = ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"]
WRITES = ["mlp.hook_out", "hook_mlp_out"]
ACTIVATIONS = ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu", "quick_gelu"]


def off(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest value."""
    ours, theirs = on_host(ours), on_host(theirs)
    return float((ours - theirs).abs().max() / theirs.abs().max())


@torch.no_grad()
def check(model: Any, layer: int, reads: Any, writes: Any) -> None:
    """The map's derivative is the difference quotient of what the model writes."""
    ids = torch.tensor([model.tokenize(PROMPT)], device=DEVICE)
    activity = capture_mlps(model.wrapped, model.wiring, ids, reads, writes)
    x = activity.inputs[layer, 0]
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype).to(DEVICE)
    derivative = mlp_map(model.wiring, layer, reads, writes).jvp(x, v)
    ahead, back = (module_output(model, layer, x + s * v, reads, writes) for s in (STEP, -STEP))
    assert off(derivative, (ahead - back) / (2 * STEP)) < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_the_derivative_of_every_familys_mlp_equals_a_finite_difference(family: str) -> None:
    model = tiny_model(family, dtype=torch.float64)
    model.wiring.make_exact()
    for reads in READS:
        for writes in WRITES:
            check(model, 1, reads, writes)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_its_slope(name: str) -> None:
    act, x = ACT2FN[name], torch.linspace(-4, 4, 81, dtype=torch.float64) + 0.013
    expected = (act(x + 1e-6) - act(x - 1e-6)) / 2e-6
    torch.testing.assert_close(slope(act, x), expected, rtol=1e-7, atol=1e-8)


def test_a_direction_of_the_stream_is_seen_as_through_the_frozen_norm() -> None:
    """By linearity of a layer's frozen norm, whatever its denominators are."""
    for family in ("llama", "gpt2", "gemma2", "olmo2"):
        model = tiny_model(family, dtype=torch.float64)
        capture = model.capture(model.tokenize(PROMPT))
        r = torch.randn(16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        r = r.to(DEVICE)
        norm = model.wiring.norm("mlp_norm", 1)
        after = model.wiring.norm("mlp_post_norm", 1)
        seen, sent = mlp_map(model.wiring, 1).seen(r), mlp_map(model.wiring, 1).sent(r)
        pairs = [
            (norm and norm.freeze(capture.resid_mid[1]), seen),
            (after and after.freeze(capture.mlp_out[1]), sent),
        ]
        for frozen, found in pairs:
            whole = r if frozen is None else frozen.push(r[None], slice(0, 1))[0]
            parallel = torch.nn.functional.cosine_similarity(whole, found, dim=0)
            assert float(parallel) == pytest.approx(1.0, abs=1e-10)
