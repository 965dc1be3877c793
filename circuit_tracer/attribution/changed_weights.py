"""Which changed weights made the change of one value, all the way down (method.md section 12).

`two_models.py` splits what each module writes into changed weights and changed input; a changed
input comes from weights changed further down. Here the whole change goes to weights: on the
straight way from the base's parameters to the tuned ones, value(tuned) - value(base) is the sum
over parameters of the integral of gradient x change (integrated gradients, Sundararajan et al.
2017, over parameters: no order of modules is preferred). The integral is taken at Gauss-Legendre
points, by autograd on the model's own pass; what it misses is returned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from circuit_tracer.attribution.directions import DirectionTarget
from circuit_tracer.errors import UsageError
from circuit_tracer.models import Model

POINTS = (16, 32, 64, 128)
"""Of the integral: more are taken until the parts sum to the whole to `TOLERANCE`."""
HELPED = 0.5
"""Of what was missed before: twice the points that miss more have met the rounding of passes."""
TOLERANCE = 1e-5
"""Of what the parts miss, relative to the change."""
PLACES = {
    "queries and keys": (".q_proj.", ".k_proj.", ".q_norm.", ".k_norm."),
    "queries, keys and values": (".c_attn.", ".query_key_value."),
    "values and output": (".v_proj.", ".o_proj.", ".attn.c_proj.", ".attention.dense."),
    "MLP": (".mlp.",),
    "norms": ("norm", ".ln_"),
}
"""What parameters are by a part of their names; the first that fits, "embeddings" for the rest."""


@dataclass(frozen=True)
class WeightChange:
    """What the changed weights of one kind and layer did to a value."""

    kind: str
    layer: int
    """-1 outside the layers."""
    effect: float


@dataclass(frozen=True)
class ChangedWeights:
    """The change of one value, by the weights that made it."""

    base: float
    tuned: float
    changes: tuple[WeightChange, ...]

    @property
    def residual(self) -> float:
        """What the parts miss of tuned - base."""
        return abs(self.tuned - self.base - sum(one.effect for one in self.changes))

    def share(self, kind: str) -> float:
        """Of the whole change, that of one kind in all layers."""
        effect = sum(one.effect for one in self.changes if one.kind == kind)
        return effect / (self.tuned - self.base)


def by_changed_weights(
    base: Model,
    tuned: Model,
    token_ids: Sequence[int],
    target: DirectionTarget | tuple[int, int],
    position: int = -1,
) -> ChangedWeights:
    """Share the change of a direction's value, or of logit(first) - logit(second), out to weights.

    A direction is read after a layer or at an MLP's input. Raises UsageError for another place.
    """
    ours = dict(base.module.named_parameters())
    theirs = dict(tuned.module.named_parameters())
    change = {name: theirs[name].detach() - one.detach() for name, one in ours.items()}
    change = {name: one for name, one in change.items() if bool(one.any())}
    value = _Value(base, token_ids, target, position)
    with torch.no_grad():
        plain, whole = (float(value(at)) for at in ({}, {name: theirs[name] for name in change}))
    found = ChangedWeights(plain, whole, ())
    missed = math.inf
    for points in POINTS if change else ():
        effects = _integrated(value, ours, change, points)
        found = ChangedWeights(plain, whole, _summed(base, effects))
        is_whole = found.residual <= TOLERANCE * abs(whole - plain)
        if is_whole or found.residual > HELPED * missed:
            break
        missed = found.residual
    return found


def _integrated(
    value: _Value, ours: Mapping[str, Tensor], change: Mapping[str, Tensor], points: int
) -> dict[str, float]:
    """The integral of gradient x change of every parameter, at so many points."""
    effects = dict.fromkeys(change, 0.0)
    nodes, weights = np.polynomial.legendre.leggauss(points)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        there = {name: (ours[name] + node * one).requires_grad_() for name, one in change.items()}
        with torch.enable_grad():
            at_value = value(there)
        gradients = torch.autograd.grad(at_value, list(there.values()), allow_unused=True)
        for name, gradient in zip(there, gradients, strict=True):
            if gradient is not None:
                by_row = torch.linalg.vecdot(gradient, change[name])
                effects[name] += float(weight) * float(by_row.double().sum())
    return effects


class _Value:
    """The target's value as a function of parameters."""

    def __init__(
        self,
        model: Model,
        token_ids: Sequence[int],
        target: DirectionTarget | tuple[int, int],
        position: int,
    ) -> None:
        self.model, self.target, self.position = model, target, position
        self.ids = torch.tensor([list(token_ids)], device=model.device)
        if not isinstance(target, tuple):
            if target.reads not in ("hook_resid_post", "mlp.hook_in"):
                raise UsageError(
                    f"changed weights are followed to the stream after a layer or to an MLP's "
                    f"input, and {target.name} reads at {target.reads}; give another direction"
                )
            with torch.no_grad():
                seen = target.seen(model, model.capture(list(token_ids)))[position]
                self.vector, self.constant = target.linear(seen)

    def __call__(self, parameters: Mapping[str, Tensor]) -> Tensor:
        with self._kept() as kept:
            functional_call(self.model.module, dict(parameters), (self.ids,), {"use_cache": False})
        (seen,) = kept
        if isinstance(self.target, tuple):
            logits = seen[0, self.position]
            return logits[self.target[0]] - logits[self.target[1]]
        return seen[0, self.position] @ self.vector + self.constant

    @contextmanager
    def _kept(self) -> Iterator[list[Tensor]]:
        """What the target reads in a pass inside the block."""
        kept: list[Tensor] = []
        wiring = self.model.wiring

        def keep(_: object, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor]) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        def keep_input(_: object, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kept.append(inputs[0])

        if isinstance(self.target, tuple):
            handle = self.model.module.get_submodule(wiring.paths.head).register_forward_hook(keep)
        elif self.target.reads == "hook_resid_post":
            handle = wiring.submodule(self.target.layer).register_forward_hook(keep)
        else:
            mlp = wiring.submodule(self.target.layer, wiring.paths.mlp)
            handle = mlp.register_forward_hook(keep_input)
        try:
            yield kept
        finally:
            handle.remove()


def _summed(model: Model, effects: Mapping[str, float]) -> tuple[WeightChange, ...]:
    """By kind and layer, in the order of the layers."""
    sums: dict[tuple[int, str], float] = {}
    starts = [model.wiring.paths.layer.format(layer) + "." for layer in range(model.n_layers)]
    for name, effect in effects.items():
        layer = next((i for i, start in enumerate(starts) if name.startswith(start)), -1)
        fits = (kind for kind, parts in PLACES.items() if any(part in name for part in parts))
        key = layer, next(fits, "embeddings")
        sums[key] = sums.get(key, 0.0) + effect
    return tuple(WeightChange(kind, layer, sums[layer, kind]) for layer, kind in sorted(sums))
