"""Muon: momentum whose step is made orthogonal, for the hidden matrices.

The step of a matrix W is U V^T of its momentum M = U S V^T, so that every direction of the matrix
moves equally far; five Newton-Schulz steps come near enough (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon). Matrices of one shape are done as one batch, because
at this size the products are too small to fill a core one by one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: (count, rows, columns), rows <= columns."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(b * gram, gram, gram, alpha=c) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; decoupled weight decay."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        steps: int = 5,
    ) -> None:
        """Take the matrices to move."""
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": steps}
        super().__init__(matrices, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix once; a closure is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            self._step_group(group)

    def _step_group(self, group: dict[str, Any]) -> None:
        """Move the matrices of one group, batched by shape; tall ones are transposed."""
        batches: defaultdict[tuple[int, int], list[tuple[Tensor, Tensor, bool]]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            momentum = state["momentum"]
            momentum.lerp_(weight.grad, 1 - group["momentum"])
            move = weight.grad.lerp(momentum, group["momentum"])
            tall = weight.shape[0] > weight.shape[1]
            move = move.mT if tall else move
            batches[(move.shape[0], move.shape[1])].append((weight, move, tall))
        for batch in batches.values():
            moves = orthogonalise(torch.stack([move for _, move, _ in batch]), group["steps"])
            for (weight, _, tall), move in zip(batch, moves, strict=True):
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(move.mT if tall else move, alpha=-group["lr"] * scale)
