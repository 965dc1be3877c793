"""Steps 3 and 4 of `diff`: dictionaries in the MLPs' place, and where the stream moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.diff.step import Earlier
from circuit_tracer.experiments.diff.steps import fit, shift
from circuit_tracer.experiments.diff.steps.behaviour import in_context
from circuit_tracer.experiments.diff.study import unreported
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.experiments.diff.small import small_study, tiny_pair
from tests.experiments.diff.test_behaviour import shaken
from tests.tiny import random_dictionary


def streams(model: Model, ids: tuple[int, ...]) -> np.ndarray:
    """(L - 1, T, d) after every layer but the last, whose norm Hugging Face has applied."""
    given = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        hidden = model.module(given, output_hidden_states=True).hidden_states[1:-1]
    return torch.cat(list(hidden)).double().cpu().numpy()


def test_shifts_are_means_of_the_models_own_streams(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    with torch.no_grad():
        tuned.module.model.layers[1].self_attn.o_proj.weight *= 3
    study = small_study(tmp_path, base, tuned)
    found = shift.measure(study, Earlier(), unreported)
    asks = in_context(study, None)
    ends = np.mean(
        [streams(tuned, one.ids)[:, -1] - streams(base, one.ids)[:, -1] for one in asks], 0
    )
    np.testing.assert_allclose(found.prompts[:-1], ends, atol=1e-5)
    assert not found.prompts[0].any()
    texts = np.mean(
        [(streams(tuned, ids) - streams(base, ids))[:, 1:6].mean(1) for ids in study.texts], 0
    )
    np.testing.assert_allclose(found.text[:-1], texts, atol=1e-5)
    contrast = study.spec.contrast
    assert contrast is not None
    turned = np.mean(
        [
            streams(base, one.ids)[:, -1] - streams(base, other.ids)[:, -1]
            for one, other in zip(
                in_context(study, contrast.toward), in_context(study, contrast.away), strict=True
            )
        ],
        0,
    )
    np.testing.assert_allclose(found.contrast[:-1], turned, atol=1e-5)
    row = found.rows[1]
    expected = ends[1] @ turned[1] / np.linalg.norm(ends[1]) / np.linalg.norm(turned[1])
    assert row.with_contrast.value == pytest.approx(expected, abs=1e-4)
    assert row.with_contrast.low <= row.with_contrast.value <= row.with_contrast.high
    assert found.rows[0].size.value == 0
    assert np.isnan(found.rows[0].with_contrast.value)


def replaced_logits(model: Model, dictionary: Dictionary, ids: tuple[int, ...]) -> torch.Tensor:
    """By hooks on the MLPs; BOS keeps its own output."""

    def hook(layer: int) -> object:
        def put(module: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
            transcoder = dictionary.layers[layer]
            made = transcoder.write(transcoder.encode(inputs[0]), layer) + transcoder.b_dec
            return torch.cat([output[:, :1], made[:, 1:]], 1)

        return model.module.model.layers[layer].mlp.register_forward_hook(put)

    handles = [hook(layer) for layer in range(model.n_layers)]
    try:
        with torch.no_grad():
            out: torch.Tensor = model.module(torch.tensor([ids], device=model.device)).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    return out.double().cpu()


def test_answers_under_replacement_are_those_of_hooked_mlps(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    shaken(tuned)
    dictionary = random_dictionary(base).to(device=base.device, dtype=torch.float64)
    study = replace(small_study(tmp_path, base, tuned), dictionaries=(dictionary,))
    found = fit.measure(study, Earlier(), unreported)
    (one,) = found.dictionaries
    asks = fit.located_asks(study)
    for model, side in ((base, one.base), (tuned, one.tuned)):
        for ask, contrast in zip(asks, side.replaced, strict=True):
            end = replaced_logits(model, dictionary, ask.ids)
            assert contrast == pytest.approx(float(end[ask.plus] - end[ask.minus]), abs=1e-8)
    result = fit.result(study, found).dictionaries[0]
    assert len(result.layers) == 3
    assert result.right_tuned_replaced.value == pytest.approx((one.tuned.replaced > 0).mean())
    assert fit.lacks(study, Earlier()) == ""
    assert "no dictionary" in fit.lacks(replace(study, dictionaries=()), Earlier())
