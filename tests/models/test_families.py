"""Every supported architecture: what the capture and the wiring say against an independent pass."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from circuit_tracer.attribution import trace
from circuit_tracer.attribution.qk import explain_score
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from tests.device import DEVICE, on_host
from tests.oracle import FrozenNetwork
from tests.tiny import FAMILIES, WINDOW, random_dictionary, tiny_model

PROMPT = "the banana is yellow yes a lemon is blue"
DTYPES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]
READS = ["mlp.hook_in", "ln2.hook_normalized", "hook_resid_mid"]
TIED = {"qwen2", "qwen3", "gemma2", "gemma3", "gpt2"}
WINDOWED = {"mistral": [0, 1, 2], "gemma2": [0, 2], "gemma3": [0, 2]}
GROUPED = set(FAMILIES) - {"gpt2", "gpt_neox", "gpt_neox_serial"}


@cache
def opened(family: str, dtype: torch.dtype = torch.float64) -> tuple[Model, Capture]:
    model = tiny_model(family, dtype=dtype)
    return model, model.capture(model.tokenize(PROMPT))


def off(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest value."""
    ours, theirs = on_host(ours), on_host(theirs)
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_models_have_what_their_family_has(family: str) -> None:
    model, _ = opened(family)
    module, config = model.module, model.module.config
    ids = torch.tensor([model.tokenize(PROMPT)], device=DEVICE)
    output = module(ids, output_attentions=True)
    for parameter in module.parameters():
        assert parameter.std() > 0.05
    tied = module.get_output_embeddings().weight is module.get_input_embeddings().weight
    assert tied == (family in TIED)
    reached = [int((pattern[0, 0, -1] > 0).sum()) for pattern in output.attentions]
    short = WINDOWED.get(family, [])
    assert reached == [WINDOW if layer in short else ids.shape[1] for layer in range(3)]
    if family in GROUPED:
        assert config.num_key_value_heads < config.num_attention_heads


def test_soft_caps_of_the_tiny_gemma_2_bite() -> None:
    model, capture = opened("gemma2")
    capped = model.module(capture.token_ids[None]).logits[0]
    assert (capped - capture.logits).abs().max() > 0.2
    before = capture.patterns
    loose = tiny_model("gemma2", dtype=torch.float64, attn_logit_softcapping=None)
    after = loose.capture(model.tokenize(PROMPT)).patterns
    assert (before[0] - after[0]).abs().max() > 0.05


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_frozen_network_reproduces_the_models_logits(
    family: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, _ = opened(family, dtype)
    ids = torch.tensor(model.tokenize(PROMPT), device=DEVICE)
    found: list[Tensor] = []
    head = model.module.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, __, output: found.append(output[0]))
    model.module(ids[None])
    handle.remove()
    assert off(FrozenNetwork(model.module, ids).forward(), found[0]) < tolerance


