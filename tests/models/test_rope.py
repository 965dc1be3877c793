"""Texts that are turned by their length: every pass against the Hugging Face module itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from circuit_tracer.models import Model
from tests.device import DEVICE
from tests.rope import ROPES, rope_model, rope_options
from tests.tiny import tiny_model

IDS = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
FIRST = 5


def own_logits(model: Model, ids: list[int]) -> Tensor:
    """Of a module that has seen no other text."""
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(model.module)(torch.tensor([ids], device=DEVICE)).logits[0]
    return logits


def close(found: Tensor, expected: Tensor) -> bool:
    return bool(torch.allclose(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max())))


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gpt_neox", "olmo2"])
@pytest.mark.parametrize("rope", ROPES)
def test_the_first_positions_are_those_of_the_whole_pass(family: str, rope: str) -> None:
    model = rope_model(rope, family)
    whole = own_logits(model, IDS)
    capture = model.capture(IDS, FIRST)
    assert close(capture.logits, whole[:FIRST])
    assert len(capture.token_ids) == capture.patterns[0].shape[1] == FIRST
    moves = rope in ("longrope", "dynamic")
    assert model.wiring.turns_by_length(len(IDS)) is moves
    assert close(own_logits(model, IDS[:FIRST]), whole[:FIRST]) is not moves


@pytest.mark.parametrize("rope", ["longrope", "dynamic"])
@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_gemmas_first_positions_are_those_of_the_whole_pass(family: str, rope: str) -> None:
    """Capped logits and, in Gemma 3, rotations of its own for either kind of layer."""
    model = rope_model(rope, family)
    assert model.wiring.turns_by_length(len(IDS))
    whole, alone = own_logits(model, IDS)[:FIRST], own_logits(model, IDS[:FIRST])
    logits = model.capture(IDS, FIRST).logits
    cap = model.wiring.logit_softcap
    assert close(logits if cap is None else cap * (logits / cap).tanh(), whole)
    assert not close(alone, whole)


@pytest.mark.parametrize("rope", ROPES)
def test_a_pass_does_not_depend_on_earlier_ones(rope: str) -> None:
    model = rope_model(rope, "llama")
    for n in (len(IDS), 10, 5, 9, 11):
        assert close(model.capture(IDS[:n]).logits, own_logits(model, IDS[:n]))
        model.wiring.rotary(0, 15)
    losses = model.loss(torch.tensor([IDS[:9]]))[0]
    model.capture(IDS)
    assert torch.equal(model.loss(torch.tensor([IDS[:9]]))[0], losses)


def test_short_texts_of_such_a_model_are_still_captured_alone() -> None:
    model = rope_model("longrope", "llama")
    assert model.capture(IDS[:6], 3).pass_length == 3
    assert model.capture(IDS, 3).pass_length == len(IDS)
    assert tiny_model("llama").capture(IDS, 3).pass_length == 3


@pytest.mark.parametrize(
    ("options", "steady", "longest"),
    [
        ({}, None, 64),
        (rope_options("longrope", "llama"), 6, 64),
        (rope_options("dynamic", "llama"), 6, 24),
        (rope_options("yarn", "llama"), None, 64),
    ],
)
def test_lengths(options: dict[str, Any], steady: int | None, longest: int) -> None:
    model = tiny_model("llama", **options)
    assert model.wiring.steady_length == steady
    assert model.max_length == longest
    assert model.steady_length == (steady or longest)
