"""Sparse products for TopK dictionaries: only the k active features of a token are touched.

A dense decoder multiplies B x F activations of which k/F (1-2 %) are not zero, forwards and twice
backwards. Here a token's k decoder rows are summed as a bag, gradients of the activations are
sampled at the k places, and gradients of a weight matrix are summed per feature after sorting the
(token, feature) pairs. On one CPU thread this is 10 to 50 times faster than the dense products;
what remains dense is the encoder's forward product, which has to see every feature.

Shapes: B tokens, F features, k active features a token, D decoder width (d, or W * d).
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LARGEST_GATHER = 1 << 24
"""Numbers of decoder rows that are gathered at a time."""


class ByFeature(NamedTuple):
    """The B * k places sorted by feature: what sums over a feature's tokens need."""

    order: Int[Tensor, "Bk"]
    """Place (token * k + rank) of every entry."""
    starts: Int[Tensor, "F"]
    """Where each feature's entries begin."""


class SparseActivations(NamedTuple):
    """The active features of every token; a feature whose value is zero counts as silent."""

    values: Float[Tensor, "B k"]
    indices: Int[Tensor, "B k"]
    by_feature: ByFeature


def encode_topk(
    x: Float[Tensor, "B d"],
    W_enc: Float[Tensor, "F d"],
    b_enc: Float[Tensor, "F"],
    k: int,
    precision: str = "float32",
) -> SparseActivations:
    """TopK of the encoder's output (ReLU first), differentiable in the weights.

    `precision` is that of a training run (config.py).
    """
    values, indices, order, starts = _TopKEncode.apply(  # type: ignore[no-untyped-call]
        x, W_enc, b_enc, k, precision
    )
    return SparseActivations(values, indices, ByFeature(order, starts))


def decode_sparse(
    activations: SparseActivations, W_dec: Float[Tensor, "F D"]
) -> Float[Tensor, "B D"]:
    """Activations times decoder rows, differentiable in both."""
    values, indices, by_feature = activations
    decoded: Tensor = _SparseDecode.apply(  # type: ignore[no-untyped-call]
        values, indices, W_dec, *by_feature
    )
    return decoded


def sort_by_feature(indices: Int[Tensor, "B k"], n_features: int) -> ByFeature:
    """The order in which entries of one feature stand together."""
    flat = indices.reshape(-1)
    order = flat.argsort(stable=True)  # stable: the same sums in the same order, run after run
    counts = torch.bincount(flat, minlength=n_features)
    return ByFeature(order, counts.cumsum(0) - counts)


def sum_by_feature(
    values: Float[Tensor, "B k"], rows: Float[Tensor, "B D"], by_feature: ByFeature
) -> Float[Tensor, "F D"]:
    """For every feature, the sum over its active tokens of value x the token's row."""
    order, starts = by_feature
    return torch.nn.functional.embedding_bag(
        order // values.shape[1],
        rows.contiguous(),
        starts,
        mode="sum",
        per_sample_weights=values.reshape(-1)[order],
    )


def products_at(
    left: Float[Tensor, "B D"], right: Float[Tensor, "F D"], indices: Int[Tensor, "B k"]
) -> Float[Tensor, "B k"]:
    """left @ right.T, computed only at each token's k features."""
    n, k = indices.shape
    if left.device.type not in ("cpu", "cuda"):  # few devices have products sampled in CSR form
        step = max(1, LARGEST_GATHER // (k * left.shape[1]))
        parts = zip(left.split(step), indices.split(step), strict=True)
        return torch.cat([torch.einsum("bd,bkd->bk", some, right[at]) for some, at in parts])
    starts = torch.arange(0, n * k + 1, k, device=indices.device)
    _hear_of_beta()
    places = torch.sparse_csr_tensor(
        starts,
        indices.reshape(-1),
        torch.zeros(n * k, dtype=left.dtype, device=left.device),
        (n, right.shape[0]),
        check_invariants=False,
    )
    sampled: Tensor = torch.sparse.sampled_addmm(places, left, right.T, beta=0.0)
    return sampled.values().view(n, k)


@cache
def _hear_of_beta() -> None:
    """Let torch say once that sparse CSR support is in beta, where nobody hears it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.zeros(1, 1, device="cpu").to_sparse_csr()


def largest(
    values: Float[Tensor, "B F"], k: int
) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """The k largest of every row and where they are, in no order; of equal ones any.

    On the CPU by numpy's partition, which takes half the time of torch's `topk`.
    """
    if values.device.type != "cpu" or k == values.shape[1]:
        return values.topk(k, dim=-1, sorted=False)
    array = values.numpy()
    n, wide = array.shape
    least = np.partition(array, wide - k, axis=1)[:, wide - k]
    chosen = array >= least[:, None]
    if len(places := np.flatnonzero(chosen)) != n * k:  # some are equal
        rows = np.flatnonzero(chosen.sum(1) != k)[:, None]
        chosen[rows[:, 0]] = False
        chosen[rows, np.argpartition(array[rows[:, 0]], wide - k, axis=1)[:, wide - k :]] = True
        places = np.flatnonzero(chosen)
    indices = torch.from_numpy(places.reshape(n, k) % wide)
    return values.gather(1, indices), indices


class _TopKEncode(torch.autograd.Function):
    """Linear map, ReLU, k largest; the input gets no gradient (it is data)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int, precision: str) -> Any:
        if precision == "float32":
            values, indices = torch.addmm(b_enc, x, W_enc.T).topk(k, dim=-1, sorted=False)
        elif precision == "bfloat16":
            pre = (x.bfloat16() @ W_enc.T.bfloat16()).float()
            values, indices = largest(pre.add_(b_enc), k)
        else:
            values, indices = largest(torch.addmm(b_enc, x, W_enc.T), k)
        values = values.relu()
        by_feature = sort_by_feature(indices, W_enc.shape[0])
        ctx.save_for_backward(x, values, indices, *by_feature)
        ctx.mark_non_differentiable(indices, *by_feature)
        return values, indices, *by_feature

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, values, indices, *by_feature = ctx.saved_tensors
        gradient = torch.where(values > 0, gradients[0], 0.0)
        grad_b = torch.zeros_like(by_feature[1], dtype=x.dtype)
        grad_b.index_add_(0, indices.reshape(-1), gradient.reshape(-1))
        return None, sum_by_feature(gradient, x, ByFeature(*by_feature)), grad_b, None, None


class _SparseDecode(torch.autograd.Function):
    """Sum of each token's decoder rows, weighted by its activations."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, indices: Tensor, W_dec: Tensor, order: Tensor, starts: Tensor
    ) -> Tensor:
        ctx.save_for_backward(values, indices, W_dec, order, starts)
        return torch.nn.functional.embedding_bag(
            indices, W_dec, mode="sum", per_sample_weights=values
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        values, indices, W_dec, order, starts = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        grad_W = sum_by_feature(values, gradient, ByFeature(order, starts))
        return products_at(gradient, W_dec, indices), None, grad_W, None, None
