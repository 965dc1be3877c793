"""One layer's attention as the linear map it is once its pattern and its norms are frozen.

out_i = sum over heads and j of pattern[i, j] W_O W_V norm(x_j); with the pattern and the norms'
denominators frozen, linear in x. Norm weights are folded into the projections, frozen scales act
on keys (the norm before attention) and queries (the norm after it, where there is one).
Source: method.md sections 2 and 4; "Circuit Tracing" (Anthropic, March 2025).

Shapes: T tokens, P <= T positions in the causal cone, d model width, H heads, K key-value heads,
Q = H / K, h head width, B cotangents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.models.capture import Capture
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.parts import AttentionWeights
from circuit_tracer.models.patterns import Pattern, pattern_of
from circuit_tracer.models.wiring import Wiring

QUERY_BLOCK = 256
"""Queries mixed at a time: keys after a block's last query are not looked at (causality)."""


@dataclass(frozen=True)
class FrozenAttention:
    """Attention of one layer, from the residual stream before it to what it adds."""

    mixing: Pattern
    """Its pattern, as the model applied it."""
    key_scale: Float[Tensor, "T"] | None
    """Frozen scale of the norm before attention; None without one."""
    query_scale: Float[Tensor, "T"] | None
    """Frozen scale of the norm after attention; None without one."""
    W_V: Float[Tensor, "Kh d"]
    """(K * h, d), times the weight of the norm before."""
    W_O: Float[Tensor, "d Hh"]
    """(d, H * h), times the weight of the norm after."""
    constant: Float[Tensor, "T d"] | None
    """What the biases add to the residual stream, where there are any."""
    n_kv_heads: int
    """Number of key-value heads, K."""

    @property
    def pattern(self) -> Float[Tensor, "H T T"]:
        """[query, key], all at once."""
        return self.mixing.whole

    def push(self, stream: Float[Tensor, "T d"]) -> Float[Tensor, "T T d"]:
        """What each position j of a stream before attention is after it at each i.

        [j, i]: its own stream for i = j, plus what the heads at i fetch from j.
        """
        T, d = stream.shape
        pattern = self.pattern.view(self.n_kv_heads, -1, T, T)
        heads = torch.einsum("kqij,jkh->jikqh", pattern, self.values(stream[None])[0])
        moved = (heads.reshape(T * T, -1) @ self.W_O.T).view(T, T, d)
        if self.query_scale is not None:
            moved *= self.query_scale[None, :, None]
        own = torch.arange(T, device=stream.device)
        moved[own, own] += stream
        return moved

    def add(self, stream: Float[Tensor, "T d"]) -> Float[Tensor, "T d"]:
        """What attention adds to a stream, its constant included: the forward direction."""
        out = self.written(self.fetched(self.values(stream[None])))[0]
        return out if self.constant is None else out + self.constant

    def pull(self, cotangent: Float[Tensor, "B P d"]) -> None:
        """Turn cotangents after attention into those before it, in place."""
        B, P, d = cotangent.shape
        K, Q = self.n_kv_heads, self.mixing.n_heads // self.n_kv_heads
        heads = (cotangent.view(B * P, d) @ self.W_O).view(B, P, K, Q, -1)
        heads = heads.permute(2, 3, 1, 0, 4).reshape(K, Q, P, -1)  # (K, Q, P, B * h)
        if self.query_scale is not None:
            heads *= self.query_scale[:P, None]
        values = self._unmix(heads)
        if self.key_scale is not None:
            values *= self.key_scale[:P, None]
        values = values.view(K, P, B, -1).permute(2, 1, 0, 3).reshape(B * P, -1)
        cotangent.view(B * P, d).addmm_(values, self.W_V)

    def worth(
        self, cotangent: Float[Tensor, "*batch n d"], position: Int[Tensor, "n"] | slice
    ) -> Float[Tensor, "*batch n H h"]:
        """Cotangents after attention as those of what each head fetches to their positions."""
        H, (d, n) = self.mixing.n_heads, self.W_O.shape
        heads = (cotangent.reshape(-1, d) @ self.W_O).view(*cotangent.shape[:-1], H, n // H)
        scale = self.query_scale
        return heads if scale is None else heads * scale[position][:, None, None]

    def by_key(
        self,
        worth: Float[Tensor, "e H h"],
        values: Float[Tensor, "e T K h"],
        query: Int[Tensor, "e H"],
    ) -> Float[Tensor, "e H T"]:
        """What each head fetches from each key position to its query position, weighed."""
        e, T, K, h = values.shape
        H = self.mixing.n_heads
        unmixed = torch.einsum("ekqc,etkc->ekqt", worth.view(e, K, H // K, h), values)
        heads = torch.arange(H, device=query.device)
        return unmixed.reshape(e, H, T) * self.pattern[heads, query]

    def values(self, streams: Float[Tensor, "S T d"]) -> Float[Tensor, "S T K h"]:
        """What the key-value heads read at each position; biases are left out."""
        (S, T, d), K, n = streams.shape, self.n_kv_heads, len(self.W_V)
        values = (streams.reshape(S * T, d) @ self.W_V.T).view(S, T, K, n // K)
        return values if self.key_scale is None else values * self.key_scale[:, None, None]

    def fetched(self, values: Float[Tensor, "S T K h"]) -> Float[Tensor, "S T H h"]:
        """What each head fetches to each position, before the output projection."""
        S, T, K, h = values.shape
        by_key = values.permute(2, 1, 0, 3).reshape(K, T, S * h)
        mixed = [
            torch.bmm(block, by_key[:, :end]).view(self.mixing.n_heads, end - start, S, h)
            for start, end, block in self._blocks(T)
        ]
        return torch.cat(mixed, 1).permute(2, 1, 0, 3)

    def written(self, fetched: Float[Tensor, "S T H h"]) -> Float[Tensor, "S T d"]:
        """What is added to the streams; biases are left out."""
        out = fetched.flatten(2) @ self.W_O.T
        return out if self.query_scale is None else out * self.query_scale[:, None]

    def _unmix(self, heads: Float[Tensor, "K Q P Bh"]) -> Float[Tensor, "K P Bh"]:
        """Cotangents of mixed values as those of the values at their keys."""
        P, values = heads.shape[2], torch.zeros_like(heads[:, 0])
        for start, end, block in self._blocks(P):
            part = torch.bmm(block.transpose(1, 2), heads[:, :, start:end].flatten(1, 2))
            if end - start == P:  # a short text
                return part
            values[:, :end] += part
        return values

    def _blocks(self, n_positions: int) -> Iterator[tuple[int, int, Float[Tensor, "K Qn end"]]]:
        """The pattern of the first positions, some queries at a time: first, end, pattern."""
        for start, end in _ranges(n_positions):
            yield start, end, self.mixing.block(start, end).reshape(self.n_kv_heads, -1, end)


@dataclass(frozen=True)
class FoldedAttention:
    """One layer's attention with the weights of its norms in it: what all prompts share."""

    W_V: Float[Tensor, "Kh d"]
    """As `FrozenAttention` has it."""
    W_O: Float[Tensor, "d Hh"]
    """As `FrozenAttention` has it."""
    weights: AttentionWeights
    """Before that."""
    before: Norm | None
    """The norm before attention."""
    after: Norm | None
    """The norm after attention."""


def fold_attention(wiring: Wiring, layer: int) -> FoldedAttention:
    """Fold the norms' weights into the projections; a copy of both."""
    weights = wiring.attention_weights(layer)
    K, h, d = weights.W_V.shape
    before, after = wiring.norm("attention_norm", layer), wiring.norm("attention_post_norm", layer)
    W_V = weights.W_V.reshape(K * h, d)
    W_O = weights.W_O.permute(1, 0, 2).reshape(d, -1)
    if before is not None:
        W_V = before.centre(W_V * before.weight)
    if after is not None:  # its scale is left to the queries
        W_O = after.centre(W_O.T).T * after.weight[:, None]
    return FoldedAttention(W_V.contiguous(), W_O.contiguous(), weights, before, after)


def freeze_attention(capture: Capture, folded: FoldedAttention, layer: int) -> FrozenAttention:
    """A layer's attention with its pattern and its norms' denominators frozen."""
    before, after = folded.before, folded.after
    mixing = pattern_of(capture, layer)
    query_scale = None if after is None else after.scale(capture.attention_out[layer])
    return FrozenAttention(
        mixing=mixing,
        key_scale=None if before is None else before.scale(capture.resid_pre[layer]),
        query_scale=query_scale,
        W_V=folded.W_V,
        W_O=folded.W_O,
        constant=_constant(folded, query_scale, mixing, len(capture.token_ids)),
        n_kv_heads=len(folded.weights.W_V),
    )


def _constant(
    folded: FoldedAttention, query_scale: Tensor | None, mixing: Pattern, n_tokens: int
) -> Float[Tensor, "T d"] | None:
    """What biases of norms and projections add at every position; None without any."""
    weights, before, after = folded.weights, folded.before, folded.after
    value = weights.b_V
    if before is not None and before.bias is not None:
        value = _sum(weights.W_V @ before.bias, value)
    constant: Tensor | None = None
    if value is not None:
        H, K = len(weights.W_O), len(value)
        per_head = torch.einsum("hdk,hk->hd", weights.W_O, value.repeat_interleave(H // K, dim=0))
        blocks = _ranges(n_tokens)
        attended = torch.cat([mixing.block(*block).sum(-1) for block in blocks], 1)
        constant = attended.T @ per_head
    if weights.b_O is not None:
        constant = _sum(weights.b_O.expand(n_tokens, -1), constant)
    if after is None or query_scale is None:
        return constant
    if constant is not None:
        constant = after.centre(constant) * after.weight * query_scale[:, None]
    if after.bias is None:
        return constant
    return _sum(after.bias.expand(n_tokens, -1), constant)


def _ranges(n_positions: int) -> Iterator[tuple[int, int]]:
    """Queries mixed at a time; all of a short text."""
    step = n_positions if n_positions <= 2 * QUERY_BLOCK else QUERY_BLOCK
    for start in range(0, n_positions, step):
        yield start, min(start + step, n_positions)


def _sum(part: Tensor, rest: Tensor | None) -> Tensor:
    return part if rest is None else rest + part
