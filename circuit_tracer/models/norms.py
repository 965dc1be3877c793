"""Norms, and the linear maps they are once their denominator is frozen.

y = (x - mean(x)) * scale * weight + bias, the mean only in LayerNorm, the bias only where there is
one; scale = 1 / rms of what the norm reads. With the scale frozen this is affine in x.

Shapes: T tokens, d model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Norm:
    """RMSNorm or LayerNorm, its weight as it multiplies."""

    weight: Float[Tensor, "d"]
    bias: Float[Tensor, "d"] | None
    epsilon: float
    centred: bool

    def centre(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Without its mean, for LayerNorm. It is its own transpose."""
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def scale(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """What the norm multiplies its (centred) input by, before its weight: 1 / rms."""
        wide = self.centre(x if x.dtype == torch.float64 else x.float())
        return (wide.pow(2).mean(-1) + self.epsilon).rsqrt().to(x.dtype)

    def normalized(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """`x` without mean and with rms 1: the norm without weight and bias."""
        return self.centre(x) * self.scale(x)[..., None]

    def apply(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The whole norm, weight and bias included."""
        out = self.normalized(x) * self.weight
        return out if self.bias is None else out + self.bias

    def jvp(
        self, x: Float[Tensor, "*batch d"], v: Float[Tensor, "*batch d"]
    ) -> Float[Tensor, "*batch d"]:
        """The derivative along v of the whole norm at x: its denominator responds."""
        unit, scale, moved = self.normalized(x), self.scale(x)[..., None], self.centre(v)
        # d(scale) = -scale^3 mean(centre(x) v), of which the two other scales are in `unit`
        return scale * (moved - unit * (unit * moved).mean(-1, keepdim=True)) * self.weight

    def to(self, dtype: torch.dtype) -> Norm:
        """The same norm with its weights in another dtype."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return replace(self, weight=self.weight.to(dtype), bias=bias)

    def freeze(self, x: Float[Tensor, "T d"], *, weighted: bool = True) -> FrozenNorm:
        """The affine map at the input `x`; without weight and bias if not `weighted`."""
        gain = self.scale(x)[:, None].expand_as(x)
        return FrozenNorm(
            gain=gain * self.weight if weighted else gain,
            bias=self.bias if weighted else None,
            centred=self.centred,
        )


@dataclass(frozen=True)
class FrozenNorm:
    """A norm with its denominators frozen: x -> centre(x) * gain + bias."""

    gain: Float[Tensor, "T d"]
    bias: Float[Tensor, "d"] | None = None
    centred: bool = False

    @classmethod
    def identity(cls, x: Float[Tensor, "T d"]) -> FrozenNorm:
        """Where there is no norm."""
        return cls(torch.ones_like(x))

    def apply(self, x: Float[Tensor, "T d"]) -> Float[Tensor, "T d"]:
        """The whole affine map, bias included."""
        out = self._centre(x) * self.gain
        return out if self.bias is None else out + self.bias

    def push(
        self, x: Float[Tensor, "*batch n d"], position: Int[Tensor, "n"] | slice
    ) -> Float[Tensor, "*batch n d"]:
        """What vectors at these positions are after the norm, its bias left out."""
        return self._centre(x) * self.gain[position]

    def pull(
        self, cotangent: Float[Tensor, "*batch n d"], position: Int[Tensor, "n"] | slice
    ) -> Float[Tensor, "*batch n d"]:
        """Cotangents after the norm as cotangents before it."""
        return self._centre(cotangent * self.gain[position])

    def _centre(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.centred else x


def exact_norm(norm: Norm) -> nn.Module:
    """torch's own RMSNorm, which computes in the dtype of its weight."""
    module = nn.RMSNorm(len(norm.weight), eps=norm.epsilon, dtype=norm.weight.dtype)
    module.weight = nn.Parameter(norm.weight.clone(), requires_grad=False)
    return module.to(norm.weight.device)
