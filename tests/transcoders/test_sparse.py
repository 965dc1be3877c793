"""The sparse products against their dense, obvious counterparts."""

from __future__ import annotations

import torch

from circuit_tracer.transcoders.dictionary import activate
from circuit_tracer.transcoders.training.losses import count_active, jumprelu
from circuit_tracer.transcoders.training.sparse import decode_sparse, encode_topk


def test_sparse_topk_gives_the_outputs_and_gradients_of_dense_autograd() -> None:
    torch.manual_seed(0)
    B, F, d, D, k = 64, 40, 6, 14, 5
    x = torch.randn(B, d, dtype=torch.float64)
    weights = [torch.randn(*s, dtype=torch.float64) for s in ((F, d), (F,), (F, D))]
    target = torch.randn(B, D, dtype=torch.float64)

    def gradients(sparse: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        W_enc, b_enc, W_dec = (w.clone().requires_grad_(True) for w in weights)
        if sparse:
            out = decode_sparse(encode_topk(x, W_enc, b_enc, k), W_dec)
        else:
            out = activate(x @ W_enc.T + b_enc, "topk", k=k) @ W_dec
        (out - target).pow(2).sum().backward()  # type: ignore[no-untyped-call]
        return out.detach(), [w.grad for w in (W_enc, b_enc, W_dec) if w.grad is not None]

    dense_out, dense = gradients(sparse=False)
    sparse_out, sparse = gradients(sparse=True)
    torch.testing.assert_close(sparse_out, dense_out)
    assert len(sparse) == 3
    for ours, theirs in zip(sparse, dense, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_feature_that_topk_picks_at_zero_gets_no_gradient() -> None:
    W_enc = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    b_enc = torch.zeros(2, requires_grad=True)
    chosen = encode_topk(torch.ones(3, 1), W_enc, b_enc, 2)
    chosen.values.sum().backward()  # type: ignore[no-untyped-call]
    assert W_enc.grad is not None
    assert W_enc.grad.tolist() == [[3.0], [0.0]]


def test_jumprelu_thresholds_get_the_straight_through_gradient() -> None:
    pre = torch.tensor([[0.9], [1.1], [3.0], [0.2]])
    log_threshold = torch.zeros(1, requires_grad=True)  # threshold 1
    out = jumprelu(pre, log_threshold, 0.5)
    assert out[:, 0].tolist() == [0.0, 1.100000023841858, 3.0, 0.0]
    out.sum().backward()  # type: ignore[no-untyped-call]
    # two entries lie within 0.25 of the threshold: each gives -threshold / bandwidth
    assert log_threshold.grad is not None
    torch.testing.assert_close(log_threshold.grad, torch.tensor([-4.0]))


def test_the_l0_count_moves_thresholds_up_and_leaves_pre_activations_alone() -> None:
    pre = torch.tensor([[0.9, 5.0], [1.1, 0.0]], requires_grad=True)
    log_threshold = torch.zeros(2, requires_grad=True)
    count = count_active(pre, log_threshold, 0.5)
    assert count.tolist() == [1.0, 1.0]
    count.sum().backward()  # type: ignore[no-untyped-call]
    assert log_threshold.grad is not None
    assert log_threshold.grad.tolist() == [-4.0, 0.0]  # descending the penalty raises it
    assert pre.grad is None or not pre.grad.any()
