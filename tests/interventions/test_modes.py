"""Constrained and free runs against plain hooks on the Hugging Face module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions import edits, engine
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.spec import Change, Intervention, Strength, change_feature
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import LayerTranscoder
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import captured
from tests.device import DEVICE
from tests.tiny import random_dictionary

FAMILIES = ["llama", "gpt2", "gemma2"]
each_family = pytest.mark.parametrize("family", FAMILIES)
OnMlp = Callable[[int, Tensor, Tensor], Tensor]


def opened(family: str) -> tuple[Model, list[int], Any]:
    model, capture = captured(family, torch.float64)
    return model, capture.token_ids.tolist(), capture


@contextmanager
def mlps_edited(module: Any, on_mlp: OnMlp) -> Iterator[None]:
    """`on_mlp(layer, input, output)` (T, d) in place of every MLP's output."""
    mlps = [child for name, child in module.named_modules() if name.endswith(".mlp")]

    def hook_of(layer: int) -> Any:
        return lambda _, inputs, output: on_mlp(layer, inputs[0][0], output[0])[None]

    handles = [mlp.register_forward_hook(hook_of(i)) for i, mlp in enumerate(mlps)]
    yield
    for handle in handles:
        handle.remove()


def raw_logits(module: Any, ids: list[int]) -> Tensor:
    """(T, V) before a soft-cap."""
    seen: list[Tensor] = []
    handle = module.get_output_embeddings().register_forward_hook(
        lambda _, __, output: seen.append(output[0])
    )
    module(torch.tensor([ids], device=DEVICE))
    handle.remove()
    return seen[0]


def with_patterns(model: Model, capture: Any) -> Any:
    """A copy of the module whose attention mixes its own values with recorded patterns."""
    import tests.oracle  # noqa: F401 - registers "recorded"

    module = copy.deepcopy(model.module)
    attentions = [m for _, m in module.named_modules() if type(m).__name__.endswith("Attention")]
    for attention, pattern in zip(attentions, capture.patterns, strict=True):
        attention.recorded_pattern = pattern[None]
    module.set_attn_implementation("recorded")
    return module


def active(dictionary: Any, model: Model, capture: Any, layer: int, position: int) -> list[int]:
    found = dictionary.layers[layer].encode(capture.mlp_in[layer])[position]
    return [int(i) for i in found.nonzero().squeeze(1)]


@each_family
@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_free_adds_the_change_and_recomputes_the_rest(family: str, kind: str) -> None:
    model, ids, capture = opened(family)
    dictionary = random_dictionary(model, kind=kind)  # type: ignore[arg-type]
    feature = active(dictionary, model, capture, 1, 4)[0]
    before = dictionary.layers[1].encode(capture.mlp_in[1])[4, feature]

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        out = output.clone()
        if layer == 1 or (layer == 2 and kind == "clt"):
            out[4] -= 3 * before * dictionary.layers[1].W_dec[feature, layer - 1]
        return out

    with mlps_edited(model.module, on_mlp):
        expected = raw_logits(model.module, ids)
    change = (change_feature(1, feature, 4, Strength(-2.0)),)
    effects = intervene(model, dictionary, ids, [change], mode="free")
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)
    assert (effects.logits[0] - effects.baseline).abs().max() > 1e-3
    assert torch.allclose(effects.baseline, capture.logits, rtol=0, atol=1e-10)


@each_family
def test_a_clamp_on_several_layers_ends_at_the_value_in_the_changed_run(family: str) -> None:
    """What is subtracted is the activation of that run, not of the original one."""
    model, ids, _ = opened(family)
    dictionary = random_dictionary(model)
    clamps = {0: 3, 1: 5, 2: 2}

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        transcoder, feature = dictionary.layers[layer], clamps[layer]
        change = 2.5 - transcoder.encode(read)[:, feature]
        change[0] = 0  # zeroed
        return output + change[:, None] * transcoder.W_dec[feature, 0]

    with mlps_edited(model.module, on_mlp):
        expected = raw_logits(model.module, ids)
    value = Strength(2.5, is_multiple=False)
    changes = tuple(change_feature(layer, i, None, value) for layer, i in clamps.items())
    effects = intervene(model, dictionary, ids, [changes], mode="free")
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)


