"""What stays as it was in the original pass: attention patterns and norm denominators.

Values and output projections are the model's own; only which key a head looks at, and by how much
a norm divides, is held. Nothing here is shared with the sweep.

Shapes: B rows, T tokens, d model width, H heads, K key-value heads, h head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models.capture import Capture, Place
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.parts import NormPlace
from circuit_tracer.models.wiring import Wiring


def mix_values(
    wiring: Wiring, layer: int, pattern: Float[Tensor, "H T T"], x: Float[Tensor, "B T d"]
) -> Float[Tensor, "B T d"]:
    """Attention's output for what it reads, with its pattern held."""
    weights = wiring.attention_weights(layer)
    K, h = weights.W_V.shape[:2]
    H, T = len(pattern), x.shape[1]
    values = torch.einsum("btd,khd->bkth", x, weights.W_V)
    if weights.b_V is not None:
        values = values + weights.b_V[:, None]
    mixed = pattern.view(K, H // K, T, T) @ values[:, :, None]  # (B, K, H / K, T, h)
    out = torch.einsum("bhtk,hdk->btd", mixed.reshape(len(x), H, T, h), weights.W_O)
    return out if weights.b_O is None else out + weights.b_O


@dataclass(frozen=True)
class HeldNorm:
    """A norm with the denominators of the original pass."""

    norm: Norm
    scale: Float[Tensor, "T"]

    def __call__(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        """The norm's output."""
        out = self.norm.centre(x) * self.scale[:, None] * self.norm.weight
        return out if self.norm.bias is None else out + self.norm.bias


def hold_norms(wiring: Wiring, capture: Capture) -> dict[tuple[Place, int], HeldNorm]:
    """Every norm of the model by its place, the final one at the layer behind the last."""
    held: dict[tuple[Place, int], HeldNorm] = {}
    for i in range(wiring.n_layers):
        places: tuple[tuple[NormPlace, Tensor], ...] = (
            ("attention_norm", capture.resid_pre[i]),
            ("attention_post_norm", capture.attention_out[i]),
            ("mlp_norm", capture.resid_mid[i]),
            ("mlp_post_norm", capture.mlp_out[i]),
        )
        for place, read in places:
            norm = wiring.norm(place, i)
            if norm is not None:
                held[place, i] = HeldNorm(norm, norm.scale(read))
    final = wiring.final_norm()
    held["final_norm", wiring.n_layers] = HeldNorm(final, final.scale(capture.resid_final))
    return held
