"""Features of sparse autoencoders changed in the stream: against PyTorch's own forward hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.spec import Change, Strength, change_feature
from circuit_tracer.interventions.steering import Feature, steer
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary, every_layer
from tests.tiny import FAMILIES, random_dictionary, tiny_model

IDS = [0, 3, 4, 7, 9, 5]
Edit = Callable[[Tensor], Tensor]


def residual(model: Model, layers: tuple[int, ...] = (0, 1)) -> Dictionary:
    """A random sparse autoencoder after some layers."""
    point = "hook_resid_post"
    found = random_dictionary(model, kind="sae", reads=point, writes=point)
    kept = [found.layers[layer] for layer in layers]
    return Dictionary(
        "sae", every_layer(kept, model.n_layers), found.reads, found.identity, found.writes
    )


def layer_module(model: Model, layer: int) -> Any:
    return model.module.get_submodule(model.wiring.paths.layer.format(layer))


def hooked(model: Model, ids: list[int], edits: dict[int, Edit]) -> Tensor:
    """Logits (T, V) before a soft-cap of a pass whose streams are edited by plain hooks."""

    def hook(edit: Edit) -> Any:
        def changed(_module: Any, _inputs: Any, output: Any) -> Any:
            stream = output[0] if isinstance(output, tuple) else output
            edited = edit(stream[0])[None]
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return changed

    handles = [
        layer_module(model, layer).register_forward_hook(hook(edit))
        for layer, edit in edits.items()
    ]
    with torch.no_grad():
        logits = model.module(torch.tensor([ids], device=model.device)).logits[0]
    for handle in handles:
        handle.remove()
    cap = model.wiring.logit_softcap
    return logits if cap is None else cap * (logits / cap).atanh()


def set_to(dictionary: Dictionary, layer: int, feature: int, value: float) -> Edit:
    """Add what is missing to a value times the decoder row, at every position but the first."""
    transcoder = dictionary.layers[layer]

    def edit(stream: Tensor) -> Tensor:
        active = transcoder.encode(stream)[:, feature]
        change = value - active
        change[0] = 0
        return stream + change[:, None] * transcoder.W_dec[feature, 0]

    return edit


@pytest.mark.parametrize("family", FAMILIES)
def test_a_free_run_is_a_hook_that_adds_decoder_rows(family: str) -> None:
    model = tiny_model(family, dtype=torch.float64)
    dictionary = residual(model)
    changes = (
        change_feature(0, 2, None, Strength(1.5, is_multiple=False)),
        change_feature(1, 5, None, Strength(-0.7, is_multiple=False)),
    )
    found = intervene(model, dictionary, IDS, [changes], mode="free")
    edits = {0: set_to(dictionary, 0, 2, 1.5), 1: set_to(dictionary, 1, 5, -0.7)}
    torch.testing.assert_close(found.logits[0], hooked(model, IDS, edits))
    assert float((found.logits[0] - found.baseline).abs().max()) > 0.01


def test_steered_text_is_written_with_the_hook_in_place() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    dictionary = residual(model, (1,))
    found = steer(model, dictionary, IDS, [Feature(1, 3)], [4.0], unit="value", max_new_tokens=5)
    ids, edit = list(IDS), {1: set_to(dictionary, 1, 3, 4.0)}
    for _ in range(5):
        ids.append(int(hooked(model, ids, edit)[-1].argmax()))
    assert found.at(4.0).text.token_ids == tuple(ids[len(IDS) :])


def test_frozen_attention_keeps_the_prompts_own_patterns() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    dictionary = residual(model, (1,))
    capture = model.capture(IDS)
    change = (change_feature(1, 3, 4, Strength(2.0, is_multiple=False)),)
    found = intervene(model, dictionary, IDS, [change], mode="constrained")

    added = 2.0 - dictionary.layers[1].encode(capture.resid_post(1))[4, 3]
    stream = capture.resid_post(1).clone()
    stream[4] += added * dictionary.layers[1].W_dec[3, 0]
    for layer in range(2, model.n_layers):
        stream = _layer_by_hand(model, layer, stream, capture.patterns[layer])
    norm = model.module.model.norm
    expected = model.module.lm_head(norm(stream))
    torch.testing.assert_close(found.logits[0], expected)
    free = intervene(model, dictionary, IDS, [change], mode="free")
    assert not torch.allclose(free.logits[0], expected)


def _layer_by_hand(model: Model, layer: int, stream: Tensor, pattern: Tensor) -> Tensor:
    """A Llama layer with a given attention pattern (H, T, T)."""
    module, wiring = layer_module(model, layer), model.wiring
    x = module.input_layernorm(stream)
    values = module.self_attn.v_proj(x).view(len(x), wiring.n_kv_heads, wiring.d_head)
    values = values.repeat_interleave(wiring.n_heads // wiring.n_kv_heads, dim=1)
    mixed = torch.einsum("hqk,khe->qhe", pattern, values).flatten(1)
    mid = stream + module.self_attn.o_proj(mixed)
    result: Tensor = mid + module.mlp(module.post_attention_layernorm(mid))
    return result


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_a_direct_run_is_linear_in_the_change(family: str) -> None:
    model = tiny_model(family, dtype=torch.float64)
    dictionary = residual(model)

    def effect(*changes: tuple[int, int, float]) -> Tensor:
        row = tuple(
            change_feature(layer, index, 3, Strength(value, is_multiple=False))
            for layer, index, value in changes
        )
        found = intervene(model, dictionary, IDS, [row], mode="direct")
        return found.logits[0] - found.baseline

    acts = [t.encode(model.capture(IDS).resid_post(t.layer)) for t in dictionary.layers[:2]]
    first, second = float(acts[0][3, 2]), float(acts[1][3, 5])
    one, two = effect((0, 2, first + 1)), effect((1, 5, second + 1))
    torch.testing.assert_close(effect((0, 2, first + 3)), 3 * one)
    torch.testing.assert_close(effect((0, 2, first + 1), (1, 5, second + 1)), one + two)
    assert float(one.abs().max()) > 1e-3


def test_an_error_can_be_taken_away() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    dictionary = residual(model, (1,))
    change = (Change(NodeKind.ERROR, 1, 4),)
    found = intervene(model, dictionary, IDS, [change], mode="free")

    def edit(stream: Tensor) -> Tensor:
        out = stream.clone()
        transcoder = dictionary.layers[1]
        acts = transcoder.encode(stream)
        out[4] = (acts @ transcoder.W_dec[:, 0] + transcoder.b_dec)[4]
        return out

    torch.testing.assert_close(found.logits[0], hooked(model, IDS, {1: edit}))


def test_a_layer_without_features_is_named() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    with pytest.raises(UsageError, match=r"L2/0: .* has features after layers 0, 1 alone"):
        intervene(model, residual(model), IDS, [(change_feature(2, 0),)])