@each_family
def test_a_multiple_is_of_the_original_activation_also_after_another_change(family: str) -> None:
    model, ids, capture = opened(family)
    dictionary = random_dictionary(model)
    low, high = active(dictionary, model, capture, 0, 5)[0], 7
    natural = dictionary.layers[2].encode(capture.mlp_in[2])

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        out, transcoder = output.clone(), dictionary.layers[layer]
        if layer == 0:
            out[5] -= transcoder.encode(read)[5, low] * transcoder.W_dec[low, 0]
        if layer == 2:
            change = 2 * natural[6, high] - transcoder.encode(read)[6, high]
            out[6] += change * transcoder.W_dec[high, 0]
        return out

    with mlps_edited(model.module, on_mlp):
        expected = raw_logits(model.module, ids)
    changes = (change_feature(0, low, 5), change_feature(2, high, 6, Strength(2.0)))
    effects = intervene(model, dictionary, ids, [changes], mode="free")
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)


@each_family
@pytest.mark.parametrize("end", [None, -1, 0, 2])
def test_constrained_holds_patterns_and_mlps_up_to_the_end_layer(
    family: str, end: int | None
) -> None:
    model, ids, capture = opened(family)
    dictionary = random_dictionary(model, kind="clt", skip=True)
    feature = active(dictionary, model, capture, 1, 3)[0]
    last = 1 if end is None else end

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        out = (capture.mlp_out[layer] if layer <= last else output).clone()
        if layer >= 1:
            current = dictionary.layers[1].encode(capture.mlp_in[1])[3, feature]
            out[3] += current * dictionary.layers[1].W_dec[feature, layer - 1]
        return out

    module = with_patterns(model, capture)
    with mlps_edited(module, on_mlp):
        expected = raw_logits(module, ids)
    change = (change_feature(1, feature, 3, Strength(2.0)),)
    effects = intervene(model, dictionary, ids, [change], end_layer=end)
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)


@each_family
def test_free_with_frozen_attention(family: str) -> None:
    model, ids, capture = opened(family)
    dictionary = random_dictionary(model)
    feature = active(dictionary, model, capture, 0, 3)[0]

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        out = output.clone()
        if layer == 0:
            current = dictionary.layers[0].encode(read)[3, feature]
            out[3] -= current * dictionary.layers[0].W_dec[feature, 0]
        return out

    module = with_patterns(model, capture)
    with mlps_edited(module, on_mlp):
        expected = raw_logits(module, ids)
    effects = intervene(
        model,
        dictionary,
        ids,
        [(change_feature(0, feature, 3),)],
        mode="free",
        freeze_attention=True,
    )
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)


@contextmanager
def norms_frozen(module: Any, ids: list[int]) -> Iterator[None]:
    """Every RMSNorm multiplies its input by what it multiplied it by in the pass of `ids`."""
    norms = [child for name, child in module.named_modules() if name.endswith("norm")]
    factors: dict[Any, Tensor] = {}

    def record(norm: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        factors[norm] = output / inputs[0]

    handles = [norm.register_forward_hook(record) for norm in norms]
    module(torch.tensor([ids], device=DEVICE))
    for handle in handles:
        handle.remove()
    handles = [
        norm.register_forward_hook(lambda norm, inputs, _: inputs[0] * factors[norm])
        for norm in norms
    ]
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_norms_can_be_frozen_while_mlps_respond(family: str) -> None:
    model, ids, capture = opened(family)
    dictionary = random_dictionary(model)
    feature = active(dictionary, model, capture, 0, 3)[0]
    natural = dictionary.layers[0].encode(capture.mlp_in[0])[3, feature]

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        out = (capture.mlp_out[0] if layer == 0 else output).clone()
        if layer == 0:
            out[3] += natural * dictionary.layers[0].W_dec[feature, 0]
        return out

    module = with_patterns(model, capture)
    with norms_frozen(module, ids), mlps_edited(module, on_mlp):
        expected = raw_logits(module, ids)
    change = (change_feature(0, feature, 3, Strength(2.0)),)
    effects = intervene(model, dictionary, ids, [change], freeze_norms=True)
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)
    free = intervene(model, dictionary, ids, [change])
    assert (free.logits[0] - expected).abs().max() > 1e-3


