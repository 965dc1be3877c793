"""One forward pass of the dictionary on a batch, and the loss to be minimised.

Per layer: mean over tokens of w(t) * ||y'(t) - reconstruction(t)||^2 / d. With per-token weighting
w = 1 / (||y'||^2 / d + NORM_FLOOR), so the loss is close to the per-token FVU; pooled weighting has
w = 1. To it come, for JumpReLU, the sparsity penalty, and for features that have been silent for a
while AuxK (Gao et al. 2024): the `aux_k` strongest dead features of a token try to reconstruct
what the living ones missed, which pulls them back to where they are needed.

The step at a JumpReLU threshold has no useful derivative; a rectangle of width `bandwidth` around
it stands in for the delta function when the gradient of the threshold is taken (straight-through,
Rajamanoharan et al. 2024). Thresholds are trained as logarithms, so that they stay positive.

Shapes: L layers, B tokens, d model width, F features, W layers a feature writes to, all in
training units (weights.Units).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.transcoders.dictionary import Activation, activate
from circuit_tracer.transcoders.training.config import TrainingConfig
from circuit_tracer.transcoders.training.sparse import SparseActivations, decode_sparse, encode_topk
from circuit_tracer.transcoders.training.weights import LayerWeights

NORM_FLOOR = 0.05
"""Keeps a token of nearly no variance from weighing without bound (mean variance is 1)."""
TANH_SLOPE = 4.0
"""The tanh penalty is tanh(slope * activation * decoder norm), Anthropic 2025."""
DENSE = 3
"""Up to so many times as many features as are active, dense products take less time than sparse."""

Active = SparseActivations | Bool[Tensor, "B F"]
"""Which features are active: TopK's places, or a mask."""


class Outcome(NamedTuple):
    """What a batch gives."""

    loss: Float[Tensor, ""]
    """To be minimised: reconstruction, penalty and AuxK over all layers."""
    fvu: Float[Tensor, "L"]
    """Pooled fraction of variance unexplained."""
    l0: Float[Tensor, "L"]
    """Active features a token."""
    fired: list[Bool[Tensor, "F"]]
    """Features active on any token of the batch."""
    active: list[Active]
    """Which are active at which token."""


class _Encoded(NamedTuple):
    decoded: Float[Tensor, "B Wd"]
    active: Float[Tensor, ""]
    """Mean number of active features."""
    fired: Bool[Tensor, "F"]
    places: Active
    penalty: Float[Tensor, ""]


def batch_loss(
    weights: list[LayerWeights],
    batch: MlpActivity,
    config: TrainingConfig,
    *,
    dead: list[Bool[Tensor, "F"]],
    penalties: list[float],
) -> Outcome:
    """Loss and figures of a batch in training units; `dead` and `penalties` are by layer."""
    encoded = [
        _encode(own, x, config, penalty)
        for own, x, penalty in zip(weights, batch.inputs, penalties, strict=True)
    ]
    d = batch.inputs.shape[-1]
    outputs = [
        own.b_dec.expand_as(x) if own.W_skip is None else own.b_dec + x @ own.W_skip.T
        for own, x in zip(weights, batch.inputs, strict=True)
    ]
    for layer, part in enumerate(encoded):
        for offset, written in enumerate(part.decoded.unflatten(1, (-1, d)).unbind(1)):
            outputs[layer + offset] = outputs[layer + offset] + written
    errors = batch.outputs - torch.stack(outputs)
    variance = batch.outputs.pow(2).mean(-1)
    token_weights = torch.ones_like(variance)
    if config.token_weighting == "per-token":
        token_weights = 1 / (variance + NORM_FLOOR)
    squares = errors.pow(2).mean(-1)
    loss = (token_weights * squares).mean(1).sum() + sum(part.penalty for part in encoded)
    if config.aux_weight > 0:
        missed = errors.detach()
        for layer, silent in enumerate(dead):
            if bool(silent.any()):
                x, written = batch.inputs[layer], weights[layer].W_dec.shape[1] // d
                loss = loss + config.aux_weight * _aux_loss(
                    weights[layer],
                    x,
                    missed[layer : layer + written],
                    token_weights[layer : layer + written],
                    silent,
                    config,
                )
    with torch.no_grad():
        fvu = squares.mean(1) / variance.mean(1).clamp_min(1e-12)
        l0 = torch.stack([part.active for part in encoded])
    fired, places = [part.fired for part in encoded], [part.places for part in encoded]
    return Outcome(loss, fvu, l0, fired, places)


