"""One layer's attention as the linear map it is once its pattern and its norms are held.

out_i = sum over heads and j of pattern[i, j] W_O W_V norm(x_j); with the pattern and the norms'
denominators frozen, linear in x. Norm weights are folded into the projections, frozen scales act
on keys (norm in front) and queries (norm behind, where the architecture has one).
Source: method.md sections 2 and 4; "Circuit Tracing" (Anthropic, March 2025).

Shapes: T tokens, P <= T positions in the causal cone, d model width, H heads, K key-value heads,
Q = H / K, h head width, B cotangents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models.capture import Capture
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.parts import AttentionWeights
from circuit_tracer.models.wiring import Wiring

QUERY_BLOCK = 256
"""Queries mixed at a time: keys behind a block's last query are not looked at (causality)."""


@dataclass(frozen=True)
class FrozenAttention:
    """Attention of one layer, from the residual stream in front of it to what it adds."""

    pattern: Float[Tensor, "H T T"]
    """[query, key], as the model applied it."""
    key_scale: Float[Tensor, "T"] | None
    """Frozen scale of the norm in front; None without one."""
    query_scale: Float[Tensor, "T"] | None
    """Frozen scale of the norm behind; None without one."""
    W_V: Float[Tensor, "Kh d"]
    """(K * h, d), times the weight of the norm in front."""
    W_O: Float[Tensor, "d Hh"]
    """(d, H * h), times the weight of the norm behind."""
    constant: Float[Tensor, "T d"] | None
    """What the biases add to the residual stream, where there are any."""
    n_kv_heads: int
    """K."""

    def push(self, stream: Float[Tensor, "T d"]) -> Float[Tensor, "T T d"]:
        """What each position j of a stream in front of attention is behind it at each i.

        [j, i]: its own stream for i = j, plus what the heads at i fetch from j.
        """
        T, d = stream.shape
        K, Q = self.n_kv_heads, len(self.pattern) // self.n_kv_heads
        values = (stream @ self.W_V.T).view(T, K, -1)
        if self.key_scale is not None:
            values = values * self.key_scale[:, None, None]
        pattern = self.pattern.view(K, Q, T, T)
        heads = torch.einsum("kqij,jkh->jikqh", pattern, values)
        moved = (heads.reshape(T * T, -1) @ self.W_O.T).view(T, T, d)
        if self.query_scale is not None:
            moved *= self.query_scale[None, :, None]
        own = torch.arange(T, device=stream.device)
        moved[own, own] += stream
        return moved

    def add(self, stream: Float[Tensor, "T d"]) -> Float[Tensor, "T d"]:
        """What attention adds to a stream, its constant included: the forward direction."""
        T, K = len(stream), self.n_kv_heads
        values = stream @ self.W_V.T
        if self.key_scale is not None:
            values = values * self.key_scale[:, None]
        values = values.view(T, K, -1).transpose(0, 1)  # (K, T, h)
        mixed = self.pattern.view(K, -1, T) @ values  # (K, Q * T, h)
        mixed = mixed.view(len(self.pattern), T, -1).transpose(0, 1).reshape(T, -1)
        out = mixed @ self.W_O.T
        if self.query_scale is not None:
            out = out * self.query_scale[:, None]
        return out if self.constant is None else out + self.constant

    def pull(self, cotangent: Float[Tensor, "B P d"]) -> None:
        """Turn cotangents behind attention into those in front of it, in place."""
        B, P, d = cotangent.shape
        K, Q = self.n_kv_heads, len(self.pattern) // self.n_kv_heads
        heads = (cotangent.view(B * P, d) @ self.W_O).view(B, P, K, Q, -1)
        heads = heads.permute(2, 3, 1, 0, 4).reshape(K, Q, P, -1)  # (K, Q, P, B * h)
        if self.query_scale is not None:
            heads *= self.query_scale[:P, None]
        values = self._unmix(heads)
        if self.key_scale is not None:
            values *= self.key_scale[:P, None]
        values = values.view(K, P, B, -1).permute(2, 1, 0, 3).reshape(B * P, -1)
        cotangent.view(B * P, d).addmm_(values, self.W_V)

    def worth(self, cotangent: Float[Tensor, "B P d"]) -> Float[Tensor, "B P H h"]:
        """Cotangents behind attention as those of what each head fetches to each position."""
        B, P, d = cotangent.shape
        H, n = len(self.pattern), self.W_O.shape[1]
        heads = (cotangent.reshape(B * P, d) @ self.W_O).view(B, P, H, n // H)
        return heads if self.query_scale is None else heads * self.query_scale[:P, None, None]

    def values(self, streams: Float[Tensor, "S T d"]) -> Float[Tensor, "S T K h"]:
        """What the key-value heads read at each position; biases are left out."""
        (S, T, d), K, n = streams.shape, self.n_kv_heads, len(self.W_V)
        values = (streams.reshape(S * T, d) @ self.W_V.T).view(S, T, K, n // K)
        return values if self.key_scale is None else values * self.key_scale[:, None, None]

    def fetched(self, values: Float[Tensor, "S T K h"]) -> Float[Tensor, "S T H h"]:
        """What each head fetches to each position, in front of the output projection."""
        S, T, K, h = values.shape
        mixing = self.pattern.view(K, -1, T)  # (K, Q * T, T)
        mixed = torch.bmm(mixing, values.permute(2, 1, 0, 3).reshape(K, T, S * h))
        return mixed.view(len(self.pattern), T, S, h).permute(2, 1, 0, 3)

    def written(self, fetched: Float[Tensor, "S T H h"]) -> Float[Tensor, "S T d"]:
        """What is added to the streams; biases are left out."""
        out = fetched.flatten(2) @ self.W_O.T
        return out if self.query_scale is None else out * self.query_scale[:, None]

    def _unmix(self, heads: Float[Tensor, "K Q P Bh"]) -> Float[Tensor, "K P Bh"]:
        """Cotangents of mixed values as those of the values at their keys."""
        K, Q, P, _ = heads.shape
        pattern = self.pattern.view(K, Q, *self.pattern.shape[1:])
        if P <= 2 * QUERY_BLOCK:
            mixing = pattern[:, :, :P, :P].reshape(K, Q * P, P)
            return torch.bmm(mixing.transpose(1, 2), heads.reshape(K, Q * P, -1))
        values = torch.zeros_like(heads[:, 0])
        for start in range(0, P, QUERY_BLOCK):
            end = min(start + QUERY_BLOCK, P)
            mixing = pattern[:, :, start:end, :end].reshape(K, -1, end)
            block = heads[:, :, start:end].reshape(K, mixing.shape[1], -1)
            values[:, :end] += torch.bmm(mixing.transpose(1, 2), block)
        return values


@dataclass(frozen=True)
class FoldedAttention:
    """One layer's attention with the weights of its norms in it: what all prompts share."""

    W_V: Float[Tensor, "Kh d"]
    """As `FrozenAttention` has it."""
    W_O: Float[Tensor, "d Hh"]
    """As `FrozenAttention` has it."""
    weights: AttentionWeights
    """Before that."""
    front: Norm | None
    behind: Norm | None


def fold_attention(wiring: Wiring, layer: int) -> FoldedAttention:
    """Fold the norms' weights into the projections; a copy of both."""
    weights = wiring.attention_weights(layer)
    K, h, d = weights.W_V.shape
    front, behind = wiring.attention_norm(layer), wiring.attention_post_norm(layer)
    W_V = weights.W_V.reshape(K * h, d)
    W_O = weights.W_O.permute(1, 0, 2).reshape(d, -1)
    return FoldedAttention(
        W_V=(W_V if front is None else front.centre(W_V * front.weight)).contiguous(),
        W_O=_behind(W_O, behind).contiguous(),
        weights=weights,
        front=front,
        behind=behind,
    )


def freeze_attention(capture: Capture, folded: FoldedAttention, layer: int) -> FrozenAttention:
    """A layer's attention with its pattern and its norms' denominators held."""
    front, behind = folded.front, folded.behind
    query_scale = None if behind is None else behind.scale(capture.attention_out[layer])
    return FrozenAttention(
        pattern=capture.patterns[layer],
        key_scale=None if front is None else front.scale(capture.resid_pre[layer]),
        query_scale=query_scale,
        W_V=folded.W_V,
        W_O=folded.W_O,
        constant=_constant(folded.weights, front, behind, query_scale, capture.patterns[layer]),
        n_kv_heads=len(folded.weights.W_V),
    )


def _behind(W_O: Float[Tensor, "d n"], norm: Norm | None) -> Float[Tensor, "d n"]:
    """Columns in front of a norm as columns behind it, its scale left to the queries."""
    return W_O if norm is None else norm.centre(W_O.T).T * norm.weight[:, None]


def _constant(
    weights: AttentionWeights,
    front: Norm | None,
    behind: Norm | None,
    query_scale: Float[Tensor, "T"] | None,
    pattern: Float[Tensor, "H T T"],
) -> Float[Tensor, "T d"] | None:
    """What biases of norms and projections add at every position; None without any."""
    value = weights.b_V
    if front is not None and front.bias is not None:
        moved = weights.W_V @ front.bias
        value = moved if value is None else value + moved
    constant: Tensor | None = None
    if value is not None:
        H, K = len(weights.W_O), len(value)
        per_head = torch.einsum("hdk,hk->hd", weights.W_O, value.repeat_interleave(H // K, dim=0))
        constant = torch.einsum("hij,hd->id", pattern, per_head)
    if weights.b_O is not None:
        alone = weights.b_O.expand(pattern.shape[-1], -1)
        constant = alone if constant is None else constant + alone
    if behind is None or query_scale is None:
        return constant
    if constant is not None:
        constant = behind.centre(constant) * behind.weight * query_scale[:, None]
    if behind.bias is None:
        return constant
    alone = behind.bias.expand(pattern.shape[-1], -1)
    return alone if constant is None else constant + alone
