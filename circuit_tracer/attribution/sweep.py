"""The explicit sweep: exact rows of the attribution matrix without autograd (method.md section 4).

The frozen network's Jacobian is known in closed form, so the cotangents of a batch of targets are
walked down the residual stream, layer by layer:

1. what the sources write at the layer's MLP is read off in one batched product (features, errors
   and the constant are columns of the same block);
2. an affine skip adds its pull to the residual stream in front of the MLP's norm;
3. targets that read at this layer join with their encoder vectors;
4. attention is pulled back through its frozen pattern.

At the bottom the embeddings are read off; on short prompts above the lowest attention already,
where each embedding's image is known beforehand. Targets are sorted by position and layer, so that
a batch's products stop at its last position (the causal cone) and start at its highest layer.

Shapes: B targets of a batch, P positions in the cone, T tokens, d model width, S source slots.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel


@dataclass(frozen=True)
class SweepTargets:
    """What rows are wanted of: vectors at the residual stream.

    A target at level l < L reads the stream in front of layer l's MLP norm; one at level L the
    stream in front of the final norm.
    """

    level: Int[Tensor, "n"]
    position: Int[Tensor, "n"]
    vector: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.level)


@dataclass(frozen=True)
class Rows:
    """A batch of rows. Source columns are embeddings, then per layer features and errors."""

    target: Int[Tensor, "B"]
    """Which of the `SweepTargets` each row belongs to."""
    column: Int[Tensor, "C"]
    """Source nodes inside the causal cone; all others are zero."""
    weight: Float[Tensor, "B C"]
    """Edges source -> target."""
    constant: Float[Tensor, "B"]
    """What arrives from no node (without the target's own bias)."""


class Sweep:
    """The frozen network laid out for row after row; made once per prompt."""

    def __init__(self, model: LocalReplacementModel) -> None:
        self.model = model
        self.n_columns, self._node, self._slot_range, self._blocks = _lay_out(model)
        T, d = model.embeddings.shape
        small = T * T * d <= LARGEST_IMAGE
        self._image = model.layers[0].attention.push(model.embeddings) if small else None
        """What the embeddings are behind the lowest attention: it need not be pulled back through
        then, because only embeddings lie below it."""

    def run(
        self,
        targets: SweepTargets,
        chosen: Int[Tensor, "n"],
        *,
        batch_size: int = 64,
        on_rows: Callable[[Rows], None],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Hand the rows of the chosen targets to `on_rows` in batches, in the sweep's own order."""
        order = chosen[_order(targets, chosen)]
        for start in range(0, len(order), batch_size):
            on_rows(self.batch(targets, order[start : start + batch_size]))
            if on_progress is not None:
                on_progress(min(start + batch_size, len(order)), len(order))

    @torch.no_grad()
    def batch(self, targets: SweepTargets, chosen: Int[Tensor, "B"]) -> Rows:
        """Rows of the chosen targets in one walk down."""
        model = self.model
        levels, order = torch.sort(targets.level[chosen], descending=True, stable=True)
        chosen = chosen[order]
        position, vector = targets.position[chosen], targets.vector[chosen]
        B, P = len(chosen), int(position.max()) + 1
        cotangent = vector.new_zeros(B, P, vector.shape[1])
        cotangent[torch.arange(B, device=vector.device), position] = vector
        values = vector.new_zeros(B, P, self._node.shape[1])
        constant = vector.new_zeros(B)
        # Highest levels come first, so the targets on their way at any layer are the first rows.
        level_list: list[int] = levels.tolist()  # the device is read here once, not per layer
        joined = 0
        for layer in range(level_list[0], -1, -1):
            if joined:
                self._read_sources(layer, cotangent[:joined], values[:joined])
                self._pull_skip(layer, cotangent[:joined])
            while joined < B and level_list[joined] >= layer:
                joined += 1
            if layer < model.n_layers:
                attention = model.layers[layer].attention
                if attention.constant is not None:
                    constant[:joined] += torch.einsum(
                        "bpd,pd->b", cotangent[:joined], attention.constant[:P]
                    )
                if layer > 0 or self._image is None:
                    attention.pull(cotangent[:joined])
        return self._gather(chosen, cotangent, values, constant)

    def _read_sources(self, layer: int, cotangent: Tensor, values: Tensor) -> None:
        """values[b, p, slot] += cotangent[b, p] . what the slot writes at this layer's MLP."""
        P = cotangent.shape[1]
        first, last = self._slot_range[layer]
        block = self._blocks[layer][:P].transpose(1, 2)
        values[:, :, first:last] += torch.bmm(cotangent.transpose(0, 1), block).transpose(0, 1)

    def _pull_skip(self, layer: int, cotangent: Tensor) -> None:
        frozen, start = self.model.layers[layer], self.model.n_zeroed
        P = cotangent.shape[1]
        if frozen.skip is None or start >= P:
            return
        pulled = cotangent[:, start:] @ frozen.skip
        cotangent[:, start:] += pulled * frozen.read_gain[start:P]

    def _gather(self, chosen: Tensor, cotangent: Tensor, values: Tensor, constant: Tensor) -> Rows:
        """From padded slots to source columns; constants are summed."""
        B, P, S = values.shape
        node = self._node[:P].reshape(-1)
        flat = values.view(B, P * S)
        if self._image is None:
            embedded = torch.einsum("bpd,pd->bp", cotangent, self.model.embeddings[:P])
        else:
            embedded = cotangent.view(B, -1) @ self._image[:P, :P].reshape(P, -1).T
        is_node = (node >= 0).nonzero().squeeze(1)
        is_constant = (node == CONSTANT).nonzero().squeeze(1)
        return Rows(
            target=chosen,
            column=torch.cat([torch.arange(P, device=node.device), node[is_node]]),
            weight=torch.cat([embedded, flat[:, is_node]], dim=1),
            constant=constant + flat[:, is_constant].sum(1),
        )


LARGEST_IMAGE = 1 << 22
"""Numbers of the embeddings' image behind the lowest attention that are worth holding."""
CONSTANT = -2
PADDING = -1


def _order(targets: SweepTargets, chosen: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Targets by position, then by level: neighbours share a cone and a starting layer."""
    key = targets.position * (int(targets.level.max()) + 1) + targets.level
    return torch.argsort(key[chosen], stable=True)


def _lay_out(
    model: LocalReplacementModel,
) -> tuple[int, Tensor, list[tuple[int, int]], list[Tensor]]:
    """Slots: per position, layer by layer, [features, error, constant], padded to equal counts.

    Returns the number of source columns; each slot's column (T, S), `PADDING` or `CONSTANT`; the
    slots written at each layer; and per layer the block (T, slots, d) of what they write there.
    """
    features, T, L = model.features, model.n_tokens, model.n_layers
    device = model.embeddings.device
    column = source_columns(model)
    nodes, starts, where = [], [0], []
    for layer in range(L):
        here = (features.layer == layer).nonzero().squeeze(1)
        position = features.position[here]
        counts = torch.bincount(position, minlength=T)
        width = int(counts.max()) if len(here) else 0
        slot = torch.arange(len(here), device=device) - (counts.cumsum(0) - counts)[position]
        node = torch.full((T, width + 2), PADDING, dtype=torch.long, device=device)
        node[position, slot] = column.feature[here]
        node[:, width] = column.error[layer]
        node[:, width + 1] = CONSTANT
        where.append((here, position, slot + starts[-1]))
        nodes.append(node)
        starts.append(starts[-1] + width + 2)
    across = model.dictionary.kind == "clt"
    blocks, ranges = [], []
    for layer in range(L):
        first, last = (0 if across else starts[layer]), starts[layer + 1]
        block = model.embeddings.new_zeros(T, last - first, model.embeddings.shape[1])
        for reading in range(layer + 1) if across else [layer]:
            here, position, slot = where[reading]
            transcoder = model.dictionary.layers[reading]
            decoder = transcoder.decoder_rows(features.index[here], layer)
            block[position, slot - first] = decoder * features.activation[here, None]
        block[:, last - first - 2] = model.layers[layer].error
        block[:, last - first - 1] = model.layers[layer].constant
        blocks.append(block)
        ranges.append((first, last))
    return column.count, torch.cat(nodes, dim=1), ranges, blocks


@dataclass(frozen=True)
class SourceColumns:
    """Column numbers of the source nodes: embeddings, then per layer its features and errors."""

    feature: Int[Tensor, "N"]
    error: Int[Tensor, "L T"]
    """`PADDING` at zeroed positions, which have no error node."""
    count: int


def source_columns(model: LocalReplacementModel) -> SourceColumns:
    """Number the source nodes in topological order."""
    features, T, L = model.features, model.n_tokens, model.n_layers
    n_errors = T - model.n_zeroed
    device = model.embeddings.device
    error = torch.full((L, T), PADDING, dtype=torch.long, device=device)
    for layer in range(L):
        before = int((features.layer <= layer).sum())
        start = T + before + layer * n_errors
        error[layer, model.n_zeroed :] = torch.arange(start, start + n_errors, device=device)
    number = torch.arange(len(features), device=device)
    return SourceColumns(
        feature=T + number + features.layer * n_errors,
        error=error,
        count=T + len(features) + L * n_errors,
    )