def _encode(
    own: LayerWeights, x: Float[Tensor, "B d"], config: TrainingConfig, penalty: float
) -> _Encoded:
    if config.activation == "topk":
        sparse = encode_topk(x, own.W_enc, own.b_enc, config.active, config.precision)
        decoded = decode_sparse(sparse, own.W_dec)
        on = sparse.values > 0
        fired = torch.zeros(own.b_enc.shape[0], dtype=torch.bool, device=x.device)
        fired[sparse.indices[on]] = True
        active = on.sum(-1, dtype=x.dtype).mean()
        return _Encoded(decoded, active, fired, sparse, x.new_zeros(()))
    assert own.log_threshold is not None
    pre = torch.addmm(own.b_enc, x, own.W_enc.T)
    activations = jumprelu(pre, own.log_threshold, config.bandwidth)
    if config.sparsity == "tanh":
        sizes = activations * own.W_dec.norm(dim=-1)
        price = torch.tanh(TANH_SLOPE * sizes).sum(-1).mean()
    else:
        price = count_active(pre, own.log_threshold, config.bandwidth).mean()
    on = activations.detach() > 0
    active = on.sum(-1, dtype=x.dtype).mean()
    return _Encoded(activations @ own.W_dec, active, on.any(0), on, penalty * price)


def _aux_loss(
    own: LayerWeights,
    x: Float[Tensor, "B d"],
    missed: Float[Tensor, "W B d"],
    token_weights: Float[Tensor, "W B"],
    silent: Bool[Tensor, "F"],
    config: TrainingConfig,
) -> Float[Tensor, ""]:
    """How badly the dead features of one layer reconstruct what was missed."""
    places = silent.nonzero()[:, 0]
    d = x.shape[-1]
    k = min(config.aux_k or max(d // 2, 1), len(places))
    W_enc, b_enc, W_dec = (w.index_select(0, places) for w in (own.W_enc, own.b_enc, own.W_dec))
    if len(places) <= DENSE * k and config.precision != "float32":
        activation: Activation = "relu" if k == len(places) else "topk"
        decoded = activate(torch.addmm(b_enc, x, W_enc.T), activation, k=k) @ W_dec
    else:
        decoded = decode_sparse(encode_topk(x, W_enc, b_enc, k), W_dec)
    parts = decoded.unflatten(1, (-1, d)).transpose(0, 1)
    squares: Tensor = token_weights * (missed - parts).pow(2).mean(-1)
    return squares.mean(1).sum()


def jumprelu(
    pre: Float[Tensor, "B F"], log_threshold: Float[Tensor, "F"], bandwidth: float
) -> Float[Tensor, "B F"]:
    """`pre` where it is above its threshold, else zero."""
    activations: Tensor = _JumpReLU.apply(  # type: ignore[no-untyped-call]
        pre, log_threshold, bandwidth
    )
    return activations


def count_active(
    pre: Float[Tensor, "B F"], log_threshold: Float[Tensor, "F"], bandwidth: float
) -> Float[Tensor, "B"]:
    """L0 of every token, differentiable in the thresholds only."""
    steps: Tensor = _Step.apply(pre, log_threshold, bandwidth)  # type: ignore[no-untyped-call]
    return steps.sum(-1)


def _rectangle(pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """1 / bandwidth within half a bandwidth of the threshold, else zero."""
    return ((pre - threshold).abs() < bandwidth / 2).to(pre.dtype) / bandwidth


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, log_threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, log_threshold)
        ctx.bandwidth = bandwidth
        return torch.where(pre > log_threshold.exp(), pre, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pre, log_threshold = ctx.saved_tensors
        threshold = log_threshold.exp()
        near = _rectangle(pre, threshold, ctx.bandwidth)
        grad_threshold = -(threshold * near * gradients[0]).sum(0)
        grad_pre = torch.where(pre > threshold, gradients[0], 0.0)
        return grad_pre, grad_threshold * threshold, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, log_threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, log_threshold)
        ctx.bandwidth = bandwidth
        return (pre > log_threshold.exp()).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pre, log_threshold = ctx.saved_tensors
        threshold = log_threshold.exp()
        near = _rectangle(pre, threshold, ctx.bandwidth)
        return None, -(near * gradients[0]).sum(0) * threshold, None
