"""Directions along which what layers read may change: those of the Jacobian term and its measure.

Shapes: L layers, N tokens, d model width, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit_tracer.models.mlp_map import MlpMap


def evenly_drawn(
    maps: Sequence[MlpMap], like: Float[Tensor, "N d"], generator: torch.Generator
) -> Float[Tensor, "L N d"]:
    """One direction of the residual stream a token, drawn evenly, as every layer sees it."""
    stream = torch.randn(like.shape, generator=generator, device="cpu").to(like)
    return torch.stack([one.seen(stream) for one in maps])


def from_upstream(
    maps: Sequence[MlpMap],
    rows: Float[Tensor, "L N d"],
    generator: torch.Generator,
    *,
    together: bool,
) -> Float[Tensor, "L N d"]:
    """For every layer one of the earlier layers' `rows` (what they write at the same token), as the
    layer sees it; zero where there is none. `together` has one row for all layers after it."""
    L, N, d = rows.shape
    layers = torch.arange(L, device="cpu")[:, None]
    chance = torch.rand(1 if together else L, N, generator=generator, device="cpu")
    start = (chance * (L - 1 if together else layers)).long().expand(L, N)
    upstream = (start < layers).to(rows.device)[..., None]
    stream = torch.stack([one.sent(row) for one, row in zip(maps, rows, strict=True)])
    chosen = stream.gather(0, start.to(rows.device)[..., None].expand(L, N, d))
    return torch.stack([one.seen(row) for one, row in zip(maps, chosen, strict=True)]) * upstream


def any_active(on: Bool[Tensor, "N F"], generator: torch.Generator) -> Int[Tensor, "N"]:
    """The number of one of the active features, for every token; of any where none is active."""
    lot = torch.rand(on.shape, generator=generator, device="cpu").to(on.device)
    return (lot * on).argmax(-1)
