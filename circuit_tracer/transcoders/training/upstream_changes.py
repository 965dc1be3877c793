"""What every layer reads when features of earlier layers are changed: a second pass of the model.

`SHARE` of the active features of every token, drawn at random, act more or less strongly by the
share `CHANGED` of their activation, added where the dictionary writes; the model runs on from
there, attention, norms and MLPs responding. Minus what was read without the change, this is what a
later layer sees of an intervention: directions of the Jacobian term (`jacobian.py`).

Shapes: L layers, R rows, T positions, d model width, n changed features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.models import Model
from circuit_tracer.models.parts import Place, ReadPoint, WritePoint
from circuit_tracer.transcoders.dictionary import LayerTranscoder
from circuit_tracer.transcoders.rows import Rows

CHANGED = 0.3
SHARE = 0.25


@torch.no_grad()
def read_when_changed(
    model: Model,
    rows: Rows,
    features: Sequence[LayerTranscoder],
    reads: ReadPoint,
    writes: WritePoint,
    generator: torch.Generator,
) -> Float[Tensor, "L R T d"]:
    """What a dictionary reads at all layers of the changed pass; `features` are in the model's
    units. BOS carries no features and padding comes after all that counts."""
    run = _ChangedPass(model, features, reads, writes, generator, rows.first)
    model.edited(
        rows.token_ids, run, positions=torch.zeros(1, dtype=torch.long, device=model.device)
    )
    return torch.stack(run.read)


class _Changes(NamedTuple):
    """Changes of a layer's activations, few of them."""

    row: Int[Tensor, "n"]
    position: Int[Tensor, "n"]
    feature: Int[Tensor, "n"]
    amount: Float[Tensor, "n"]


class _ChangedPass:
    """The pass's edits (`models.capture.Edits`)."""

    def __init__(
        self,
        model: Model,
        features: Sequence[LayerTranscoder],
        reads: ReadPoint,
        writes: WritePoint,
        generator: torch.Generator,
        first: int,
    ) -> None:
        self.wiring, self.features, self.reads = model.wiring, features, reads
        self.generator, self.first = generator, first
        post_norm = self.wiring.paths.mlp_post_norm is not None and writes == "hook_mlp_out"
        self.write_place: Place = "mlp_post_norm" if post_norm else "mlp"
        self.mid: Tensor | None = None
        self.read: list[Tensor] = []
        self.changes: list[_Changes] = []
        """By reading layer so far."""

    def wants(self, place: Place, layer: int) -> bool:
        """Where something is read or written."""
        return place in ("mlp_norm", "mlp", self.write_place)

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """One module's output."""
        if place == "mlp_norm":
            self.mid = seen
            return given
        if place == "mlp":
            mid = seen if self.mid is None else self.mid
            assert self.reads != "hook_resid_post"
            read = self.wiring.read(self.reads, layer, mid, seen)
            self.read.append(read)
            self.changes.append(self._drawn(layer, read))
        if place != self.write_place:
            return given
        out = given.clone()
        for reading, (row, position, feature, change) in enumerate(self.changes):
            if layer < reading + self.features[reading].n_written:
                rows = change[:, None] * self.features[reading].decoder_rows(feature, layer)
                out.index_put_((row, position), rows.to(out.dtype), accumulate=True)
        return out

    def _drawn(self, layer: int, read: Tensor) -> _Changes:
        """Some of one layer's active features, and by how much their activations change."""
        acts = self.features[layer].encode(read.float())
        row, position, feature = acts.nonzero(as_tuple=True)
        lot = torch.rand(len(row), generator=self.generator, device="cpu").to(acts.device)
        some = ((lot < SHARE) & (position >= self.first)).nonzero().squeeze(1)
        signs = torch.where(lot[some] < SHARE / 2, CHANGED, -CHANGED)
        row, position, feature = row[some], position[some], feature[some]
        return _Changes(row, position, feature, signs * acts[row, position, feature])
