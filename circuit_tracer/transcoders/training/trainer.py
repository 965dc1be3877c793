"""The state of a training run and one step of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import TrainingError
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.devices import side_by_side
from circuit_tracer.models.mlp_map import MlpMap
from circuit_tracer.transcoders.dictionary import LayerTranscoder
from circuit_tracer.transcoders.training.config import TrainingConfig
from circuit_tracer.transcoders.training.jacobian import DirectionSource, jacobian_loss
from circuit_tracer.transcoders.training.losses import Active, Outcome, batch_loss
from circuit_tracer.transcoders.training.schedule import (
    SparsityController,
    learning_rate_factor,
)
from circuit_tracer.transcoders.training.weights import (
    LayerWeights,
    Units,
    export_layers,
    initial_weights,
    weights_from,
)

INITIAL_PENALTY = 1e-3
"""Where the controller of JumpReLU's penalty starts: in units of FVU per active feature."""
THRESHOLD_RATE = 10.0
"""Thresholds are logarithms that have far to go; they learn so many times faster."""
DIVERGED = 20.0
"""A mean FVU above this is a run that will not come back."""


class StepFigures(NamedTuple):
    """What one step reports, by layer where it is a tuple."""

    loss: float
    fvu: tuple[float, ...]
    l0: tuple[float, ...]
    dead: tuple[int, ...]
    learning_rate: float


