"""A dictionary's response to a change, against autograd through the model's own modules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders import fidelity as measured
from circuit_tracer.transcoders.fidelity import DIRECTIONS, fidelity
from tests.device import DEVICE
from tests.mlps import module_output
from tests.tiny import random_dictionary, residual_dictionary, tiny_model

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("gpt2", {"activation": "jumprelu", "skip": True}),
    ("gemma2", {"kind": "clt", "writes": "hook_mlp_out"}),
    ("gemma2", {"reads": "hook_resid_mid", "activation": "relu"}),
    ("gpt_neox", {"kind": "clt", "skip": True}),
    ("olmo2", {"reads": "ln2.hook_normalized"}),
]


def read(model: Any, dictionary: Any, n: int = 64) -> Tensor:
    ids = torch.randint(2, 14, (n // 8, 9), generator=torch.Generator().manual_seed(5))
    activity = model.mlp_activity(ids, dictionary.reads, dictionary.writes)
    inputs: Tensor = activity.inputs[:, :, 1:].flatten(1, 2)
    return inputs


@pytest.mark.parametrize(("family", "settings"), SETTINGS, ids=str)
def test_figures_are_what_autograd_gives(
    family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family, dtype=torch.float64)
    dictionary = random_dictionary(model, **settings)
    inputs, kept = read(model, dictionary), {}
    draw = measured._directions

    def spied(along: Any, *rest: Any) -> Tensor:
        kept[along] = draw(along, *rest)
        return kept[along]

    monkeypatch.setattr(measured, "_directions", spied)
    found = fidelity(model, dictionary, inputs)
    masks = [t.encode(x) != 0 for t, x in zip(dictionary.layers, inputs, strict=True)]
    for along in DIRECTIONS:
        v = kept[along]
        sizes = v.norm(dim=-1)
        assert bool(((sizes - 1).abs() < 1e-6).logical_or(sizes == 0).all())
        for layer in range(3):

            def made(*xs: Tensor, written: int = layer) -> Tensor:
                acts = [
                    t.pre_activations(x) * on
                    for t, x, on in zip(dictionary.layers, xs, masks, strict=True)
                ]
                return dictionary.reconstruct(xs, acts)[written]

            def true(x: Tensor, at: int = layer) -> Tensor:
                return module_output(model, at, x, dictionary.reads, dictionary.writes)

            wanted = torch.func.jvp(true, (inputs[layer],), (v[layer],))[1]
            moved = torch.func.jvp(made, tuple(inputs), tuple(v))[1]
            there = wanted.norm(dim=-1) > 0
            assert bool(there.any()) == (along != "dec" or layer > 0)
            if not bool(there.any()):
                assert found[layer][along].cosine != found[layer][along].cosine
                continue
            cosine = torch.nn.functional.cosine_similarity(wanted, moved, dim=-1)[there].median()
            error = ((wanted - moved).norm(dim=-1) / wanted.norm(dim=-1))[there].median()
            assert found[layer][along].cosine == pytest.approx(float(cosine), abs=1e-5)
            assert found[layer][along].error == pytest.approx(float(error), rel=1e-5)


def test_a_dictionary_that_is_the_mlp_responds_as_it_does() -> None:
    """Half-planes of a ReLU MLP are its neurons: encoder the gates, decoder the down projection."""
    model = tiny_model("gpt2", activation_function="relu")
    base = random_dictionary(model, n_features=32, activation="relu")
    layers = []
    for one in base.layers:
        weights = model.wiring.mlp_weights(one.layer)
        assert weights.gate_bias is not None
        assert weights.down_bias is not None
        layers.append(
            replace(
                one,
                W_enc=weights.gate,
                b_enc=weights.gate_bias,
                W_dec=weights.down.T[:, None],
                b_dec=weights.down_bias,
            )
        )
    same = replace(base, layers=tuple(layers))
    found = fidelity(model, same, read(model, same))
    for layer, responses in found.items():
        for along in DIRECTIONS:
            if layer or along != "dec":
                assert responses[along].cosine == pytest.approx(1, abs=1e-4)
                assert responses[along].error < 1e-4


def test_an_autoencoder_stands_for_no_mlp() -> None:
    model = tiny_model("llama")
    dictionary = residual_dictionary(model, 1)
    with pytest.raises(DictionaryError, match="stands for no MLP"):
        fidelity(model, dictionary, torch.zeros(3, 4, 16, device=DEVICE))