@each_family
@pytest.mark.parametrize(("writes", "end", "written"), [("frozen", 1, (0, 1)), ("own", 2, (0,))])
def test_a_cross_layer_feature_can_leave_later_layers_to_their_own_mlps(
    family: str, writes: Any, end: int, written: tuple[int, ...]
) -> None:
    model, ids, capture = opened(family)
    dictionary = random_dictionary(model, kind="clt")
    feature = active(dictionary, model, capture, 0, 3)[0]
    natural = dictionary.layers[0].encode(capture.mlp_in[0])[3, feature]

    def on_mlp(layer: int, read: Tensor, output: Tensor) -> Tensor:
        out = (capture.mlp_out[layer] if layer <= end else output).clone()
        if layer in written:
            out[3] -= natural * dictionary.layers[0].W_dec[feature, layer]
        return out

    module = with_patterns(model, capture)
    with mlps_edited(module, on_mlp):
        expected = raw_logits(module, ids)
    change = (change_feature(0, feature, 3),)
    effects = intervene(model, dictionary, ids, [change], end_layer=end, writes=writes)
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)
    everywhere = intervene(model, dictionary, ids, [change], end_layer=end)
    assert (everywhere.logits[0] - expected).abs().max() > 1e-4


def test_a_place_is_encoded_once_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, capture = opened("llama")
    dictionary = random_dictionary(model)
    rows: list[Intervention] = [
        tuple(change_feature(layer, i, at) for i in active(dictionary, model, capture, layer, at))
        for layer in (1, 2)
        for at in (3, 6, 7)
    ]
    whole = intervene(model, dictionary, ids, rows, mode="free")
    encoded: list[int] = []
    encode = LayerTranscoder.encode

    def counted(self: LayerTranscoder, x: Tensor) -> Tensor:
        encoded.append(x[..., 0].numel())
        return encode(self, x)

    original = engine.run_original(model, dictionary, ids)
    monkeypatch.setattr(LayerTranscoder, "encode", counted)
    monkeypatch.setattr(edits, "MOST_ENCODED", 2 * dictionary.layers[0].n_features)
    parts = intervene(model, dictionary, ids, rows, mode="free", original=original)
    assert torch.allclose(parts.logits, whole.logits, rtol=0, atol=1e-12)
    assert sum(encoded) == len(rows)
    assert max(encoded) == 2


