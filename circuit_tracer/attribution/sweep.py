"""The explicit sweep: exact rows of the attribution matrix without autograd (method.md section 4).

The frozen network's Jacobian is known in closed form, so the cotangents of a batch of targets are
walked down the residual stream, layer by layer:

1. what the sources write at the layer's MLP is read off in one product (features, errors and the
   constant are columns of the same block; of neurons, which are all active, the down projection
   itself is the block);
2. an affine skip adds its pull to the residual stream before the MLP's norm;
3. targets that read at this layer's MLP join with their vectors;
4. attention is pulled back through its frozen pattern (before 3 where attention and MLP read the
   same stream);
5. targets that read what attention reads join (queries and keys).

At the bottom the embeddings are read off; on short prompts above the lowest attention already,
where each embedding's image is known beforehand. Targets are sorted by position and layer, so that
a batch's products stop at its last position (the causal cone) and start at its highest layer.

Shapes: B targets of a batch, b <= B of them on their way at a layer, P positions in the cone, T
tokens, d model width, F neurons of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.columns import SourceColumns
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sources import ListedSources, NeuronSources, Piece, Sources, widened
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.models.devices import as_numpy, on_device
from circuit_tracer.models.patterns import RecomputedPattern


@dataclass(frozen=True)
class SweepTargets:
    """What rows are wanted of: vectors at the residual stream.

    A target at level l < L reads the stream before layer l's MLP norm, or, with `at_attention`, the
    one before its attention; one at level L the stream before the final norm.
    """

    level: Int[Tensor, "n"]
    position: Int[Tensor, "n"]
    vector: Float[Tensor, "n d"]
    at_attention: bool = False
    """The same for all targets. Of no effect where attention and MLP read the same stream."""

    @property
    def height(self) -> Int[Tensor, "n"]:
        """Order from the bottom up: 2 l before layer l's attention, 2 l + 1 before its MLP."""
        return 2 * self.level + (0 if self.at_attention else 1)

    def __len__(self) -> int:
        return len(self.level)

    def take(self, chosen: Int[Tensor, "m"]) -> SweepTargets:
        """The targets with these indices."""
        return replace(
            self,
            level=self.level[chosen],
            position=self.position[chosen],
            vector=self.vector[chosen],
        )


@dataclass(frozen=True)
class Batch:
    """Targets that are swept together, and what the host has to know of them."""

    rows: NDArray[np.int64]
    """Which of the targets, the highest ones first."""
    chosen: Int[Tensor, "B"]
    """`rows` on the targets' device."""
    n_positions: int
    """P, positions in the cone of all."""
    heights: tuple[int, ...]
    """`SweepTargets.height` of each."""


