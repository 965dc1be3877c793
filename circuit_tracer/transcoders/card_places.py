"""The places in a text that a layer's features keep for their cards, found in one pass.

Of every feature the strongest places and a uniform random sample of all places where it fires
stay: each token draws one random number, and those with the largest numbers are kept.

Shapes: N tokens of a group of rows, F features, n strongest and m sampled places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

TOP_KEPT, SAMPLED = 24, 48
"""Places kept of every feature: strongest, and sampled."""


@dataclass
class KeptPlaces:
    """What pass 1 keeps of one layer; columns of empty places have value 0."""

    top: Float[Tensor, "F n"]
    top_places: Int[Tensor, "F n"]
    """row * T + position."""
    drawn: Float[Tensor, "F m"]
    """Random numbers of the sampled places."""
    drawn_places: Int[Tensor, "F m"]
    drawn_values: Float[Tensor, "F m"]
    active: Int[Tensor, "F"]

    @classmethod
    def empty(cls, n_features: int) -> KeptPlaces:
        """Nothing kept yet."""

        def nothing(n: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(n_features, n, dtype=dtype, device="cpu")

        return cls(
            top=nothing(TOP_KEPT),
            top_places=nothing(TOP_KEPT, torch.long),
            drawn=nothing(SAMPLED),
            drawn_places=nothing(SAMPLED, torch.long),
            drawn_values=nothing(SAMPLED),
            active=torch.zeros(n_features, dtype=torch.long, device="cpu"),
        )

    def add(
        self,
        activations: Float[Tensor, "N F"],
        places: Int[Tensor, "N"],
        numbers: Float[Tensor, "N"],
    ) -> None:
        """Take in a group of tokens, each with its place and random number."""
        values = activations.T.contiguous()
        on = values > 0
        self.active += on.sum(1)
        everywhere = places.expand_as(values)
        top = torch.cat([self.top, values], 1).topk(TOP_KEPT, dim=1)
        self.top_places = torch.cat([self.top_places, everywhere], 1).gather(1, top.indices)
        self.top = top.values
        drawn = torch.cat([self.drawn, torch.where(on, numbers, 0.0)], 1).topk(SAMPLED, dim=1)
        self.drawn_places = torch.cat([self.drawn_places, everywhere], 1).gather(1, drawn.indices)
        self.drawn_values = torch.cat([self.drawn_values, values], 1).gather(1, drawn.indices)
        self.drawn = drawn.values