@each_family
def test_a_neuron_is_set_before_the_down_projection(family: str) -> None:
    model, ids, _ = opened(family)
    downs = [m for n, m in model.module.named_modules() if n.endswith(("down_proj", "mlp.c_proj"))]

    def set_neuron(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        activations = inputs[0].clone()
        activations[0, 2:4, 9] = 1.5
        return (activations, *inputs[1:])

    handles = [downs[layer].register_forward_pre_hook(set_neuron) for layer in (0, 1)]
    expected = raw_logits(model.module, ids)
    for handle in handles:
        handle.remove()
    value = Strength(1.5, is_multiple=False)
    changes = tuple(change_feature(layer, 9, at, value) for layer in (0, 1) for at in (2, 3))
    effects = intervene(model, open_neurons(model), ids, [changes], mode="free")
    assert torch.allclose(effects.logits[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", ["direct", "constrained", "free"])
def test_rows_do_not_know_of_each_other(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids, capture = opened("llama")
    dictionary = random_dictionary(model)
    rows: list[Intervention] = [
        (change_feature(layer, i, at, Strength(2.0)),)
        for layer in range(3)
        for at in (3, 6)
        for i in active(dictionary, model, capture, layer, at)
    ]
    together = intervene(model, dictionary, ids, rows, mode=mode, keep_seen=True)
    monkeypatch.setattr(engine, "MOST_ROWS", 5)
    chunked = intervene(model, dictionary, ids, rows, mode=mode, positions=[2, -1])
    assert chunked.positions.tolist() == [2, len(ids) - 1]
    assert torch.allclose(chunked.logits, together.logits[:, [2, -1]], rtol=0, atol=1e-12)
    alone = intervene(model, dictionary, ids, rows[4:5], mode=mode, keep_seen=True)
    assert torch.allclose(alone.logits[0], together.logits[4], rtol=0, atol=1e-12)
    assert alone.seen is not None
    assert together.seen is not None
    assert torch.allclose(alone.seen[:, 0], together.seen[:, 4], atol=1e-12)
    assert together.seen.shape == (3, len(rows), len(ids), model.d_model)


def test_probabilities_are_after_the_soft_cap() -> None:
    model, ids, _ = opened("gemma2")
    effects = intervene(model, random_dictionary(model), ids, [], mode="free")
    own = model.module(torch.tensor([ids], device=DEVICE)).logits[0].softmax(-1)
    assert torch.allclose(model.probabilities(effects.baseline), own, rtol=0, atol=1e-12)


VALUE = Strength(1.0, is_multiple=False)
WRONG: list[tuple[Callable[[], Change], dict[str, Any], str]] = [
    (lambda: change_feature(7, 0, 3), {}, "has layers 0 to 2"),
    (lambda: change_feature(0, 99, 3), {}, "has features 0 to 11"),
    (lambda: change_feature(0, 3, 40), {}, "positions 0 to 9"),
    (lambda: change_feature(0, 3, 0), {}, "carry no features"),
    (lambda: Change(NodeKind.ERROR, 0, 2, strength=VALUE), {}, "no activation"),
    (lambda: Change(NodeKind.LOGIT, 3, 2), {}, "no cause"),
    (lambda: change_feature(0, 3, 3, Strength(float("inf"))), {}, "overflows"),
    (lambda: change_feature(0, 3, 3), {"end_layer": 5}, "no layer of this model"),
    (lambda: change_feature(0, 3, 3), {"mode": "free", "end_layer": 1}, "constrained runs"),
    (lambda: change_feature(0, 3, 3), {"mode": "direct", "freeze_attention": False}, "freezes"),
    (lambda: change_feature(0, 3, 3), {"mode": "direct", "freeze_norms": False}, "let norms be"),
]


@pytest.mark.parametrize(("change", "options", "said"), WRONG)
def test_bad_input_is_reported(change: Any, options: dict[str, Any], said: str) -> None:
    model, ids, _ = opened("llama")
    with pytest.raises(UsageError, match=said):
        intervene(model, random_dictionary(model), ids, [(change(),)], **options)


def test_more_bad_input_is_reported() -> None:
    model, ids, _ = opened("llama")
    dictionary = random_dictionary(model)
    twice = (change_feature(0, 3, 3), change_feature(0, 3))
    with pytest.raises(UsageError, match="changed twice"):
        intervene(model, dictionary, ids, [twice])
    feature = active(dictionary, model, captured("llama", torch.float64)[1], 0, 3)[0]
    huge = Strength(1e15)
    changes = tuple(change_feature(0, feature, at, huge) for at in range(1, 10))
    with pytest.raises(UsageError, match="overflow"):
        intervene(model, dictionary, ids, [changes], mode="free")
    with pytest.raises(UsageError, match="neurons leave no error"):
        intervene(model, open_neurons(model), ids, [(Change(NodeKind.ERROR, 0, 2),)])