class Sweep:
    """The frozen network laid out for row after row; made once per prompt."""

    def __init__(self, model: LocalReplacementModel, cotangents: torch.dtype | None = None) -> None:
        """`cotangents` is the dtype in which they are walked down, by default the model's own."""
        self.columns = SourceColumns.of(model)
        model = model if cotangents is None else lowered(model, cotangents)
        self.model = model
        self.sources: Sources = (
            ListedSources(model, self.columns)
            if model.has_errors
            else NeuronSources(model, self.columns)
        )
        T, d = model.embeddings.shape
        self._image: Tensor | None = None
        """What the embeddings are after the lowest attention: it need not be pulled back through
        then, because only embeddings lie below it."""
        self._beneath = model.beneath
        if T * T * d <= LARGEST_IMAGE and not model.parallel:
            attention = model.layers[0].attention
            self._image = attention.push(model.embeddings)
            if model.beneath is not None:
                self._beneath = attention.push(model.beneath).sum(0)

    @torch.no_grad()
    def walk(
        self,
        targets: SweepTargets,
        batch: Batch,
        on_piece: Callable[[Piece], None],
        *,
        through: bool = False,
        on_attention: Callable[[int, Tensor], None] | None = None,
    ) -> Float[Tensor, "B"]:
        """Rows of a batch in one walk down; pieces come from the highest column.

        `on_attention` hears of every layer what has arrived after its attention (b, P, d).

        Returns what arrives at each target from no node (without the target's own bias). A walk
        `through` the features goes on below them: pieces are then total effects along all paths
        (totals.py), and the constant has the biases of the features on the way. Nothing is read
        from the device, so that it never waits for the host.
        """
        model, heights = self.model, batch.heights
        position, vector = targets.position[batch.chosen], targets.vector[batch.chosen]
        B, P = len(heights), batch.n_positions
        cotangent = model.embeddings.new_zeros(B, P, vector.shape[1])
        cotangent[torch.arange(B, device=vector.device), position] = vector.to(cotangent.dtype)
        constant = vector.new_zeros(B)
        worth = self.sources.start(B, P)
        # Highest ones come first, so the targets on their way at any layer are the first rows.
        joined = 0

        def join(height: int) -> None:
            nonlocal joined
            while joined < B and heights[joined] >= height:
                joined += 1

        join(2 * model.n_layers)
        for layer in range(min(heights[0] // 2, model.n_layers - 1), -1, -1):
            on_way = cotangent[:joined]
            carried: tuple[Tensor | None, ...] = ()
            if joined:
                read = self.sources.read(layer, on_way, worth, on_piece, through=through)
                constant[:joined] += read.constant
                carried = model.layers[layer].pull_skip(on_way, slice(P)), read.pulled
            if model.parallel:
                self._pull_attention(layer, on_way, constant, on_attention)
                add_in_place(on_way, *carried)
            else:
                add_in_place(on_way, *carried)
                join(2 * layer + 1)
                self._pull_attention(layer, cotangent[:joined], constant, on_attention)
            pulled = joined
            join(2 * layer)
        constant += self._read_bottom(cotangent, pulled, on_piece)
        return constant

    def _pull_attention(
        self,
        layer: int,
        cotangent: Tensor,
        constant: Tensor,
        hear: Callable[[int, Tensor], None] | None,
    ) -> None:
        attention, (b, P, _) = self.model.layers[layer].attention, cotangent.shape
        if not b:
            return
        if hear is not None:
            hear(layer, cotangent)
        if attention.constant is not None:
            constant[:b] += torch.einsum("bpd,pd->b", cotangent, attention.constant[:P])
        if layer > 0 or self._image is None:
            attention.pull(cotangent)

    def _read_bottom(
        self, cotangent: Tensor, pulled: int, on_piece: Callable[[Piece], None]
    ) -> Tensor:
        """Embeddings, and the constant from what else is at the bottom.

        The first `pulled` cotangents come from above the lowest attention, the others do not.
        """
        B, P, _ = cotangent.shape
        model, beneath = self.model, self._beneath
        if self._image is None:
            pulled = 0  # through attention like all others by now
        parts = [torch.einsum("bpd,pd->bp", cotangent[pulled:], model.embeddings[:P])]
        if self._image is not None and pulled:
            image = self._image[:P, :P].reshape(P, -1)
            parts.insert(0, cotangent[:pulled].reshape(pulled, -1) @ image.T)
        on_piece(Piece(NodeKind.EMBEDDING, 0, widened(torch.cat(parts))))
        if beneath is None or model.beneath is None:
            return cotangent.new_zeros(B)
        above = torch.einsum("bpd,pd->b", cotangent[:pulled], beneath[:P])
        below = torch.einsum("bpd,pd->b", cotangent[pulled:], model.beneath[:P])
        return torch.cat([above, below])


def lowered(model: LocalReplacementModel, dtype: torch.dtype) -> LocalReplacementModel:
    """All that cotangents meet in another dtype; features and dictionary stay as they are."""
    return replace(
        model,
        layers=tuple(_cast(layer, dtype) for layer in model.layers),
        embeddings=model.embeddings.to(dtype),
        beneath=None if model.beneath is None else model.beneath.to(dtype),
        final=_cast(model.final, dtype),
    )


def _cast(thing: Any, dtype: torch.dtype) -> Any:
    """Tensors in a dataclass, and in those it holds."""
    if isinstance(thing, Tensor):
        return thing.to(dtype)
    if isinstance(thing, RecomputedPattern):  # rounded scores would be exponentiated
        return replace(thing, dtype=dtype)
    if not is_dataclass(thing) or isinstance(thing, type):
        return thing
    return replace(thing, **{f.name: _cast(getattr(thing, f.name), dtype) for f in fields(thing)})


def batches(targets: SweepTargets, size: int) -> list[Batch]:
    """Targets by position, then by height: neighbours share a cone and a starting layer.

    Within a batch the highest ones come first. The device is read here once, for all batches.
    """
    height, position = as_numpy(torch.stack([targets.height, targets.position]))
    order = np.lexsort((height, position))
    found = []
    for start in range(0, len(order), size):
        some = order[start : start + size]
        some = some[np.argsort(-height[some], kind="stable")]
        found.append(
            Batch(
                rows=some,
                chosen=on_device(some, targets.vector.device),
                n_positions=int(position[some].max()) + 1,
                heights=tuple(height[some].tolist()),
            )
        )
    return found


def batch_bytes(model: LocalReplacementModel, n_rows: int) -> int:
    """Bytes of the cotangents of so many rows, and what is made of them on the way."""
    return 5 * n_rows * model.embeddings.numel() * model.embeddings.element_size()


def at_once(model: LocalReplacementModel, n_rows: int, size: int) -> int:
    """How many batches of `size` rows are walked side by side on a CPU, a thread each.

    One where they are few: the longest would be waited for, and torch shares its products out as
    well. One where they are small: Python between the products is most of the work. And as many as
    stay within some memory, where they are large.
    """
    threads = torch.get_num_threads() if model.embeddings.device.type == "cpu" else 1
    each = batch_bytes(model, size)
    if n_rows < FEW_BATCHES * threads * size or each < LEAST_BESIDE:
        return 1
    return max(1, min(threads, MOST_BESIDE // each))


def add_in_place(cotangent: Tensor, *pulled: Tensor | None) -> None:
    """Add what a skip and features carry down, where there is something."""
    for part in pulled:
        if part is not None:
            cotangent += part


FEW_BATCHES = 4
"""For each thread."""
LEAST_BESIDE, MOST_BESIDE = 1 << 23, 1 << 28
"""Bytes of a batch that is walked beside others, and of all of them."""
LARGEST_IMAGE = 1 << 22
"""Numbers of the embeddings' image after the lowest attention that are worth keeping."""
