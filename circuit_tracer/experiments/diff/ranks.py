"""How many directions a changed weight matrix moved in, above what rounding alone would make.

Weights are stored rounded: the change of a matrix by a product of low rank has full rank once it is
rounded to bfloat16. Rounding moves each weight by up to half the distance u to its neighbour, an
error of variance u^2 / 12, and a random (m, n) matrix of deviation s has no singular value above
about s (sqrt m + sqrt n); what lies below that counts as none.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

SLACK = 1.2
"""Times the largest singular value that rounding makes on average."""
LEAST = 1e-6
"""Of the largest singular value: below it is the rounding of computing itself."""


def numerical_rank(
    before: Float[Tensor, "m n"], after: Float[Tensor, "m n"], stored: torch.dtype
) -> int:
    """Singular values of the change above what rounding the weights to `stored` makes."""
    before, after = (one.detach().cpu().double() for one in (before, after))
    change = after - before
    if not change.any():
        return 0
    sizes = torch.linalg.svdvals(change)
    distance = torch.finfo(stored).eps * 2 ** after.abs().clamp_min(1e-30).log2().floor()
    error = math.sqrt(float(distance.square().mean()) / 12)
    floor = SLACK * error * sum(math.sqrt(n) for n in change.shape)
    return int((sizes > max(floor, LEAST * float(sizes[0]))).sum())
