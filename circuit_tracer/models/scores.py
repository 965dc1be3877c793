"""One head's queries and keys as the affine maps they are once their norms are frozen.

A pre-softmax score is query_i . key_j, the model's scaling counted to the query. Both are linear in
the residual stream before attention, up to biases, when the norm before attention and the norms on
queries and keys keep their denominators; the rotation by position is linear as it is.
Source: method.md section 6; "Tracing Attention Computation Through Feature Interactions"
(Anthropic, July 2025).

Shapes: T tokens, d model width, H query heads, K key-value heads, h head width, r rotated numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import ModelError
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.norms import FrozenNorm, Norm
from circuit_tracer.models.parts import Rotary
from circuit_tracer.models.wiring import Wiring

LARGEST_MISS = 1e-3
"""Most that a pattern made of the wiring's own scores may differ from the model's. A rotation or a
norm read wrongly moves it by tenths."""


@dataclass(frozen=True)
class FrozenProjection:
    """The queries (or keys) of one head: stream before attention -> (h,) at each position."""

    W: Float[Tensor, "h d"]
    bias: Float[Tensor, "h"] | None
    norm: FrozenNorm
    """The one before attention; identity where there is none."""
    gain: Float[Tensor, "T h"]
    """Weight and frozen scale of the norm on queries or keys, times the scaling of scores."""
    rotary: Rotary | None

    def rows(self, position: int) -> Float[Tensor, "h d"]:
        """The vectors at the residual stream whose products with it are the h numbers."""
        rows = turned((self.gain[position][:, None] * self.W).T, self.rotary, position).T
        return self.norm.pull(rows, slice(position, position + 1))

    def own(self, position: int) -> Float[Tensor, "h"]:
        """What biases give: no node's."""
        own = torch.zeros_like(self.W[:, 0]) if self.bias is None else self.bias
        if self.norm.bias is not None:
            own = own + self.W @ self.norm.bias
        return turned(self.gain[position] * own, self.rotary, position)

    def apply(self, stream: Float[Tensor, "T d"]) -> Float[Tensor, "T h"]:
        """The whole affine map at every position."""
        raw = self.norm.apply(stream) @ self.W.T
        raw = raw if self.bias is None else raw + self.bias
        return turned(raw * self.gain, self.rotary, slice(None))


def turned(
    x: Float[Tensor, "*batch h"], rotary: Rotary | None, at: int | slice | Int[Tensor, "n"]
) -> Float[Tensor, "*batch h"]:
    """`x` turned by its position: number c with number c + r / 2, those from r on not at all."""
    if rotary is None:
        return x
    cos, sin = rotary.cos[at], rotary.sin[at]
    front, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = front.chunk(2, dim=-1)
    crossed = torch.cat([-second, first], dim=-1)
    return torch.cat([front * cos + crossed * sin, rest], dim=-1)


@dataclass(frozen=True)
class FrozenHead:
    """One head's two projections, and its scores on the captured prompt."""

    query: FrozenProjection
    key: FrozenProjection
    queries: Float[Tensor, "T h"]
    """On the captured prompt, rotation, norms and scaling applied."""
    keys: Float[Tensor, "T h"]
    softcap: float | None
    """The model caps scores to +-this by tanh after what is explained."""

    def scores(self, position: int) -> Float[Tensor, "T"]:
        """One query's scores with all keys, hidden ones too: the model's own before a soft-cap."""
        return self.keys @ self.queries[position]


def freeze_head(capture: Capture, wiring: Wiring, layer: int, head: int) -> FrozenHead:
    """One head's queries and keys with the denominators of all norms frozen.

    Raises ModelError when the softmax of the scores is not the pattern that the model applied.
    """
    stream = capture.resid_pre[layer]
    frozen = head_on(stream, wiring, layer, head, capture.pass_length)
    off = head_pattern(frozen, wiring, layer) - capture.patterns[layer][head]
    largest = float(off.abs().max())
    if not largest <= LARGEST_MISS:  # also for NaN
        raise ModelError(
            f"this model was taken for one of the {wiring.family} family, but the attention "
            f"pattern of L{layer}.H{head} comes out wrong by {largest:.1g} from its queries and "
            "keys; it computes something that circuit_tracer/models/families.py does not describe"
        )
    return frozen


def head_on(
    stream: Float[Tensor, "T d"], wiring: Wiring, layer: int, head: int, pass_length: int
) -> FrozenHead:
    """One head's queries and keys on any stream before its layer's attention."""
    weights = wiring.query_key_weights(layer)
    norm, rotary = wiring.norm("attention_norm", layer), wiring.rotary(layer, pass_length)
    if rotary is not None:
        rotary = Rotary(rotary.cos[: len(stream)], rotary.sin[: len(stream)])
    before = FrozenNorm.identity(stream) if norm is None else norm.freeze(stream)
    seen = before.apply(stream)

    def projection(
        W: Tensor, bias: Tensor | None, norm: Norm | None, head: int, scaling: float
    ) -> FrozenProjection:
        return FrozenProjection(
            W=W[head],
            bias=None if bias is None else bias[head],
            norm=before,
            gain=norm_gain(seen, W, bias, norm, head) * scaling,
            rotary=rotary,
        )

    kv_head = head // (wiring.n_heads // wiring.n_kv_heads)
    query = projection(weights.W_Q, weights.b_Q, weights.q_norm, head, weights.scaling)
    key = projection(weights.W_K, weights.b_K, weights.k_norm, kv_head, 1.0)
    return FrozenHead(query, key, query.apply(stream), key.apply(stream), weights.softcap)


def norm_gain(
    seen: Float[Tensor, "T d"],
    W: Float[Tensor, "n h d"],
    bias: Float[Tensor, "n h"] | None,
    norm: Norm | None,
    head: int,
) -> Float[Tensor, "T h"]:
    """What a norm on queries or keys multiplies those of one head by, its denominator frozen."""
    h = W.shape[1]
    if norm is None:
        return seen.new_ones(len(seen), h)
    if norm.centred or norm.bias is not None:
        raise ModelError(
            "norms on queries and keys that subtract the mean or add a bias are not supported in "
            "QK attribution; extend circuit_tracer/models/scores.py"
        )
    of_one = len(norm.weight) == h
    which = slice(head, head + 1) if of_one else slice(None)
    raw = seen @ W[which].flatten(0, 1).T
    raw = raw if bias is None else raw + bias[which].flatten()
    weight = norm.weight if of_one else norm.weight[head * h : (head + 1) * h]
    return norm.scale(raw)[:, None] * weight


def head_pattern(frozen: FrozenHead, wiring: Wiring, layer: int) -> Float[Tensor, "T T"]:
    """The softmax of a head's scores over the keys that each query sees."""
    scores = frozen.queries @ frozen.keys.T
    if frozen.softcap is not None:
        scores = frozen.softcap * torch.tanh(scores / frozen.softcap)
    at = torch.arange(len(scores), device=scores.device)
    seen = wiring.sees(layer, at[:, None], at)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)
