"""The trainable form of a dictionary, in units in which every model looks alike.

Training sees inputs x' = (x - mean) / scale and outputs y' likewise, with mean square 1 per entry
in every layer, so that one learning rate serves layers and models of any scale. `export` folds
means and scales back into the weights.

Shapes: L layers, B tokens, d model width, F features, W layers a feature writes to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.errors import TrainingError, UsageError
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.dictionary import Dictionary, LayerTranscoder, activate
from circuit_tracer.transcoders.training.config import TrainingConfig

LIKENESS = 1e-2
"""How near unit vectors are, by a look from a random direction, that are taken for the same."""
LEAST_THRESHOLD = 1e-4
"""Where the threshold of a feature begins that has none above zero: it is learnt as a logarithm."""


@dataclass(frozen=True)
class Units:
    """What training subtracts and divides by, measured on the first buffer."""

    input_mean: Float[Tensor, "L d"]
    input_scale: Float[Tensor, "L"]
    output_mean: Float[Tensor, "L d"]
    output_scale: Float[Tensor, "L"]

    @classmethod
    def measure(cls, activity: MlpActivity) -> Units:
        """Mean and root mean square, per layer."""

        def moments(values: Tensor) -> tuple[Tensor, Tensor]:
            mean = values.mean(1)
            scales = [
                (layer - m).pow(2).mean().sqrt() for layer, m in zip(values, mean, strict=True)
            ]
            return mean, torch.stack(scales).clamp_min(1e-12)

        return cls(*moments(activity.inputs), *moments(activity.outputs))

    def of(self, layers: slice) -> Units:
        """Those of some layers."""
        return Units(**{name: value[layers] for name, value in vars(self).items()})

    def normalise(self, batch: MlpActivity) -> MlpActivity:
        """A batch in training units."""
        return MlpActivity(
            (batch.inputs - self.input_mean[:, None]) / self.input_scale[:, None, None],
            (batch.outputs - self.output_mean[:, None]) / self.output_scale[:, None, None],
        )

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {f"units.{name}": value for name, value in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Units:
        """From a checkpoint."""
        return cls(**{name: tensors[f"units.{name}"] for name in cls.__dataclass_fields__})


@dataclass
class LayerWeights:
    """Trainable tensors of the features that read at one layer, in training units."""

    W_enc: Float[Tensor, "F d"]
    b_enc: Float[Tensor, "F"]
    W_dec: Float[Tensor, "F Wd"]
    """Decoder rows of all written layers side by side; layer m's begin at (m - layer) * d."""
    b_dec: Float[Tensor, "d"]
    log_threshold: Float[Tensor, "F"] | None = None
    W_skip: Float[Tensor, "d d"] | None = None

    def named(self) -> dict[str, Tensor]:
        """The tensors there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def initial_weights(batch: MlpActivity, config: TrainingConfig) -> list[LayerWeights]:
    """Features from data: encoder rows from normalised inputs, decoder rows from their outputs.

    A feature starts as one token's input direction (unit length) and writes that token's output,
    times the one factor per written layer that fits the batch best. Where `batch`, in training
    units, holds fewer than `n_features` tokens that differ, further features start from the mean of
    two: copies of a feature would learn the same for ever.
    """
    n_layers, n_tokens, d = batch.inputs.shape
    device = batch.inputs.device
    generator = torch.Generator(device="cpu").manual_seed(config.seed)
    layers = []
    for layer in range(n_layers):
        order = torch.randperm(n_tokens, generator=generator, device="cpu").to(device)
        order = order[_distinct(batch.inputs[layer, order])]
        rows = _starts(batch.inputs[layer], order, config.n_features)
        W_enc = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        written = 1 if config.kind == "plt" else n_layers - layer
        W_dec = torch.zeros(config.n_features, written, d, device=device)
        for offset in range(written):
            W_dec[:, offset] = _starts(batch.outputs[layer + offset], order, config.n_features)
        weights = LayerWeights(
            W_enc=W_enc,
            b_enc=torch.zeros(config.n_features, device=device),
            W_dec=W_dec.flatten(1),
            b_dec=torch.zeros(d, device=device),
        )
        if config.activation == "jumprelu":
            weights.log_threshold = torch.full(
                (config.n_features,), config.initial_threshold, device=device
            ).log()
        if config.skip:
            weights.W_skip = torch.zeros(d, d, device=device)
        layers.append(weights)
    _fit_scales(layers, batch, config)
    for weights in layers:
        for tensor in weights.named().values():
            tensor.requires_grad_(True)
    return layers


def settings_of(start: Dictionary) -> dict[str, Any]:
    """The settings that a dictionary decides, when training goes on from it.

    Raises UsageError for one that training cannot make: ReLU features, other sizes from layer to
    layer, or features that are active with negative values.
    """
    layers, name = start.present, f"the dictionary {start.identity.name}, to start from,"
    sizes = {(one.n_features, one.activation, one.k) for one in layers}
    if len(sizes) > 1:
        raise UsageError(
            f"{name} has other numbers of features, or of active ones, from layer to "
            "layer; start from one that has the same in all"
        )
    n_features, activation, k = sizes.pop()
    if activation == "relu" or not all(one.rectified for one in layers):
        which = "plain ReLU" if activation == "relu" else "features with negative values"
        raise UsageError(
            f"{name} has {which}, and training makes TopK and JumpReLU with positive "
            "ones; start from another dictionary"
        )
    residual = start.kind == "sae"
    return {
        "kind": "plt" if residual else start.kind,
        "activation": activation,
        "n_features": n_features,
        "k": k,
        "skip": any(one.W_skip is not None for one in layers),
        "reads": start.reads,
        "writes": start.writes,
        "layers": start.numbers if residual else None,
    }


def check_start(start: Dictionary, config: TrainingConfig, out: Path | None = None) -> None:
    """Raise UsageError for a dictionary to start from that these settings would not make, that
    `settings_of` refuses, whose features would be led to a number of active ones that nobody
    chose, or that lies in `out`."""
    if out is not None and start.identity.location == str(out.resolve()):
        raise UsageError(
            f"`start` and `out` are both {out}: a run that is stopped begins at `start` again, so "
            "it must stay; choose another `out`"
        )
    ours = {"k": config.active, "layers": config.layers or tuple(range(start.n_layers))}
    for name, value in settings_of(start).items():
        set_to = ours.get(name, getattr(config, name))
        if value is not None and value != set_to:
            raise UsageError(
                f"`start` was made with `{name}` {value}, and the settings say {set_to}; give them "
                "as it was trained with (transcoders.training.weights.settings_of gives them)"
            )
    chosen = config.target_l0 is not None or config.sparsity_weight is not None
    if config.activation == "jumprelu" and not chosen:
        raise UsageError(
            "`start` has JumpReLU features; give `target_l0`, how many shall be active a token "
            "(transcoders evaluate says how many are)"
        )


def weights_from(given: Sequence[LayerTranscoder], units: Units) -> list[LayerWeights]:
    """The features of a dictionary in training units, to train on from: `export_layers` backwards.

    Raises UsageError for decoders that are not in memory.
    """
    layers = []
    for place, one in enumerate(given):
        if not isinstance(one.W_dec, Tensor):
            raise UsageError("`start` keeps its decoders on disk; open it with `lazy` False")
        written = one.W_dec.reshape(one.n_features, -1, one.W_dec.shape[-1])
        threshold = None if one.threshold is None else one.threshold.float()
        mean, scale = units.input_mean[place], units.output_scale[place]
        b_dec = one.b_dec.float()
        if one.W_skip is not None:
            b_dec = b_dec + one.W_skip.float() @ mean
        scales = units.output_scale[place : place + written.shape[1]]
        own = LayerWeights(
            W_enc=one.W_enc.float() * units.input_scale[place],
            b_enc=one.b_enc.float() + one.W_enc.float() @ mean,
            W_dec=(written.float() / scales[None, :, None]).flatten(1),
            b_dec=(b_dec - units.output_mean[place]) / scale,
            log_threshold=None if threshold is None else threshold.clamp_min(LEAST_THRESHOLD).log(),
            W_skip=None
            if one.W_skip is None
            else one.W_skip.float() * (units.input_scale[place] / scale),
        )
        for tensor in own.named().values():
            tensor.requires_grad_(True)
        layers.append(own)
    return layers


def _fit_scales(layers: list[LayerWeights], batch: MlpActivity, config: TrainingConfig) -> None:
    """Scale the decoders of every written layer by least squares on up to 1,024 tokens."""
    n_layers, _, d = batch.inputs.shape
    sample = slice(0, 1024)
    parts = [torch.zeros_like(y[sample]) for y in batch.outputs]
    for layer, own in enumerate(layers):
        activations = activate(
            torch.addmm(own.b_enc, batch.inputs[layer, sample], own.W_enc.T),
            config.activation,
            threshold=None if own.log_threshold is None else own.log_threshold.exp(),
            k=config.active,
        )
        for offset, rows in enumerate(own.W_dec.unflatten(1, (-1, d)).unbind(1)):
            parts[layer + offset] += activations @ rows
    for written in range(n_layers):
        wanted, reached = batch.outputs[written, sample], parts[written]
        factor = float((wanted * reached).sum() / reached.pow(2).sum().clamp_min(1e-12))
        for layer in range(written + 1):
            blocks = layers[layer].W_dec.unflatten(1, (-1, d))
            if written - layer < blocks.shape[1]:
                blocks[:, written - layer] *= max(factor, 1e-3)


def _distinct(rows: Float[Tensor, "N d"]) -> Int[Tensor, "M"]:
    """The first of all rows that point the same way, as a chat template's do in every text; two
    that differ are taken for the same once in a million times."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    views = torch.randn(rows.shape[1], 4, generator=generator, device="cpu").to(rows)
    unit = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    _, group = (unit @ views / LIKENESS).round().unique(dim=0, return_inverse=True)
    number = torch.arange(len(rows), device=rows.device)
    first = number.new_full((len(rows),), len(rows)).scatter_reduce_(0, group, number, "amin")
    return first[first < len(rows)].sort().values


