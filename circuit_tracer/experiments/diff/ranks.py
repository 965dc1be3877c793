"""How many directions a changed weight matrix moved in, above what rounding alone would make.

Weights are stored rounded: the change of a matrix by a product of low rank has full rank once it is
rounded to bfloat16. Rounding moves each weight by up to half the distance u to its neighbour, an
error of variance u^2 / 12. A matrix of independent errors has no singular value above about the
root of the largest sum of variances in a row plus that in a column (Bandeira and van Handel 2016);
what lies below counts as none. Rows and columns differ: those of large weights are rounded most.
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
    variance = distance.square() / 12
    floor = SLACK * sum(math.sqrt(float(variance.sum(along).max())) for along in (0, 1))
    return int((sizes > max(floor, LEAST * float(sizes[0]))).sum())
