"""JumpReLU with straight-through threshold gradients (Rajamanoharan et al. 2024).

The step at the threshold has no useful derivative; a rectangle of width `bandwidth` around it
stands in for the delta function when the gradient of the threshold is taken. Thresholds are
trained as logarithms, so that they stay positive.

Shapes: B tokens, F features.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


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
