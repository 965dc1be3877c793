"""A tuning's change of one value, taken apart: against both models' own passes and by hand."""

from __future__ import annotations

import copy

import pytest
import torch

from circuit_tracer.attribution.changed_weights import by_changed_weights
from circuit_tracer.attribution.directions import bare, of_feature
from circuit_tracer.attribution.two_models import TwoModels, compare_edges
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import PROMPT
from tests.device import DEVICE
from tests.oracle import FrozenNetwork
from tests.tiny import FAMILIES, random_dictionary, tiny_model

LAYER = 1


def tuned_from(base: Model, *words: str, amount: float = 0.2) -> Model:
    """The same model with random changes of the parameters whose names hold one of the words."""
    module = copy.deepcopy(base.module)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, one in module.named_parameters():
            if any(word in name for word in words):
                change = torch.randn(one.shape, generator=generator, dtype=one.dtype)
                one += amount * one.std() * change
    return Model.from_module(module, base.tokenizer)


def direction(model: Model) -> torch.Tensor:
    return torch.randn(model.d_model, generator=torch.Generator().manual_seed(3)).double()


def stream_of(network: FrozenNetwork) -> torch.Tensor:
    return network._differentiable().after[LAYER][-1].detach()


def parts(found: TwoModels) -> dict[str, float]:
    return {
        name: sum(getattr(one, name) for one in found.changes)
        for name in ("weights", "pattern_weights", "input", "cross")
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_sum_to_the_change_between_the_models_own_passes(family: str) -> None:
    base = tiny_model(family, dtype=torch.float64)
    tuned, ids = tuned_from(base, ""), base.tokenize(PROMPT)
    passes = [one.capture(ids) for one in (base, tuned)]
    streams = [one.resid_post(LAYER)[-1] @ direction(base) for one in passes]
    logits = [one.logits[-1, 5] - one.logits[-1, 7] for one in passes]
    dictionary = random_dictionary(base)
    reads = [dictionary.layers[LAYER].pre_activations(one.mlp_in[LAYER])[-1, 2] for one in passes]
    for target, values in (
        (bare("v", LAYER, direction(base)), streams),
        ((5, 7), logits),
        (of_feature(dictionary, LAYER, 2), reads),
    ):
        found = compare_edges(base, tuned, ids, target)
        assert (found.base, found.tuned) == pytest.approx([float(one) for one in values], rel=1e-6)
        assert abs(found.tuned - found.base) > 1e-3
        assert found.residual < 1e-5 * max(abs(found.base), abs(found.tuned), 1)
        for one in found.changes:
            change = one.weights + one.pattern_weights + one.input + one.cross
            assert change == pytest.approx(one.tuned - one.base, abs=1e-9)


def test_a_neuron_is_the_one_at_the_position_that_is_asked_for() -> None:
    """Its gate decides its direction, which is the base's in both models."""
    base = tiny_model("llama", dtype=torch.float64)
    tuned, ids = tuned_from(base, ""), base.tokenize(PROMPT)
    neurons = open_neurons(base)
    seen = [one.capture(ids).mlp_in[LAYER][3] for one in (base, tuned)]
    fires = neurons.layers[LAYER].encode(seen[0])[2]
    vector, constant = neurons.layers[LAYER].linear_rows(
        torch.tensor([2], device=DEVICE), seen[0][None], fires[None]
    )
    found = compare_edges(base, tuned, ids, of_feature(neurons, LAYER, 2), position=3)
    assert found.base == pytest.approx(float(fires), rel=1e-6)
    assert found.tuned == pytest.approx(float(seen[1] @ vector[0] + constant[0]), rel=1e-6)
    assert found.residual < 1e-6


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gpt_neox"])
def test_the_contributions_of_either_model_are_what_autograd_gives_its_modules(
    family: str,
) -> None:
    """Of a head: what is lost where its pattern is zero; in both models, each its own."""
    base = tiny_model(family, dtype=torch.float64)
    tuned, ids = tuned_from(base, ""), base.tokenize(PROMPT)
    found = compare_edges(base, tuned, ids, bare("v", LAYER, direction(base)))
    for name, model in (("base", base), ("tuned", tuned)):
        network = FrozenNetwork(model.module, torch.tensor(ids), random_dictionary(model))
        head, key = 2, 3
        before = stream_of(network)
        with network.without(LAYER, head, len(ids) - 1, key):
            after = stream_of(network)
        (ours,) = [
            getattr(one, name)
            for one in found.changes
            if (one.module, one.layer, one.head, one.source) == ("head", LAYER, head, key)
        ]
        assert ours == pytest.approx(float((before - after) @ direction(base)), rel=1e-6)
        writes = sum(getattr(one, name) for one in found.changes)
        value = float(model.capture(ids).resid_post(LAYER)[-1] @ direction(base))
        assert writes == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("words", "layer", "part"),
    [
        (("layers.1.self_attn.v_proj", "layers.1.self_attn.o_proj"), 1, "weights"),
        (("layers.1.self_attn.q_proj", "layers.1.self_attn.k_proj"), 1, "pattern_weights"),
        (("layers.1.mlp",), 1, "weights"),
        (("layers.0.",), 1, "input"),
    ],
)
def test_what_was_changed_is_what_is_named(words: tuple[str, ...], layer: int, part: str) -> None:
    base = tiny_model("llama", dtype=torch.float64)
    found = compare_edges(
        base, tuned_from(base, *words), base.tokenize(PROMPT), bare("v", 1, direction(base))
    )
    at = [one for one in found.changes if one.layer == layer]
    named = sum(abs(getattr(one, part)) for one in at)
    others = {"weights", "pattern_weights", "input", "cross"} - {part}
    assert named > 1e-2
    if part == "input":
        assert sum(abs(one.weights) + abs(one.pattern_weights) for one in at) < 1e-9
    elif "mlp" not in words[0]:  # the layer's MLP reads what attention writes
        heads = [one for one in at if one.module == "head"]
        assert max(abs(getattr(one, name)) for one in heads for name in others) < 1e-9
    else:
        assert max(abs(getattr(one, name)) for one in at for name in others) < 1e-9


