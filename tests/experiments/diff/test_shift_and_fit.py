"""Steps 3 and 4 of `diff`: dictionaries in the MLPs' place, and where the stream moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_tracer.experiments.diff import fit, shift
from circuit_tracer.experiments.diff.study import SIDES, Earlier
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from tests.experiments.diff.small import leads, measured, shaken, small_study, tiny_pair, values
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
    contrast = study.spec.contrast
    assert contrast is not None

    def mean(model: Model, context: str | None = None) -> np.ndarray:
        return np.mean([streams(model, one.ids)[:, -1] for one in study.held_out(context)], 0)

    ends, turned = mean(tuned) - mean(base), mean(base, contrast.toward) - mean(base, contrast.away)
    found = shift.contrast(study)
    assert found is not None
    np.testing.assert_allclose(found.mean(0)[:-1], turned, atol=1e-5)
    texts = np.mean(
        [(streams(tuned, ids) - streams(base, ids))[:, 1:6].mean(1) for ids in study.texts], 0
    )
    result, rows = measured(study, shift.STEP)
    first, row = result.rows[:2]
    both = np.array([streams(base, one.ids)[1, -1] for one in study.held_out()])
    norm = np.linalg.norm((both[::2] + both[1::2]) / 2, axis=1).mean()  # of both claims of an item
    assert row.size.value == pytest.approx(np.linalg.norm(ends[1]) / norm, rel=1e-4)
    assert row.with_contrast.value == pytest.approx(cosine(ends[1], turned[1]), abs=1e-4)
    assert row.text_with_contrast.value == pytest.approx(cosine(texts[1], turned[1]), abs=1e-4)
    assert row.text_with_shift.value == pytest.approx(cosine(texts[1], ends[1]), abs=1e-4)
    assert row.with_contrast.low <= row.with_contrast.value <= row.with_contrast.high
    assert first.size.value == first.text_size.value == 0
    assert np.isnan(first.with_contrast.value)
    assert values(rows, name="size", layer=1) == [row.size.value]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


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
    shaken(tuned, "layers.2.self_attn.o_proj", 2)
    dictionary = random_dictionary(base).to(device=base.device, dtype=torch.float64)
    study = replace(small_study(tmp_path, base, tuned), dictionaries=(dictionary,))
    result, rows = measured(study, fit.STEP)
    (one,) = result.dictionaries
    right = {}
    for side in SIDES:
        ends = [replaced_logits(study.model(side), dictionary, ask.ids) for ask in study.located]
        contrasts = leads(ends, study.located)
        found = values(rows, model=side, name=f"replaced by {one.name}")
        assert found == pytest.approx(contrasts, abs=1e-8)
        right[side] = np.mean(np.array(contrasts) > 0)
    assert len(one.layers) == 3
    assert one.right_base_replaced.value == pytest.approx(right["base"])
    assert one.right_tuned_replaced.value == pytest.approx(right["tuned"])
    assert fit.lacks(study, Earlier()) == ""
    assert "no dictionary" in fit.lacks(replace(study, dictionaries=()), Earlier())
