"""Prompts of equal length in one pass are captured as each of them alone, in every family."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from tests.tiny import FAMILIES, tiny_model

PROMPTS = ([0, 3, 4, 5, 6, 7, 8, 9], [0, 9, 8, 7, 6, 5, 4, 3], [0, 11, 12, 11, 12, 3, 3, 10])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_of_several_is_a_pass_of_each(family: str) -> None:
    model = tiny_model(family, dtype=torch.float64)
    together = model.captures([list(prompt) for prompt in PROMPTS])
    assert len(together) == len(PROMPTS)
    for prompt, ours in zip(PROMPTS, together, strict=True):
        alone = model.capture(list(prompt))
        for field in fields(alone):
            a, b = getattr(ours, field.name), getattr(alone, field.name)
            for one, other in zip(a, b, strict=True) if field.name == "patterns" else [(a, b)]:
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
