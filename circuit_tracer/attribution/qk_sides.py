"""What one side of a head's score, a query or a key, is made of, source by source.

Shapes: h head width, n and m sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.qk_terms import KINDS

KIND_ROWS = np.array([2, 0, 1])
"""Number in `KINDS` of each `NodeKind` of a source."""
CONSTANT = -1
"""Stands for the constant among columns."""
MOST_NUMBERS = 1 << 25
"""Numbers of a side kept at a time; beyond them the weakest sources are only summed."""


@dataclass(frozen=True)
class Side:
    """What a query or key (or a difference of two keys) is made of."""

    columns: Int[Tensor, "n"]
    """Columns of the sources kept; `CONSTANT` comes last."""
    vectors: Float[Tensor, "n h"]
    by_kind: Float[Tensor, "4 h"]
    """Sums over all sources, kept or not."""
    left_out: float
    """Largest norm of a source that is not kept."""

    @property
    def largest(self) -> float:
        """Largest norm of a source that is kept."""
        return float(self.vectors.norm(dim=1).max())

    def minus(self, other: Side) -> Side:
        """The difference of two, source by source.

        A source that one of them keeps and the other may have left out is left out: only part of
        its difference is known.
        """
        columns = torch.cat([self.columns, other.columns])
        unique, place = columns.unique(return_inverse=True)  # ascending: the constant comes first
        vectors = self.vectors.new_zeros(len(unique), self.vectors.shape[1])
        vectors.index_add_(0, place, torch.cat([self.vectors, -other.vectors]))
        is_ours = torch.arange(len(columns), device=place.device) < len(self.columns)
        missing = torch.zeros(len(unique), device=place.device)
        for side, own in ((self, is_ours), (other, ~is_ours)):
            absent = torch.ones_like(missing)
            absent[place[own]] = 0
            missing += side.left_out * absent
        known = missing == 0
        partial = vectors[~known].norm(dim=1) + missing[~known]
        largest = float(partial.max()) if len(partial) else 0.0
        return Side(
            columns=torch.cat([unique[1:][known[1:]], unique[:1]]),
            vectors=torch.cat([vectors[1:][known[1:]], vectors[:1]]),
            by_kind=self.by_kind - other.by_kind,
            left_out=max(self.left_out + other.left_out, largest),
        )


class SideCollector:
    """Takes the columns of one side as the sweep hands them out."""

    def __init__(self, h: int, like: Tensor) -> None:
        self.by_kind = like.new_zeros(len(KINDS), h)
        self.most = max(1, MOST_NUMBERS // h)
        self.columns: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.count = 0
        self.left_out = 0.0

    def take(self, kind: NodeKind, first: int, vectors: Float[Tensor, "n h"]) -> None:
        """Sources of one kind, in neighbouring columns from `first` on."""
        self.by_kind[int(KIND_ROWS[kind])] += vectors.sum(0)
        there = vectors.any(1).nonzero().squeeze(1)
        self.columns.append(there + first)
        self.vectors.append(vectors[there])
        self.count += len(there)
        if self.count > 2 * self.most:
            self._keep_strongest()

    def side(self, constant: Float[Tensor, "h"]) -> Side:
        """All that was taken, with the constant."""
        self.by_kind[KINDS.index("constant")] = constant
        if self.count > self.most:
            self._keep_strongest()
        last = torch.tensor([CONSTANT], device=constant.device)
        return Side(
            columns=torch.cat([*self.columns, last]),
            vectors=torch.cat([*self.vectors, constant[None]]),
            by_kind=self.by_kind,
            left_out=self.left_out,
        )

    def _keep_strongest(self) -> None:
        columns, vectors = torch.cat(self.columns), torch.cat(self.vectors)
        norms = vectors.norm(dim=1)
        order = norms.argsort(descending=True, stable=True)
        kept = order[: self.most]
        self.left_out = max(self.left_out, float(norms[order[self.most]]))
        self.columns, self.vectors, self.count = [columns[kept]], [vectors[kept]], len(kept)