@pytest.mark.parametrize(
    ("reads", "writes"),
    [*zip(READS, ("mlp.hook_out", "hook_mlp_out", "hook_mlp_out"), strict=True)],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_frozen_network_is_affine_with_the_gradients_it_reports(
    family: str, reads: str, writes: str
) -> None:
    """Far steps, not small ones: an affine map has no step size."""
    model, capture = opened(family)
    dictionary = random_dictionary(model, kind="clt", skip=True, reads=reads, writes=writes)
    network = FrozenNetwork(model.module, capture.token_ids, dictionary)
    assert off(network.pre_activations(), network.features.activation) < 1e-12
    T, V = capture.logits.shape
    at, token = torch.arange(T).repeat_interleave(V), torch.arange(V).repeat(T)
    n = len(network.features)
    rows = torch.cat([network.logit_rows(at, token), network.feature_rows(torch.arange(n))])
    before = torch.cat([network.forward().flatten(), network.pre_activations()])
    for row in range(0, n, 9):
        logits = network.forward(network.written_by(row, times=-3.0))
        moved = torch.cat([logits.flatten(), network.pre_activations()]) - before
        assert off(moved, -3 * rows[:, network.columns.feature[row]]) < 1e-11


@pytest.mark.parametrize("family", FAMILIES)
def test_half_the_gradient_of_a_gated_neuron_is_its_gates(family: str) -> None:
    """Contributions to a bias-free neuron sum to its activation."""
    model, capture = opened(family)
    network = FrozenNetwork(model.module, capture.token_ids)
    for layer in network.layers:
        x = layer.read("mlp.hook_in").clone().requires_grad_(True)
        with torch.enable_grad():
            linear = layer.neurons.linearised(x)
        assert off(linear.detach(), layer.neurons.activations(x).detach()) < 1e-12
        gate = layer.neurons.gate(torch.zeros_like(x))
        (gradient,) = torch.autograd.grad(linear.sum(), x)
        if not gate.any():  # no bias
            assert off((gradient * x).sum(-1).detach(), linear.sum(-1).detach()) < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_capture_is_what_an_independent_pass_sees(
    family: str, dtype: torch.dtype, tolerance: float
) -> None:
    model, capture = opened(family, dtype)
    network = FrozenNetwork(model.module, capture.token_ids)
    assert off(capture.embeddings, network.embeddings) < tolerance
    for i, layer in enumerate(network.layers):
        assert off(capture.resid_mid[i], layer.stream) < tolerance
        assert off(capture.mlp_in[i], layer.read("mlp.hook_in")) < tolerance
        assert off(capture.mlp_out[i], layer.leaf.leaf) < tolerance
    assert off(capture.resid_final, network.final.seen[0]) < tolerance
    assert off(capture.logits, network.own_logits) < tolerance


@pytest.mark.parametrize("reads", READS)
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_points_are_what_an_independent_pass_sees(family: str, reads: Any) -> None:
    model, capture = opened(family)
    network = FrozenNetwork(model.module, capture.token_ids)
    activity = model.mlp_activity(capture.token_ids[None], reads)
    for i, layer in enumerate(network.layers):
        assert off(activity.inputs[i, 0], layer.read(reads)) < 1e-12
        ours = model.wiring.read(reads, i, capture.resid_mid[i], capture.mlp_in[i])
        assert off(ours, layer.read(reads)) < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_a_neox_mlp_in_parallel_reads_the_layers_input(family: str) -> None:
    """In all others attention comes in between."""
    _, capture = opened(family)
    same = [
        torch.equal(pre, mid) for pre, mid in zip(capture.resid_pre, capture.resid_mid, strict=True)
    ]
    assert same == [family == "gpt_neox"] * 3


def test_the_language_half_of_a_gemma3_with_vision_is_a_gemma3() -> None:
    base, capture = opened("gemma3", torch.float32)
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    vision = {**small, "num_attention_heads": 1, "image_size": 8, "patch_size": 4}
    config = Gemma3Config(
        text_config=base.module.config.to_dict(), vision_config=vision, mm_tokens_per_image=4
    )
    module = Gemma3ForConditionalGeneration(config).to(DEVICE)
    weights = {
        name.replace("model.", "model.language_model.", 1): tensor
        for name, tensor in base.module.state_dict().items()
    }
    assert not module.load_state_dict(weights, strict=False).unexpected_keys
    whole = Model.from_module(module, base.tokenizer)
    again = whole.capture(base.tokenize(PROMPT))
    assert torch.equal(again.logits, capture.logits)
    dictionaries = [random_dictionary(model) for model in (base, whole)]
    graphs = [
        trace(model, dictionary, PROMPT).graph
        for model, dictionary in zip((base, whole), dictionaries, strict=True)
    ]
    assert np.array_equal(*(graph.edges.weight for graph in graphs))
    one, other = (
        explain_score(*asked, layer=1, head=0, query=4, key=2).parts
        for asked in zip((base, whole), dictionaries, map(prune, graphs), strict=True)
    )
    assert (one.value, one.positive) == (other.value, other.positive)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        *((family, {}) for family in FAMILIES),
        *(
            (family, {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1})
            for family in ("qwen2", "qwen3")
        ),
        ("mistral", {"sliding_window": None}),
    ],
)
def test_a_layer_sees_what_its_pattern_has_weight_on(family: str, options: dict[str, Any]) -> None:
    model = tiny_model(family, **options)
    capture = model.capture(model.tokenize(PROMPT))
    at = torch.arange(len(capture.token_ids), device=DEVICE)
    for layer, pattern in enumerate(capture.patterns):
        seen = model.wiring.sees(layer, at[:, None], at)
        assert torch.equal(seen.expand_as(pattern), pattern > 0)
