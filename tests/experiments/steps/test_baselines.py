"""Baselines: attention as the pass had it, gradients against differences of two passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.experiments.steps.baselines import BASELINES, gradient
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.experiments.steps.shares import followed
from tests.attribution.frozen import frozen
from tests.device import on_host
from tests.experiments.steps.test_rows import transcript
from tests.tiny import random_dictionary

FAMILIES = ["llama", "gpt2", "gemma2"]


def both(family: str = "llama") -> tuple[FrozenTranscript, Any]:
    made = frozen(family)
    read = transcript(tuple(made.capture.token_ids.tolist()))
    return FrozenTranscript(made.model, random_dictionary(made.model), read), made


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_the_passes_mean_without_bos(family: str) -> None:
    ours, made = both(family)
    patterns = on_host(torch.stack(tuple(made.capture.patterns))).numpy()
    for name, layers in (("attention, all layers", patterns), ("attention, late layers", None)):
        (row,) = BASELINES[name](ours, [7])
        chosen = patterns[len(patterns) // 2 :] if layers is None else layers
        expected = chosen[:, :, 6].mean((0, 1))
        expected[0] = 0
        np.testing.assert_allclose(row.tokens, expected, atol=1e-12)
        assert row.tokens[1:7].all()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_differences_of_two_passes(family: str) -> None:
    ours, made = both(family)
    module, ids = made.model.module, made.capture.token_ids[None]
    n, step = ids.shape[1], 1e-3  # norms round to float32 on the way
    rows = gradient(ours, [5, n])

    def logits(place: int, factor: float) -> Tensor:
        def scaled(_: Any, __: Any, given: Tensor) -> Tensor:
            changed = given.clone()
            changed[:, place] *= factor
            return changed

        handle = module.get_input_embeddings().register_forward_hook(scaled)
        with torch.no_grad():
            result: Tensor = module(ids).logits[0]
        handle.remove()
        return result

    seen, weights = ours.contrasts([5, n])
    for place in range(1, n):
        change = (logits(place, 1 + step) - logits(place, 1 - step))[seen] / (2 * step)
        for row, slope in zip(rows, (weights * change).sum(1).tolist(), strict=True):
            assert row.tokens[place] == pytest.approx(slope, rel=5e-3, abs=1e-3)


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_are_followed_back_as_totals_are(name: str) -> None:
    ours, made = both()
    read = transcript(tuple(made.capture.token_ids.tolist()))
    shares = followed(read, lambda places: BASELINES[name](ours, places))
    assert shares.chain.ends.sum() == pytest.approx(1)
    assert not shares.chain.ends[0]
    assert all(shares.heads(step) for step in read.steps)
