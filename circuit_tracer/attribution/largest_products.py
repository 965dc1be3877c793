"""The largest products between two sets of vectors, without making all of them.

|a . b| <= |a| |b|, so with both sets sorted by norm a block of rows needs no more of the other set
than the vectors whose norm could still beat the weakest of the best found so far. The result is
exact.

Shapes: n and m vectors of width h.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROWS = 256
LARGEST_BLOCK = 1 << 22
"""Products made at a time."""


@dataclass(frozen=True)
class Products:
    """Some products, strongest first."""

    row: Int[Tensor, "k"]
    column: Int[Tensor, "k"]
    value: Float[Tensor, "k"]


@dataclass(frozen=True)
class SignedProducts:
    """The largest products of either sign."""

    positive: Products
    negative: Products
    weakest: float
    """No product that is not among them is larger by absolute value than the weakest of its sign,
    and this is the weaker of the two; 0 where one sign has fewer than were asked for."""


def strongest_products(
    a: Float[Tensor, "n h"], b: Float[Tensor, "m h"], count: int
) -> SignedProducts:
    """The `count` largest positive and the `count` largest negative products a_i . b_j."""
    a_norm, a_order = a.norm(dim=1).sort(descending=True, stable=True)
    b_norm, b_order = b.norm(dim=1).sort(descending=True, stable=True)
    a, b = a[a_order], b[b_order]
    above, below = _Best(a, count), _Best(a, count)
    width = max(1, LARGEST_BLOCK // ROWS)
    for first in range(0, len(a), ROWS):
        rows = a[first : first + ROWS]
        for start in range(0, len(b), width):
            bound = float(a_norm[first] * b_norm[start])
            if bound <= 0 or bound < min(above.weakest, below.weakest):
                break  # all that follow in b are shorter still
            products = rows @ b[start : start + width].T
            above.take(products, first, start)
            below.take(-products, first, start)
    return SignedProducts(
        positive=above.products(a_order, b_order, 1),
        negative=below.products(a_order, b_order, -1),
        weakest=min(above.weakest, below.weakest),
    )


class _Best:
    """The largest positive values seen."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.count = count
        self.value = like.new_zeros(0)
        self.row = self.column = torch.zeros(0, dtype=torch.long, device=like.device)

    @property
    def weakest(self) -> float:
        """What a further one must beat."""
        return float(self.value[-1]) if len(self.value) == self.count else 0.0

    def take(self, products: Float[Tensor, "r w"], first: int, start: int) -> None:
        flat = products.reshape(-1)
        best = flat.topk(min(self.count, len(flat)))
        there = best.values > 0
        at = best.indices[there]
        value = torch.cat([self.value, best.values[there]])
        row = torch.cat([self.row, at // products.shape[1] + first])
        column = torch.cat([self.column, at % products.shape[1] + start])
        order = value.argsort(descending=True, stable=True)[: self.count]
        self.value, self.row, self.column = value[order], row[order], column[order]

    def products(self, rows: Tensor, columns: Tensor, sign: int) -> Products:
        return Products(rows[self.row], columns[self.column], sign * self.value)
