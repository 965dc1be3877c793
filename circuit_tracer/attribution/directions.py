"""Directions inside the model as targets: "what made this latent fire" (method.md sections 3, 12).

A graph can explain vector . stream + constant at a position in place of logits. The stream is the
residual stream after a layer, or what a transcoder reads at one. A direction comes from a feature
of a dictionary (its encoder row and biases), from a file, or from two sets of prompts (the mean
stream of the first minus that of the second, at the last token).

Shapes: T tokens, d model width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel, freeze_read
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Direction, StreamPoint
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.norms import FrozenNorm
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.neurons import AnyDictionary

Linear = Callable[[Float[Tensor, "d"]], tuple[Float[Tensor, "d"], Float[Tensor, ""]]]
"""Vector and constant for what is read at the explained position; only a neuron's depend on it."""


@dataclass(frozen=True)
class DirectionTarget:
    """A direction that is to be explained."""

    name: str
    """What it is called in the graph."""
    layer: int
    reads: StreamPoint
    linear: Linear
    width: int
    """d, of the model it is for."""

    def check(self, model: Model, settings: TraceSettings) -> None:
        """Raise UsageError where the model has no such place, or tokens are asked for, too."""
        for name in ("targets", "contrast", "why_not"):
            if getattr(settings, name):
                raise UsageError(
                    f"`{name}` and a direction as target exclude each other; give one of them"
                )
        if not 0 <= self.layer < model.n_layers or self.width != model.d_model:
            raise UsageError(
                f"the direction {self.name} is {self.width} wide at layer {self.layer}, and "
                f"{model.identity.name} has layers 0 to {model.n_layers - 1} of width "
                f"{model.d_model}; give a direction made for this model"
            )

    def seen(self, model: Model, capture: Capture) -> Float[Tensor, "T d"]:
        """What it reads in a pass."""
        if self.reads == "hook_resid_post":
            return capture.resid_post(self.layer)
        mid, mlp_in = capture.resid_mid[self.layer], capture.mlp_in[self.layer]
        return model.wiring.read(self.reads, self.layer, mid, mlp_in)


def below(
    model: LocalReplacementModel, direction: Direction | None, capture: Capture, wiring: Wiring
) -> LocalReplacementModel:
    """The part of a replacement model that a direction depends on; all of it for None."""
    if direction is None:
        return model
    layer, mid = direction.layer, capture.resid_mid[direction.layer]
    if direction.reads == "hook_resid_post":
        return model.until(layer, FrozenNorm.identity(mid), at_mlp=False)
    read = freeze_read(wiring, direction.reads, layer, mid)
    return model.until(layer, read, at_mlp=True)


def bare(name: str, layer: int, vector: Float[Tensor, "d"]) -> DirectionTarget:
    """A vector in the residual stream after a layer."""

    def linear(seen: Tensor) -> tuple[Tensor, Tensor]:
        return vector.to(seen), seen.new_zeros(())

    return DirectionTarget(name, layer, "hook_resid_post", linear, len(vector))


def of_feature(
    dictionary: AnyDictionary, layer: int, feature: int, label: str = ""
) -> DirectionTarget:
    """A feature's pre-activation, where its dictionary reads; of a neuron, its activation.

    Raises UsageError where the dictionary has no such feature.
    """
    sets = {one.layer: one for one in dictionary.layers if one.n_features}
    if layer not in sets or not 0 <= feature < sets[layer].n_features:
        last = sets.get(layer, next(iter(sets.values()))).n_features - 1
        raise UsageError(
            f"`target_feature` L{layer}/{feature} is no feature of {dictionary.identity.name}; "
            f"its layers are {', '.join(map(str, sets))}, their features 0 to {last}"
        )
    transcoder: Any = sets[layer]

    def linear(seen: Tensor) -> tuple[Tensor, Tensor]:
        at = torch.tensor([feature], device=seen.device)
        active = transcoder.encode(seen[None])[:, feature]
        vector, bias = transcoder.linear_rows(at, seen[None], active)
        return vector[0].to(seen), bias[0].to(seen)

    quoted = label if not label or '"' in label else f'"{label}"'
    name = f"{dictionary.identity.name} L{layer}/{feature} {quoted}".rstrip()
    width = dictionary.shape[1]
    return DirectionTarget(name, layer, dictionary.reads, linear, width)


def in_file(path: Path, layer: int | None = None) -> DirectionTarget:
    """The direction of a safetensors file: one vector (d,), and its layer in the metadata.

    `layer` in place of the file's own; `name` in the metadata in place of the file's. Raises
    UsageError for what holds no such vector.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata, keys = file.metadata() or {}, list(file.keys())
            vectors = [file.get_tensor(key) for key in keys]
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{path} is no safetensors file that can be read; write one vector with "
            'safetensors.torch.save_file({"direction": v}, path, metadata={"layer": "1"})'
        ) from error
    if len(vectors) != 1 or vectors[0].ndim != 1:
        shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in zip(keys, vectors, strict=True))
        raise UsageError(
            f"{path} must hold one vector of d numbers; it holds {shapes or 'nothing'}"
        )
    stored = metadata.get("layer", "")
    if layer is None and not stored.isdecimal():
        raise UsageError(
            f"{path} does not say after which layer its direction lies; give `target_layer`, or "
            'write the metadata {"layer": "1"}'
        )
    vector = _checked(vectors[0].float(), str(path))
    return bare(metadata.get("name", path.stem), int(stored) if layer is None else layer, vector)


@torch.no_grad()
def between(
    model: Model, positive: Sequence[str], negative: Sequence[str], layer: int, name: str
) -> DirectionTarget:
    """Mean residual stream after a layer over the last tokens of prompts, first set minus second.

    Raises UsageError for an empty set, PromptError as `Model.tokenize`.
    """
    if not 0 <= layer < model.n_layers:
        raise UsageError(f"`target_layer` {layer} must lie from 0 to {model.n_layers - 1}")
    means = []
    for prompts in (positive, negative):
        if not prompts:
            raise UsageError("`target_prompts` needs at least one prompt on each side")
        passes = (model.capture(model.tokenize(prompt)) for prompt in prompts)
        means.append(torch.stack([one.resid_post(layer)[-1] for one in passes]).mean(0))
    return bare(name, layer, _checked(means[0] - means[1], "the two prompt sets"))


def _checked(vector: Float[Tensor, "d"], where: str) -> Float[Tensor, "d"]:
    """The vector; UsageError for one that is no direction."""
    if not bool(vector.isfinite().all()) or not bool(vector.any()):
        raise UsageError(f"the direction of {where} is zero or not finite; give another one")
    return vector
