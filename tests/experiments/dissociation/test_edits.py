"""Edits of many prompts in a pass, against one-prompt interventions and against torch hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.dissociation.steps.queries import QueryEdit, QuerySwapping
from circuit_tracer.experiments.dissociation.steps.swap import Patch, patched
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.edits import SilencedSets
from circuit_tracer.experiments.kit.passes import Ask, Module, contrasts, recorded
from circuit_tracer.interventions.edits import EditedRun
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.spec import change_feature
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import open_neurons
from circuit_tracer.transcoders.opening import open_transcoders
from tests.experiments.dissociation.small import bananas
from tests.tiny import FAMILIES, tiny_model

Hook = Callable[[Any, Any, Any], Any]


def claims(study: Study, name: str) -> list[Ask]:
    family = study.spec.of_route("judgement")[0]
    item = next(one for one in study.items if one.name == name)
    return list(study.both_claims(family, item))


@contextmanager
def hooked(module: torch.nn.Module, hook: Hook) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def plain_contrast(model: Model, ask: Ask) -> float:
    """By the Hugging Face module itself."""
    with torch.no_grad():
        logits = model.module(torch.tensor([ask.ids])).logits[0, -1]
    return float(logits[ask.plus] - logits[ask.minus])


def read_by_attention(model: Model, ask: Ask) -> dict[Module, torch.Tensor]:
    return recorded(model, [ask], ["verdict"], ("attention",), "read")


def test_untouched_contrasts_are_the_models_own() -> None:
    study = bananas()
    asks = claims(study, "banana") + claims(study, "apple")
    found = contrasts(study.model, asks)
    expected = [plain_contrast(study.model, ask) for ask in asks]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("transcoders", ["plt", "clt", "neurons"])
def test_silencing_is_the_free_ablation_of_the_engine(transcoders: str) -> None:
    study = bananas()
    model = study.model
    dictionary: Any = (
        open_neurons(model) if transcoders == "neurons" else open_transcoders(transcoders, model)
    )
    ask = claims(study, "banana")[0]
    rng = np.random.default_rng(0)
    active = model.mlp_activity(torch.tensor([ask.ids]), dictionary.reads).inputs
    at, keys = ask.roles["object"], {}
    for layer in range(model.n_layers):
        fired = dictionary.layers[layer].encode(active[layer, 0])[at].nonzero().squeeze(1).tolist()
        keys[layer] = [int(one) for one in rng.permutation(fired)[:5]]
    early = frozenset((layer, f) for layer in (0, 1) for f in keys[layer])
    late = frozenset((layer, f) for layer in (2, 3, 4, 5) for f in keys[layer])
    sets = [((), ()), (early, ()), ((), late), (early, late)]
    silenced = SilencedSets(sets, model.device)

    def edits(rows: list[int]) -> EditedRun:
        return silenced.edits(model, dictionary, which=rows, object_at=at, n_zeroed=1)

    found = contrasts(model, [ask] * 4, edits)
    changes = [
        (
            *(change_feature(layer, f, at) for layer, f in sorted(at_object)),
            *(change_feature(layer, f) for layer, f in sorted(everywhere)),
        )
        for at_object, everywhere in sets
    ]
    logits = intervene(model, dictionary, list(ask.ids), changes, mode="free").logits[:, -1]
    expected = (logits[:, ask.plus] - logits[:, ask.minus]).tolist()
    assert found.tolist() == pytest.approx(expected, abs=1e-3)
    assert abs(found[3] - found[0]) > 1e-3


@pytest.mark.parametrize("how", ["mlp", "attention"])
def test_a_swap_of_layer_0_is_a_direct_activation_patch(how: Any) -> None:
    study = bananas()
    ask, source = claims(study, "banana")[0], claims(study, "apple")[0]
    layer = study.model.module.model.layers[0]
    module = layer.mlp if how == "mlp" else layer.self_attn
    kept: list[torch.Tensor] = []

    def output_of(output: Any) -> torch.Tensor:
        return output[0] if isinstance(output, tuple) else output

    def keep(_: Any, __: Any, output: Any) -> None:
        kept.append(output_of(output)[0, source.roles["object"]].clone())

    def patch(_: Any, __: Any, output: Any) -> Any:
        out = output_of(output).clone()
        out[0, ask.roles["object"]] = kept[0]
        return (out, *output[1:]) if isinstance(output, tuple) else out

    with hooked(module, keep):
        plain_contrast(study.model, source)
    with hooked(module, patch):
        expected = plain_contrast(study.model, ask)
    found = patched(study, [ask], [source], {"0": Patch((0,), how)})
    assert found[1][0] == pytest.approx(expected, abs=1e-4)
    assert found[0][0] == pytest.approx(plain_contrast(study.model, ask), abs=1e-4)


def test_swapped_features_leave_the_error_where_it_was() -> None:
    study = bananas()
    ask, source = claims(study, "banana")[0], claims(study, "apple")[0]
    at = ask.roles["object"]
    reads = [
        study.model.mlp_activity(torch.tensor([one.ids]), "mlp.hook_in") for one in (ask, source)
    ]
    transcoder = study.dictionary.layers[0]
    own, donor = (transcoder.encode(one.inputs[0, 0, at]) for one in reads)
    moved = (donor - own) @ transcoder.decoder_rows(torch.arange(transcoder.n_features), 0)

    def patch(_: Any, __: Any, output: Any) -> Any:
        out = output.clone()
        out[0, at] += moved
        return out

    with hooked(study.model.module.model.layers[0].mlp, patch):
        expected = plain_contrast(study.model, ask)
    found = patched(study, [ask], [source], {"0": Patch((0,), "features")})
    assert found[1][0] == pytest.approx(expected, abs=1e-4)


def test_another_query_is_a_patch_of_the_query_projection() -> None:
    study = bananas()
    model, (ask, other) = study.model, claims(study, "banana")
    layer, head, width = 3, 2, model.wiring.d_head
    at = ask.roles["verdict"]
    projection = model.module.model.layers[layer].self_attn.q_proj
    kept: list[torch.Tensor] = []

    def patch(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        out = output.clone()
        out[0, at, head * width : (head + 1) * width] = kept[0]
        return out

    with hooked(
        projection,
        lambda _, __, out: kept.append(out[0, at, head * width : (head + 1) * width].clone()),
    ):
        plain_contrast(model, other)
    with hooked(projection, patch):
        expected = plain_contrast(model, ask)
    theirs = read_by_attention(model, other)["attention", layer][0, 0]

    def edits(rows: list[int]) -> QuerySwapping:
        found = [QueryEdit(row, layer, head, at, theirs) for row in rows]
        return QuerySwapping(model, found, n_tokens=len(ask.ids))

    assert contrasts(model, [ask], edits)[0] == pytest.approx(expected, abs=1e-4)
    assert abs(expected - plain_contrast(model, ask)) > 1e-4


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_a_patched_query_sees_what_its_sliding_window_shows(family: str) -> None:
    model = tiny_model(family)
    prompts = ("the banana is yellow yes a lemon is blue", "a sky are red no the lemon is true")
    ask, other = (
        Ask(0, "", "", "", tuple(model.tokenize(p)), {"verdict": 9}, 3, 5) for p in prompts
    )
    layer, head, width = 2, 1, model.wiring.d_head
    own = slice(head * width, (head + 1) * width)
    projection = model.module.model.layers[layer].self_attn.q_proj
    kept: list[torch.Tensor] = []

    def patch(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        out = output.clone()
        out[0, 9, own] = kept[0]
        return out

    with hooked(projection, lambda _, __, out: kept.append(out[0, 9, own].clone())):
        contrasts(model, [other])
    with hooked(projection, patch):
        expected = contrasts(model, [ask])
    theirs = read_by_attention(model, other)["attention", layer][0, 0]
    found = contrasts(
        model,
        [ask],
        lambda rows: QuerySwapping(model, [QueryEdit(0, layer, head, 9, theirs)], n_tokens=10),
    )
    assert found == pytest.approx(expected, abs=1e-5)
    assert abs(expected - contrasts(model, [ask])).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_heads_own_query_changes_nothing(family: str) -> None:
    """In every architecture: rotation, norms on queries, grouped heads, biases, soft-caps."""
    model = tiny_model(family)
    ids = tuple(model.tokenize("the banana is yellow yes a"))
    ask = Ask(0, "", "", "", ids, {"verdict": len(ids) - 1}, 3, 5)
    own = read_by_attention(model, ask)

    def edits(sign: float) -> Callable[[list[int]], QuerySwapping]:
        def of(rows: list[int]) -> QuerySwapping:
            found = [
                QueryEdit(0, layer, head, len(ids) - 1, sign * own["attention", layer][0, 0])
                for layer in range(model.n_layers)
                for head in range(model.wiring.n_heads)
            ]
            return QuerySwapping(model, found, n_tokens=len(ids))

        return of

    before = contrasts(model, [ask])
    assert contrasts(model, [ask], edits(1.0)) == pytest.approx(before, abs=1e-5)
    assert abs(contrasts(model, [ask], edits(-1.0)) - before).max() > 1e-6
