"""benchmarks/circuit_weights.py: entries left out pass on nothing of how their input differs."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from benchmarks.circuit_weights import WeightMask
from circuit_tracer.experiments.circuit.judging import Asked, asked
from circuit_tracer.models import open_model

TEXT = ["a banana is yellow . a lemon is yellow .", "a dog is black . rome is in italy ."]


@cache
def measured() -> tuple[WeightMask, Asked]:
    model = open_model("sprout", device="cpu")
    mask = WeightMask(model.module, [model.tokenize(line) for line in TEXT])
    return mask, asked(model, "a banana is", None, None)


def test_with_every_entry_it_is_the_whole_model() -> None:
    mask, one = measured()
    kl, is_right = mask.divergence(one, torch.ones(len(mask.there)))
    assert float(kl) == pytest.approx(0, abs=1e-4)
    assert is_right


def test_without_any_entry_every_matrix_puts_out_what_it_makes_of_the_mean() -> None:
    """So the last token's logits are those of its embedding and these constants alone."""
    mask, one = measured()
    model = mask.model
    stream = model.model.embed_tokens.weight[one.ids[-1]].clone()
    outputs = [matrix.weight @ mean for matrix, mean in zip(mask.matrices, mask.means, strict=True)]
    names = [name for name, part in model.model.layers.named_modules() if part in mask.matrices]
    by_name = dict(zip(names, outputs, strict=True))
    for layer in range(len(model.model.layers)):
        stream += by_name[f"{layer}.self_attn.o_proj"] + by_name[f"{layer}.mlp.down_proj"]
    left = model.lm_head(model.model.norm(stream)).log_softmax(-1)
    expected = (one.log_probabilities.exp() * (one.log_probabilities - left)).sum()
    kl, _ = mask.divergence(one, torch.zeros(len(mask.there)))
    assert float(kl) == pytest.approx(float(expected), rel=1e-3)


def test_the_entries_found_are_few_and_enough_for_the_level() -> None:
    mask, one = measured()
    strict, loose = mask.needed(one, 0.3), mask.needed(one, 1.5)
    assert 0 < loose < strict < 20_000 < len(mask.there)
