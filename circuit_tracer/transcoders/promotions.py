"""What features do to the logits directly: the tokens they promote and suppress most.

The direct effect of what is written to the residual stream: centred where the final norm centres,
times its weight, into the unembedding. For labels the same with directions of unit length, where no
token stands out for its norm alone.

Shapes: n features, d model width, V tokens considered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models import Model
from circuit_tracer.transcoders.labels import Promotion

TOKENS_NAMED = 6
"""Promoted and suppressed tokens of a feature."""
ROWS_AT_ONCE = 256


class Promotions(NamedTuple):
    """What one feature does to the logits, strongest first."""

    promotes: list[str]
    suppresses: list[str]
    stand_out: list[Promotion]
    stand_out_down: list[Promotion]


@torch.no_grad()
def promotions(
    model: Model,
    written: Float[Tensor, "n d"],
    ids: Sequence[int] | None,
    text: Callable[[int], str],
) -> Iterator[Promotions]:
    """Of each vector written, among the tokens `ids` (None: all of them)."""
    norm, device = model.wiring.final_norm(), model.unembedding.device
    if ids is None:
        chosen = torch.arange(len(model.unembedding), device=device)
    else:
        chosen = torch.tensor(list(ids), device=device)
    directions = norm.centre(model.unembedding.float()[chosen] * norm.weight.float())
    directions = directions - directions.mean(0)
    units = directions / directions.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    k = min(TOKENS_NAMED, len(chosen))

    def named(places: Tensor) -> list[list[str]]:
        return [[text(i) for i in row] for row in chosen[places].tolist()]

    def standing_out(cosines: Tensor) -> list[list[Promotion]]:
        spread, mean = torch.std_mean(cosines, dim=-1, keepdim=True)
        strongest = ((cosines - mean) / spread.clamp_min(1e-12)).topk(k)
        pairs = zip(named(strongest.indices), strongest.values.tolist(), strict=True)
        return [[Promotion(t, v) for t, v in zip(*pair, strict=True)] for pair in pairs]

    parts = written.float().to(device).split(ROWS_AT_ONCE) if len(written) else ()
    for part in parts:
        logits, cosines = part @ directions.T, part @ units.T
        yield from map(
            Promotions,
            named(logits.topk(k).indices),
            named((-logits).topk(k).indices),
            standing_out(cosines),
            standing_out(-cosines),
        )
