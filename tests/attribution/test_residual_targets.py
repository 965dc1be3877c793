"""Features of the residual stream as targets, in a model and its tuned self, against autograd."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution.changed_weights import by_changed_weights
from circuit_tracer.attribution.directions import of_feature
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import trace
from circuit_tracer.attribution.two_models import compare_edges
from circuit_tracer.models import Model, open_model
from tests.attribution.frozen import PROMPT
from tests.attribution.test_two_models import tuned_from
from tests.oracle import FrozenNetwork
from tests.tiny import random_dictionary, residual_dictionary, tiny_model

LAYER, FEATURE = 1, 5


def detached(_: Any, __: Any, output: Any) -> Any:
    """A hook: no gradient goes through."""
    return (output[0].detach(), *output[1:]) if isinstance(output, tuple) else output.detach()


def pre_activation(model: Model, ids: list[int], transcoder: Any) -> Tensor:
    """Of the feature, at the end, from what the Hugging Face layer returns."""
    kept: list[Tensor] = []
    hook = model.module.model.layers[LAYER].register_forward_hook(
        lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    try:
        model.module(torch.tensor([ids], device=model.device))
    finally:
        hook.remove()
    return kept[0][0, -1] @ transcoder.W_enc[FEATURE] + transcoder.b_enc[FEATURE]


def head_parts(model: Model, ids: list[int], transcoder: Any, layer: int) -> Tensor:
    """(H,) what each head of a Llama's layer adds: gradient x what enters the output projection,
    with every other module's output detached."""
    module = model.module.model
    kept: list[Tensor] = []

    def leaf(_: Any, inputs: tuple[Tensor]) -> tuple[Tensor]:
        kept.append(inputs[0].detach().requires_grad_())
        return (kept[0],)

    with ExitStack() as stack, torch.enable_grad():
        for number, one in enumerate(module.layers[: LAYER + 1]):
            own = number == layer
            others = [one.mlp] if own else [one.mlp, one.self_attn]
            hooks = [other.register_forward_hook(detached) for other in others]
            if own:
                hooks.append(one.self_attn.o_proj.register_forward_pre_hook(leaf))
            for hook in hooks:
                stack.callback(hook.remove)
        (gradient,) = torch.autograd.grad(pre_activation(model, ids, transcoder), kept)
    at_end = (gradient * kept[0])[0, -1].detach()
    return at_end.reshape(model.wiring.n_heads, -1).sum(1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "gpt_neox"])
def test_what_made_a_latent_fire_is_what_autograd_gives_in_both_models(family: str) -> None:
    base = tiny_model(family, dtype=torch.float64)
    sae, ids = residual_dictionary(base, LAYER), base.tokenize(PROMPT)
    target, transcoder = of_feature(sae, LAYER, FEATURE), sae.layers[LAYER]
    settings = TraceSettings(max_feature_nodes=0, zeroed_positions=1)
    values = []
    for model in (base, tuned_from(base, "")):
        dictionary = random_dictionary(model)
        graph = trace(model, dictionary, PROMPT, settings, direction=target).graph
        network = FrozenNetwork(model.module, torch.tensor(ids), dictionary)
        oracle = network.stream_rows(LAYER, len(ids) - 1, transcoder.W_enc[FEATURE][None].cpu())[0]
        row = torch.zeros(network.columns.count, dtype=torch.float64)
        edges = graph.edges.take(graph.edges.target == graph.target_rows[0])
        row[torch.from_numpy(edges.source.astype("int64"))] = torch.from_numpy(
            edges.weight
        ).double()
        assert oracle.abs().max() > 0.01
        torch.testing.assert_close(row, oracle, atol=1e-6, rtol=1e-6)
        seen = model.capture(ids).resid_post(LAYER)[-1]
        values.append(float(transcoder.pre_activations(seen)[FEATURE]))
        assert graph.info.targets[0].logit == pytest.approx(values[-1], rel=1e-6)
    found = compare_edges(base, tuned_from(base, ""), ids, target)
    assert (found.base, found.tuned) == pytest.approx(tuple(values), rel=1e-9)
    assert found.residual < 1e-6  # Hugging Face takes softmax in float32


def test_sprout_and_its_tuned_self_agree_with_autograd_in_float32() -> None:
    base, tuned = (open_model(name, device="cpu") for name in ("sprout", "sprout-bent"))
    sae, ids = residual_dictionary(base, LAYER), base.tokenize("is a carrot orange ?")
    target, transcoder = of_feature(sae, LAYER, FEATURE), sae.layers[LAYER]
    found, down = (split(base, tuned, ids, target) for split in (compare_edges, by_changed_weights))
    size = max(abs(found.base), abs(found.tuned), abs(found.tuned - found.base))
    for name, model in (("base", base), ("tuned", tuned)):
        value = float(pre_activation(model, ids, transcoder).detach())
        assert getattr(found, name) == pytest.approx(value, abs=1e-5 * size)
        assert getattr(down, name) == pytest.approx(value, abs=1e-5 * size)
        for layer in range(LAYER + 1):
            ours = torch.zeros(model.wiring.n_heads)
            for one in found.changes:
                if (one.module, one.layer) == ("head", layer):
                    ours[one.head] += getattr(one, name)
            oracle = head_parts(model, ids, transcoder, layer)
            torch.testing.assert_close(ours, oracle, atol=1e-5 * size, rtol=0)
    assert found.residual < 1e-5 * size
    assert down.residual < 1e-5 * size
