"""From the pieces of a batch of rows to its kept edges and exact sums of all of them.

An edge is kept if it carries at least a share `least` of its row; `least` is the floor on an edge's
influence on the targets over the influence of the row's node, so that rows that matter keep more.
All edges of a graph then number at most (sum of its nodes' influences) / floor. Rows of the neuron
basis can have millions of columns; of those every piece is looked at once: what lies above the
share of the row's sum so far stays as a candidate, and the whole sum decides at the end.

Sums are taken in float64 where the device has it, in long pieces in the dtype of the rows (torch
adds pairwise: an error of some 1e-7 of the absolute sum in float32).

Shapes: B targets of a batch, b <= B of them in a piece, C columns, m edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.sources import Piece
from circuit_tracer.graphs.graph import DROPPED_OF, Floats, NodeKind
from circuit_tracer.models.devices import as_floats, as_numpy, true_places, widest

WHOLE_BATCH = 1 << 23
"""Numbers of a batch's rows that are put side by side (32 MB in float32)."""


@dataclass(frozen=True)
class CollectedRows:
    """A batch's kept edges and the sums of its rows, in the order the pieces had them."""

    row: NDArray[np.int64]
    """(m,) ascending."""
    column: NDArray[np.int64]
    """(m,) ascending within a row."""
    weight: NDArray[Any]
    received: Floats
    """(B,) sum of all edges, kept or not."""
    gross: Floats
    """(B,) sum of their absolute values."""
    dropped: Floats
    """(B,) sum of those not kept."""
    dropped_of: dict[NodeKind, Floats]
    """(B,) absolute sum of those not kept, by kind of source."""


class WholeRows:
    """Collects pieces side by side; for batches that fit."""

    def __init__(self, least: Float[Tensor, "B"]) -> None:
        self.least = least
        self.pieces: list[Piece] = []

    def take(self, piece: Piece) -> None:
        """Keep a piece."""
        self.pieces.append(piece)

    def result(self) -> CollectedRows:
        """Choose, and add up the rest."""
        n_rows = len(self.least)
        pieces = self.pieces[::-1]  # they come from the highest column down
        weight = torch.cat([_padded(piece.weight, n_rows) for piece in pieces], dim=1)
        column = np.concatenate(
            [np.arange(p.first, p.first + p.weight.shape[1], dtype=np.int64) for p in pieces]
        )
        size, wide = weight.abs(), widest(weight.device)
        gross = size.sum(1, dtype=wide)
        kept = size > 0
        dropped, dropped_of = np.zeros(n_rows), {k: np.zeros(n_rows) for k in DROPPED_OF}
        if bool(self.least.any()):
            left = kept & (size < (self.least * gross).to(size.dtype)[:, None])
            kept &= ~left
            dropped = as_floats(torch.where(left, weight, 0).sum(1, dtype=wide))
            size[kept] = 0
            start = 0
            for piece in pieces:
                part = size[:, start : start + piece.weight.shape[1]]
                dropped_of[piece.kind] += as_floats(part.sum(1, dtype=wide))
                start += part.shape[1]
        row, place = true_places(kept)
        return CollectedRows(
            row=as_numpy(row),
            column=column[as_numpy(place)],
            weight=as_numpy(weight[row, place]),
            received=as_floats(weight.sum(1, dtype=wide)),
            gross=as_floats(gross),
            dropped=dropped,
            dropped_of=dropped_of,
        )


class LongRows:
    """Looks at each piece once and keeps candidates."""

    def __init__(self, least: Float[Tensor, "B"]) -> None:
        self.least = least
        self.received = torch.zeros_like(least)
        self.gross = {k: torch.zeros_like(least) for k in DROPPED_OF}
        self.candidates: list[tuple[NodeKind, Tensor, Tensor, Tensor]] = []

    def take(self, piece: Piece) -> None:
        """Add a piece up and keep what carries enough of the sum so far."""
        b, size = len(piece.weight), piece.weight.abs()
        self.received[:b] += piece.weight.sum(1)
        self.gross[piece.kind][:b] += size.sum(1)
        cut = (self.least * sum(self.gross.values())).to(size.dtype)
        cut = cut.clamp_min(torch.finfo(size.dtype).tiny)  # zeros are no edges
        row, place = true_places(size >= cut[:b, None])
        self.candidates.append((piece.kind, row, place + piece.first, piece.weight[row, place]))

    def result(self) -> CollectedRows:
        """Choose among the candidates; all else is in the sums."""
        gross = torch.stack(list(self.gross.values())).sum(0)
        cut = (self.least * gross).to(self.candidates[0][3].dtype)
        left = {k: as_floats(sums).copy() for k, sums in self.gross.items()}
        found, n = [], len(self.least)
        for kind, at, source, size in self.candidates:
            stays = size.abs() >= cut[at]
            parts = as_numpy(at[stays]), as_numpy(source[stays]), as_numpy(size[stays])
            left[kind] -= np.bincount(parts[0], weights=np.abs(parts[2]), minlength=n)
            found.append(parts)
        row, column, weight = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((column, row))
        row, column, weight = row[order], column[order], weight[order]
        received = as_floats(self.received)
        kept = np.bincount(row, weights=weight.astype(np.float64), minlength=n)
        return CollectedRows(
            row=row,
            column=column,
            weight=weight,
            received=received,
            gross=as_floats(gross),
            dropped=received - kept,
            dropped_of={k: np.maximum(sums, 0) for k, sums in left.items()},
        )


def collector(least: Float[Tensor, "B"], n_columns: int) -> WholeRows | LongRows:
    """The one that suits the size of a batch; `least` in the widest dtype."""
    whole = len(least) * n_columns <= WHOLE_BATCH
    return WholeRows(least) if whole else LongRows(least)


def _padded(weight: Float[Tensor, "b C"], n_rows: int) -> Float[Tensor, "B C"]:
    missing = n_rows - len(weight)
    return torch.nn.functional.pad(weight, (0, 0, 0, missing)) if missing else weight