def _starts(
    values: Float[Tensor, "N d"], order: Int[Tensor, "M"], count: int
) -> Float[Tensor, "F d"]:
    """Those of `count` of the tokens in `order`, as long as there are enough, then means of two in
    ever new pairs."""
    n_tokens = len(order)
    place = torch.arange(count, device=order.device)
    second = values[order[(place + place // n_tokens) % n_tokens]]
    return (values[order[place % n_tokens]] + second) / 2


@torch.no_grad()
def export_layers(
    weights: list[LayerWeights],
    units: Units,
    config: TrainingConfig,
    *,
    stored_as: torch.dtype = torch.float32,
) -> tuple[LayerTranscoder, ...]:
    """The dictionary's layers in the model's own units.

    Matrices are rounded to `stored_as` before the means are folded into the biases, so that the
    biases make up for the rounding; biases and thresholds stay in float32.
    """
    numbers = config.layers or range(len(weights))
    return tuple(
        _export_layer(place, number, own, units, config, stored_as)
        for place, (number, own) in enumerate(zip(numbers, weights, strict=True))
    )


def _export_layer(
    place: int,
    number: int,
    own: LayerWeights,
    units: Units,
    config: TrainingConfig,
    stored_as: torch.dtype,
) -> LayerTranscoder:
    """The trained layer at a place of the units, which is the model's layer `number`."""
    d = own.b_dec.shape[0]
    for name, tensor in own.named().items():
        if not bool(tensor.isfinite().all()):
            raise TrainingError(
                f"training diverged: {name} of layer {number} is no longer finite; "
                "lower the learning rate"
            )
    mean, out_scale = units.input_mean[place], units.output_scale[place]
    W_enc = (own.W_enc / units.input_scale[place]).to(stored_as)
    written = units.output_scale[place : place + own.W_dec.shape[1] // d]
    W_dec = (own.W_dec.unflatten(1, (-1, d)) * written[None, :, None]).to(stored_as)
    b_dec = own.b_dec * out_scale + units.output_mean[place]
    W_skip = None
    if own.W_skip is not None:
        W_skip = (own.W_skip * (out_scale / units.input_scale[place])).to(stored_as)
        b_dec = b_dec - W_skip.float() @ mean
    topk = config.activation == "topk"
    return LayerTranscoder(
        layer=number,
        W_enc=W_enc,
        b_enc=own.b_enc - W_enc.float() @ mean,
        W_dec=W_dec,
        b_dec=b_dec,
        activation="topk" if topk else "jumprelu",
        threshold=None if own.log_threshold is None else own.log_threshold.exp(),
        k=config.active if topk else None,
        W_skip=W_skip,
    )
