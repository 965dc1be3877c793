"""What stays as it was in the original pass: attention patterns, norm denominators, MLP outputs.

Values and output projections are the model's own; only which key a head looks at, and by how much
a norm divides, is frozen. Nothing here is shared with the sweep.

Shapes: B rows, T tokens, d model width, H heads, K key-value heads, h head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.interventions.responding import RespondingFeatures
from circuit_tracer.interventions.spec import Writes
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.norms import Norm
from circuit_tracer.models.parts import NormPlace, Place
from circuit_tracer.models.wiring import Wiring


def mix_values(
    wiring: Wiring, layer: int, pattern: Float[Tensor, "H T T"], x: Float[Tensor, "B T d"]
) -> Float[Tensor, "B T d"]:
    """Attention's output for what it reads, with its pattern frozen."""
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
class NormAtFrozenScale:
    """A norm with the denominators of the original pass."""

    norm: Norm
    scale: Float[Tensor, "T"]

    def __call__(self, x: Float[Tensor, "B T d"]) -> Float[Tensor, "B T d"]:
        """The norm's output."""
        out = self.norm.centre(x) * self.scale[:, None] * self.norm.weight
        return out if self.norm.bias is None else out + self.norm.bias


FrozenNorms = Mapping[tuple[Place, int], NormAtFrozenScale]
"""By place and layer."""


def frozen_norms(wiring: Wiring, capture: Capture) -> FrozenNorms:
    """Every norm of the model by its place, the final one at the layer after the last."""
    frozen: dict[tuple[Place, int], NormAtFrozenScale] = {}
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
                frozen[place, i] = NormAtFrozenScale(norm, norm.scale(read))
    final = wiring.final_norm()
    at_end = NormAtFrozenScale(final, final.scale(capture.resid_final))
    return frozen | {("final_norm", wiring.n_layers): at_end}


@dataclass(frozen=True)
class Freezing:
    """What is frozen in a batch of passes, and what responds where MLP outputs are."""

    attention: bool = False
    """Attention patterns."""
    norms: FrozenNorms = field(default_factory=dict)
    """Denominators of these."""
    skips_carry: bool = False
    """Whether an affine skip carries on where an MLP's output is frozen, being linear."""
    writes: Writes = "all"
    """Where cross-layer features write."""
    features: RespondingFeatures | None = None
    """Features that respond in the place of MLPs, whose outputs are all frozen then."""