class Trainer:
    """Weights, optimiser, dead-feature counters and penalty weights; one `step` a batch."""

    def __init__(
        self,
        config: TrainingConfig,
        weights: list[LayerWeights],
        units: Units,
        maps: Sequence[MlpMap] = (),
    ) -> None:
        """`maps` are the MLPs that the Jacobian term compares with; without it there are none."""
        self.config = config
        self.weights = weights
        self.units = units
        self.maps = maps
        self.upstream: list[LayerTranscoder] = []
        """The features as they were when the buffer was filled, in the model's units."""
        self.optimisers = [_optimiser(own, config.learning_rate) for own in weights]
        """One a layer, so that its gradients are gone before those of the next are there."""
        self.silent = [torch.zeros_like(own.b_enc, dtype=torch.int32) for own in weights]
        """Steps since each feature was last active."""
        start = INITIAL_PENALTY if config.sparsity_weight is None else config.sparsity_weight
        self.controller = SparsityController(
            [start] * len(weights), config.l0_goal, until=config.sparsity_warm_up
        )
        self.steps = 0
        self.tokens = 0

    @classmethod
    def start(
        cls,
        config: TrainingConfig,
        first: MlpActivity,
        given: Sequence[LayerTranscoder] | None = None,
        maps: Sequence[MlpMap] = (),
    ) -> Trainer:
        """A fresh run, with units from the first activity there is, and features from it, too,
        unless they are `given`."""
        units = Units.measure(first)
        if given is not None:
            return cls(config, weights_from(given, units), units, maps)
        sample = first.at(slice(8 * config.n_features))
        return cls(config, initial_weights(units.normalise(sample), config), units, maps)

    def features_now(self) -> list[LayerTranscoder]:
        """Keep the features as they are, to be changed in the buffer, and return them."""
        self.upstream = list(export_layers(self.weights, self.units, self.config))
        return self.upstream

    def step(
        self,
        activity: MlpActivity,
        total_tokens: int,
        changes: Float[Tensor, "L B d"] | None = None,
        places: Int[Tensor, "B"] | None = None,
    ) -> StepFigures:
        """Learn from one batch, all tokens of `activity` or those at `places`; `total_tokens` is
        the length of the whole run. `changes` in what is read go with the Jacobian term."""
        config, done = self.config, self.tokens / max(total_tokens, 1)
        factor = learning_rate_factor(done, warm_up=config.warm_up, decay_from=config.decay_from)
        dead = [silent >= config.dead_steps for silent in self.silent]
        penalties = self.controller.weights(done)

        def learn(part: slice) -> Outcome:
            here = MlpActivity(activity.inputs[part], activity.outputs[part])
            here = here if places is None else here.at(places)
            outcome = batch_loss(
                self.weights[part],
                self.units.of(part).normalise(here),
                config,
                dead=dead[part],
                penalties=penalties[part],
            )
            whole = outcome.loss
            if config.jacobian:
                whole = whole + config.jacobian * self._jacobian(here, outcome.active, changes)
            whole.backward()
            for optimiser in self.optimisers[part]:
                for group in optimiser.param_groups:
                    group["lr"] = config.learning_rate * factor * group["factor"]
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            return outcome._replace(loss=whole.detach())

        outcomes = list(side_by_side(learn, self._parts(), activity.inputs.device))
        loss = float(sum(one.loss for one in outcomes))
        fvu, l0 = (torch.cat([getattr(one, name) for one in outcomes]) for name in ("fvu", "l0"))
        self._check(loss, fvu)
        fired = [layer for one in outcomes for layer in one.fired]
        for silent, seen in zip(self.silent, fired, strict=True):
            silent += 1
            silent[seen] = 0
        self.controller.update(l0.tolist(), done)
        self.steps += 1
        self.tokens += activity.inputs.shape[1] if places is None else len(places)
        return StepFigures(
            loss=loss,
            fvu=tuple(fvu.tolist()),
            l0=tuple(l0.tolist()),
            dead=tuple(int(layer.sum()) for layer in dead),
            learning_rate=config.learning_rate * factor,
        )

    def _parts(self) -> list[slice]:
        """Layers that learn together: each alone, unless features write to other layers or what
        they learn from does."""
        count = len(self.weights)
        if self.config.kind == "clt" or self.config.jacobian:
            return [slice(count)]
        return [slice(layer, layer + 1) for layer in range(count)]

    def _jacobian(
        self, batch: MlpActivity, active: list[Active], changes: Tensor | None
    ) -> Float[Tensor, ""]:
        source = DirectionSource(self.config, self.units, self.maps)
        directions = source.draw(self.steps, self.weights, active, changes)
        return jacobian_loss(self.weights, active, batch, self.units, self.maps, directions)

    def _check(self, loss: float, fvu: Tensor) -> None:
        if not math.isfinite(loss) or float(fvu.mean()) > DIVERGED:
            raise TrainingError(
                f"training diverged at step {self.steps + 1} (loss {loss:.3g}); lower the learning "
                f"rate (it is {self.config.learning_rate:g}) or lengthen the warm-up"
            )

    def tensors(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs that is a tensor."""
        tensors = dict(self.units.tensors())
        for layer, own in enumerate(self.weights):
            tensors[f"{layer}.silent"] = self.silent[layer]
            for name, tensor in own.named().items():
                tensors[f"{layer}.{name}"] = tensor.detach()
                for key, value in self.optimisers[layer].state.get(tensor, {}).items():
                    tensors[f"{layer}.{name}.{key}"] = value
        for layer, one in enumerate(self.upstream):
            for name, value in one.tensors().items():
                assert isinstance(value, Tensor)
                tensors[f"{layer}.upstream.{name}"] = value
        return tensors

    def facts(self) -> dict[str, Any]:
        """Everything a checkpoint needs that is no tensor."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "sparsity": self.controller.state(),
        }

    @classmethod
    def restored(
        cls,
        config: TrainingConfig,
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        maps: Sequence[MlpMap] = (),
    ) -> Trainer:
        """The trainer as it was when `tensors` and `facts` were taken."""
        names = ("W_enc", "b_enc", "W_dec", "b_dec", "log_threshold", "W_skip")
        weights = []
        for layer in range(len(tensors["units.input_scale"])):
            there = [name for name in names if f"{layer}.{name}" in tensors]
            weights.append(
                LayerWeights(
                    **{n: tensors[f"{layer}.{n}"].clone().requires_grad_(True) for n in there}
                )
            )
        trainer = cls(config, weights, Units.from_tensors(tensors), maps)
        for layer, like in enumerate(export_layers(weights, trainer.units, config)):
            start = f"{layer}.upstream."
            kept: dict[str, Any] = {
                n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)
            }
            if kept:
                trainer.upstream.append(replace(like, **kept))
        for layer, own in enumerate(weights):
            trainer.silent[layer] = tensors[f"{layer}.silent"].clone()
            for name, tensor in own.named().items():
                state = {
                    key: tensors[f"{layer}.{name}.{key}"].clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{layer}.{name}.{key}" in tensors
                }
                if state:
                    trainer.optimisers[layer].state[tensor] = state
        trainer.steps, trainer.tokens = facts["steps"], facts["tokens"]
        trainer.controller.restore(facts["sparsity"])
        return trainer


def _optimiser(own: LayerWeights, rate: float) -> torch.optim.Adam:
    """Adam on one layer's tensors."""
    tensors = own.named()
    thresholds = [tensors.pop("log_threshold")] if "log_threshold" in tensors else []
    groups = [{"params": list(tensors.values()), "factor": 1.0}]
    if thresholds:
        groups.append({"params": thresholds, "factor": THRESHOLD_RATE})
    # Gradients of rare features are tiny: Adam's usual eps of 1e-8 would hold them back.
    return torch.optim.Adam(groups, lr=rate, eps=1e-12, fused=True)