def test_a_model_and_itself_differ_in_nothing() -> None:
    base = tiny_model("llama")
    found = compare_edges(base, base, base.tokenize(PROMPT), (5, 7))
    assert set(parts(found).values()) == {0.0}


def test_in_float32_parts_sum_to_1e_5() -> None:
    base = tiny_model("llama")
    ids, vector = base.tokenize(PROMPT), direction(base).float()
    found = compare_edges(base, tuned_from(base, "proj"), ids, bare("v", LAYER, vector))
    assert found.residual < 1e-5 * max(abs(found.base), abs(found.tuned), 1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "olmo2"])
def test_changed_weights_make_all_of_the_change(family: str) -> None:
    base = tiny_model(family, dtype=torch.float64)
    tuned, ids = tuned_from(base, "", amount=0.05), base.tokenize(PROMPT)
    vector, dictionary = direction(base), random_dictionary(base)
    for target in (bare("v", LAYER, vector), (5, 7), of_feature(dictionary, LAYER, 2)):
        found = by_changed_weights(base, tuned, ids, target)
        split = compare_edges(base, tuned, ids, target)
        assert (found.base, found.tuned) == pytest.approx((split.base, split.tuned), rel=1e-6)
        assert found.residual < 1e-4 * abs(found.tuned - found.base)
        assert {one.layer for one in found.changes} >= {-1, 0, 1}


def test_a_change_of_one_kind_is_given_to_that_kind_alone() -> None:
    base = tiny_model("llama", dtype=torch.float64)
    tuned = tuned_from(base, "layers.0.self_attn.v_proj", amount=0.1)
    found = by_changed_weights(
        base, tuned, base.tokenize(PROMPT), bare("v", LAYER, direction(base))
    )
    (change,) = found.changes
    assert (change.kind, change.layer) == ("values and output", 0)
    assert change.effect == pytest.approx(found.tuned - found.base, rel=1e-4)
    assert found.share("values and output") == pytest.approx(1, rel=1e-4)
    assert by_changed_weights(base, base, base.tokenize(PROMPT), (5, 7)).changes == ()
