"""The Jacobian term: a dictionary shall respond to a change as the MLP does.

Reconstruction teaches a dictionary the MLP's output, not its derivative, and a graph's indirect
effects are products of derivatives. Per token and layer, along a unit direction v of what is read,
the same features staying active, in training units:

    |J v - D v|^2 / (|J v|^2 + FLOOR * its mean over the batch)
    D v = W_dec (active * W_enc v) + W_skip v

J v in closed form (`models/mlp_map.py`). Directions:

* iso: one drawn evenly from the residual stream, as every layer sees it;
* dec: the decoder row of a feature of an earlier layer that is active at the same token;
* act: the change in what is read when features of earlier layers were changed by a share of
  `CHANGED` in a real pass (`upstream_changes.py`);
* mix: dec and act, step by step in turn.

The last three need something upstream, which the first layer has not. A cross-layer dictionary
responds to a direction of the stream in all layers that see it; what it writes at a layer is then
compared with that layer's MLP.

Source: Olah et al. 2025 (a toy model of mechanistic (un)faithfulness) propose matching Jacobians;
Czarnecki et al. 2017 (Sobolev training) random projections of them.

Shapes: L layers, B tokens, d model width, F features, k active features, W layers written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.mlp_map import MlpMap
from circuit_tracer.transcoders.fidelity import any_active, evenly_drawn, from_upstream
from circuit_tracer.transcoders.training.config import TrainingConfig
from circuit_tracer.transcoders.training.losses import Active
from circuit_tracer.transcoders.training.sparse import (
    ByFeature,
    SparseActivations,
    decode_sparse,
    products_at,
    sum_by_feature,
)
from circuit_tracer.transcoders.training.weights import LayerWeights, Units

FLOOR = 0.1
"""Keeps a direction to which an MLP hardly responds from weighing without bound."""


class Directions(NamedTuple):
    """Unit directions of what is read, in training units."""

    along: Float[Tensor, "L B d"]
    there: Bool[Tensor, "L B"]
    """Where there is one: a layer without anything upstream may have none."""


def jacobian_loss(
    weights: Sequence[LayerWeights],
    active: Sequence[Active],
    batch: MlpActivity,
    units: Units,
    maps: Sequence[MlpMap],
    directions: Directions,
) -> Float[Tensor, ""]:
    """The term, summed over layers; `batch` is in the model's units."""
    d = batch.inputs.shape[-1]
    responses: list[Tensor | float] = [0.0] * len(weights)
    for layer, (own, which) in enumerate(zip(weights, active, strict=True)):
        along = directions.along[layer]
        moved = _moved(own, which, along)
        for offset, written in enumerate(moved.unflatten(1, (-1, d)).unbind(1)):
            responses[layer + offset] = responses[layer + offset] + written
        if own.W_skip is not None:
            responses[layer] = responses[layer] + along @ own.W_skip.T
    loss = batch.inputs.new_zeros(())
    for layer, response in enumerate(responses):
        there = directions.there[layer]
        if not bool(there.any()):
            continue
        with torch.no_grad():
            v = directions.along[layer] * units.input_scale[layer]
            wanted = maps[layer].jvp(batch.inputs[layer], v) / units.output_scale[layer]
            size = wanted.pow(2).sum(-1)
            scale = size + FLOOR * size[there].mean().clamp_min(1e-12)
        errors = (wanted - response).pow(2).sum(-1) / scale
        loss = loss + errors[there].mean()
    return loss


def _moved(own: LayerWeights, active: Active, along: Float[Tensor, "B d"]) -> Float[Tensor, "B Wd"]:
    """What active features write along a direction."""
    if isinstance(active, SparseActivations):
        on = active.values.detach() > 0
        rates: Tensor = _RatesAt.apply(  # type: ignore[no-untyped-call]
            along, own.W_enc, active.indices, *active.by_feature
        )
        return decode_sparse(active._replace(values=rates * on), own.W_dec)
    rates = (along @ own.W_enc.T) * active
    return rates @ own.W_dec


class _RatesAt(torch.autograd.Function):
    """Encoder rows along directions, at each token's active features alone."""

    @staticmethod
    def forward(
        ctx: Any, along: Tensor, W_enc: Tensor, indices: Tensor, order: Tensor, starts: Tensor
    ) -> Tensor:
        ctx.save_for_backward(along, order, starts)
        return products_at(along, W_enc, indices)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        along, order, starts = ctx.saved_tensors
        grad_W = sum_by_feature(gradients[0].contiguous(), along, ByFeature(order, starts))
        return None, grad_W, None, None, None


class DirectionSource:
    """Draws the directions of every step; the same ones in a resumed run."""

    def __init__(self, config: TrainingConfig, units: Units, maps: Sequence[MlpMap]) -> None:
        self.config, self.units, self.maps = config, units, maps

    def kind(self, step: int) -> str:
        """The kind of a step's directions."""
        asked = self.config.jacobian_directions or "iso"
        return ("dec", "act")[step % 2] if asked == "mix" else asked

    @torch.no_grad()
    def draw(
        self,
        step: int,
        weights: Sequence[LayerWeights],
        active: Sequence[Active],
        changes: Float[Tensor, "L B d"] | None,
    ) -> Directions:
        """For one batch; `changes` in what is read go with act."""
        generator = torch.Generator(device="cpu")
        generator.manual_seed(self.config.seed * 1_000_003 + 7 * step + 3)
        kind = self.kind(step)
        if kind == "act":
            assert changes is not None
            return self._units(changes)
        own, first = weights[0].W_enc, active[0]
        B = len(first.values if isinstance(first, SparseActivations) else first)
        if kind == "iso":
            return self._units(evenly_drawn(self.maps, own[:1].expand(B, -1), generator))
        rows = [
            self._active_row(own, which, generator)
            for own, which in zip(weights, active, strict=True)
        ]
        together = self.config.kind == "clt"
        return self._units(
            from_upstream(self.maps, torch.stack(rows), generator, together=together)
        )

    def _active_row(
        self, own: LayerWeights, active: Active, generator: torch.Generator
    ) -> Float[Tensor, "B d"]:
        """What one of a layer's active features writes there, for every token; zero where none is
        active."""
        on = active.values > 0 if isinstance(active, SparseActivations) else active
        place = any_active(on, generator)[:, None]
        index = active.indices.gather(1, place) if isinstance(active, SparseActivations) else place
        return own.W_dec[index[:, 0], : own.W_enc.shape[1]] * on.gather(1, place)

    def _units(self, seen: Float[Tensor, "L B d"]) -> Directions:
        """At length one in training units."""
        scaled = seen / self.units.input_scale[:, None, None]
        size = scaled.norm(dim=-1, keepdim=True)
        return Directions(scaled / size.clamp_min(1e-12), size[..., 0] > 1e-9)
