"""What the model's own attention computes: pre-softmax scores and patterns, taken on the way.

Eager attention written again, around whatever queries and keys the model hands over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask


@dataclass(frozen=True)
class Spied:
    """One layer's attention."""

    scores: Tensor
    """(H, T, T) before a soft-cap and the mask."""
    pattern: Tensor
    """(H, T, T) after the softmax."""
    scaling: float


_found: list[Spied] = []


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **given: Any
) -> tuple[Tensor, Tensor]:
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * given["scaling"]
    cap = given.get("softcap")
    capped = scores if cap is None else cap * (scores / cap).tanh()
    # Most families round the softmax to float32, GPT-2 does not.
    rounded = None if type(module).__name__.startswith("GPT2") else torch.float32
    pattern = (capped + mask).softmax(-1, dtype=rounded).to(query.dtype)
    _found.append(Spied(scores[0], pattern[0], given["scaling"]))
    return (pattern @ value).transpose(1, 2).contiguous(), pattern


AttentionInterface.register("spied", _attend)
AttentionMaskInterface.register("spied", eager_mask)


@torch.no_grad()
def spied(module: Any, token_ids: Tensor) -> list[Spied]:
    """All layers of one pass."""
    _found.clear()
    token_ids = token_ids.to(module.device)
    expected = module(token_ids[None]).logits
    module.set_attn_implementation("spied")
    try:
        logits = module(token_ids[None]).logits
    finally:
        module.set_attn_implementation("eager")
    assert torch.allclose(logits, expected, rtol=0, atol=1e-5)
    return list(_found)
