"""One layer's MLP as the map a dictionary stands for, and its derivative in closed form.

A dictionary reads before the MLP (at its input, or before the norm's weight, or before the norm)
and writes after it (at its output, or after the norm that follows, where there is one). Along a
direction v of what is read, the map y = after(down @ (act(g) * u)), g and u affine in what the norm
makes of x, has the derivative

    after'(down @ (act'(g) dg * u + act(g) * du)),    dg = W_g norm'(v), du = W_u norm'(v),

which costs five products of a gated MLP, where the map itself costs three, and no backward pass.
Norms' denominators respond.

Shapes: d model width, any number of places.
Source: method.md section 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.models.norms import Norm
from circuit_tracer.models.parts import MlpReadPoint, MlpWeights, MlpWritePoint
from circuit_tracer.models.wiring import Wiring

linear = torch.nn.functional.linear


@dataclass(frozen=True)
class MlpMap:
    """From where a dictionary reads at one layer to where it writes."""

    weights: MlpWeights
    before: Norm | None
    """The norm before the MLP, as far as it comes after the reading point: all or its weight."""
    reads: MlpReadPoint
    after: Norm | None
    """The norm after the MLP, where it comes before the writing point."""
    arriving: Norm | None
    """The norm between the residual stream and the reading point, if there is one."""
    leaving: Norm | None
    """The norm between the writing point and the residual stream, if there is one."""

    def jvp(
        self, x: Float[Tensor, "*places d"], v: Float[Tensor, "*places d"]
    ) -> Float[Tensor, "*places d"]:
        """The derivative along v of what the MLP makes of x."""
        w = self.weights
        x, v = self._into(x, v)
        gate = linear(x, w.gate, w.gate_bias)
        hidden, change = w.act(gate), slope(w.act, gate) * linear(v, w.gate)
        if w.up is not None:
            up = linear(x, w.up, w.up_bias)
            change = change * up + hidden * linear(v, w.up)
            hidden = hidden * up
        change = linear(change, w.down)
        if self.after is None:
            return change
        return self.after.jvp(linear(hidden, w.down, w.down_bias), change)

    def _into(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """What the MLP's first matrices see of x and of a change v."""
        norm = self.before
        if norm is None:
            return x, v
        if self.reads == "hook_resid_mid":
            return norm.apply(x), norm.jvp(x, v)
        weighted = x * norm.weight
        return weighted if norm.bias is None else weighted + norm.bias, v * norm.weight

    def seen(self, stream: Float[Tensor, "*places d"]) -> Float[Tensor, "*places d"]:
        """A direction of the residual stream where it is read, up to its length: denominators are
        frozen."""
        norm = self.arriving
        if norm is None:
            return stream
        centred = norm.centre(stream)
        return centred * norm.weight if self.reads == "mlp.hook_in" else centred

    def sent(self, written: Float[Tensor, "*places d"]) -> Float[Tensor, "*places d"]:
        """What is written as a direction of the residual stream, up to its length."""
        norm = self.leaving
        return written if norm is None else norm.centre(written) * norm.weight


def mlp_map(
    wiring: Wiring,
    layer: int,
    reads: MlpReadPoint = "mlp.hook_in",
    writes: MlpWritePoint = "mlp.hook_out",
    dtype: torch.dtype | None = None,
) -> MlpMap:
    """One layer's map; its matrices in another dtype than the model's if asked."""
    weights, norm = wiring.mlp_weights(layer), wiring.norm("mlp_norm", layer)
    after = wiring.norm("mlp_post_norm", layer)
    if dtype is not None:
        tensors = {k: one for k, one in vars(weights).items() if isinstance(one, Tensor)}
        moved: dict[str, Any] = {name: one.to(dtype) for name, one in tensors.items()}
        weights = replace(weights, **moved)
        norm, after = (one and one.to(dtype) for one in (norm, after))
    at_stream = writes == "hook_mlp_out"
    return MlpMap(
        weights=weights,
        before=None if reads == "mlp.hook_in" else norm,
        reads=reads,
        after=after if at_stream else None,
        arriving=None if reads == "hook_resid_mid" else norm,
        leaving=None if at_stream else after,
    )


def slope(act: Callable[[Tensor], Tensor], x: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """The derivative of an activation function, whichever the model has, entry by entry."""
    with torch.enable_grad():
        free = x.detach().requires_grad_(True)
        (found,) = torch.autograd.grad(act(free).sum(), free)
    return found
