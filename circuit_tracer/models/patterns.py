"""Attention patterns: stored, or of a long text made again from queries and keys, block by block.

All patterns of a pass take layers x heads x tokens^2 numbers, 17 GB for 4,000 tokens of SmolLM2;
queries and keys take .4 GB, and a block of queries is cheap to make again.

Shapes: T tokens, L layers, d model width, H query heads, K key-value heads, h head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models.capture import Capture
from circuit_tracer.models.scores import head_on
from circuit_tracer.models.wiring import Wiring

LARGEST_STORED = 2 << 30
"""Bytes of all patterns of a pass, above which they are not stored."""


@dataclass(frozen=True)
class StoredPattern:
    """One layer's pattern as the model applied it."""

    whole: Float[Tensor, "H T T"]
    """[query, key]."""

    @property
    def n_heads(self) -> int:
        """H."""
        return len(self.whole)

    def block(self, start: int, end: int) -> Float[Tensor, "H n end"]:
        """Queries `start` to `end` on the keys before `end`: later ones they do not see."""
        return self.whole[:, start:end, :end]


@dataclass(frozen=True)
class RecomputedPattern:
    """One layer's pattern as the softmax of its scores, made whenever it is asked for."""

    queries: Float[Tensor, "H T h"]
    """Rotation, norms and scaling applied, as of the keys."""
    keys: Float[Tensor, "K T h"]
    softcap: float | None
    wiring: Wiring
    layer: int
    dtype: torch.dtype | None = None
    """What patterns are rounded to, once they are made; that of queries and keys for None."""

    @property
    def n_heads(self) -> int:
        """H."""
        return len(self.queries)

    @property
    def whole(self) -> Float[Tensor, "H T T"]:
        """[query, key]: all of it at once."""
        return self.block(0, self.queries.shape[1])

    def block(self, start: int, end: int) -> Float[Tensor, "H n end"]:
        """Queries `start` to `end` on the keys before `end`: later ones they do not see."""
        H, _, h = self.queries.shape
        K = len(self.keys)
        queries = self.queries[:, start:end].reshape(K, -1, h)
        scores = torch.bmm(queries, self.keys[:, :end].transpose(1, 2)).view(H, end - start, end)
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        at = torch.arange(end, device=scores.device)
        seen = self.wiring.sees(self.layer, at[start:, None], at)
        return scores.masked_fill_(~seen, -torch.inf).softmax(-1).to(self.dtype or scores.dtype)


Pattern = StoredPattern | RecomputedPattern


def stores_patterns(wiring: Wiring, n_prompts: int, n_tokens: int) -> bool:
    """Whether the patterns of a pass are kept.

    In float64 always: most models round theirs to float32 on the way, which is not repeated here.
    """
    dtype = next(wiring.module.parameters()).dtype
    n = n_prompts * wiring.n_layers * wiring.n_heads * n_tokens**2
    return dtype == torch.float64 or n * dtype.itemsize <= LARGEST_STORED


def with_patterns(capture: Capture, wiring: Wiring) -> Capture:
    """A pass whose patterns were not kept, with these made again whenever they are asked for."""
    made = RecomputedPatterns(wiring, capture.resid_pre, capture.pass_length)
    return replace(capture, patterns=made)


def pattern_of(capture: Capture, layer: int) -> Pattern:
    """A layer's pattern in a pass."""
    if isinstance(capture.patterns, RecomputedPatterns):
        return capture.patterns.of(layer)
    return StoredPattern(capture.patterns[layer])


@dataclass(frozen=True)
class RecomputedPatterns(Sequence[Tensor]):
    """Patterns of all layers of a pass, each made whenever it is asked for."""

    wiring: Wiring
    resid_pre: Float[Tensor, "L T d"]
    pass_length: int

    def __len__(self) -> int:
        return len(self.resid_pre)

    def __getitem__(self, layer: Any) -> Any:
        return self.of(layer).whole

    def of(self, layer: int) -> RecomputedPattern:
        """A layer's queries and keys."""
        heads = [
            head_on(self.resid_pre[layer], self.wiring, layer, head, self.pass_length)
            for head in range(self.wiring.n_heads)
        ]
        shared = self.wiring.n_heads // self.wiring.n_kv_heads
        return RecomputedPattern(
            queries=torch.stack([head.queries for head in heads]),
            keys=torch.stack([head.keys for head in heads[::shared]]),
            softcap=heads[0].softcap,
            wiring=self.wiring,
            layer=layer,
        )
