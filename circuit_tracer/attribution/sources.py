"""What the nodes write to the residual stream, laid out to be read off cotangents.

Shapes: b cotangents, P positions in the cone, T tokens, d model width, S slots of a position, F
neurons of a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.columns import SourceColumns
from circuit_tracer.attribution.features import ActiveFeatures, EveryNeuron
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.transcoders.neurons import NeuronLayer, Neurons


@dataclass(frozen=True)
class Piece:
    """A part of a batch's rows: neighbouring columns of one kind."""

    kind: NodeKind
    first: int
    """Column of the first weight; the others follow."""
    weight: Float[Tensor, "b C"]
    """Edges into the first b targets of the batch; the others have none here."""


class Read(NamedTuple):
    """What one layer's reading leaves besides the pieces."""

    constant: Float[Tensor, "b"]
    """What comes from no node."""
    pulled: Float[Tensor, "b P d"] | None
    """What the features carry down to the residual stream before the MLP's norm; None in a walk
    that ends at them."""


OnPiece = Callable[[Piece], None]
LARGEST_PIECE = 1 << 21
"""Numbers of a piece of neurons: it is looked at several times, so it should stay in reach."""


class ListedSources:
    """Transcoder features: per position and layer, slots [features, error, constant].

    Slots are padded to equal counts, so that one batched product over positions reads them all.
    """

    def __init__(self, model: LocalReplacementModel, columns: SourceColumns) -> None:
        assert isinstance(model.features, ActiveFeatures)
        self.model, self.features, self.columns = model, model.features, columns
        self.n_zeroed = model.n_zeroed
        self.across = model.dictionary.kind == "clt"
        features, T, d = self.features, model.n_tokens, model.embeddings.shape[1]
        self._places, self.starts = [], [0]
        self._gather: list[Tensor] = []
        self._before: list[list[int]] = []
        """By layer and P: how many of its features lie in a cone of P positions."""
        for layer in range(model.n_layers):
            here = slice(features.layer_start[layer], features.layer_start[layer + 1])
            position = features.position[here]
            counts = torch.bincount(position, minlength=T)
            width = int(counts.max()) if len(position) else 0
            slot = torch.arange(len(position), device=position.device)
            slot = slot - (counts.cumsum(0) - counts)[position]
            self._places.append((here, position, slot))
            self._gather.append(position * (width + 2) + slot)
            self._before.append([0, *counts.cumsum(0).tolist()])
            self.starts.append(self.starts[-1] + width + 2)
        self.blocks = []
        for layer in range(model.n_layers):
            first, last = self.first_slot(layer), self.starts[layer + 1]
            block = model.embeddings.new_zeros(T, last - first, d)
            write = model.layers[layer].write
            for reading in range(layer + 1) if self.across else [layer]:
                here, position, slot = self._places[reading]
                transcoder = model.dictionary.layers[reading]
                rows = transcoder.decoder_rows(features.index[here], layer)
                rows = rows * features.activation[here, None]
                rows = rows if write is None else write.push(rows, position)
                block[position, slot + self.starts[reading] - first] = rows.to(block.dtype)
            error = model.layers[layer].error
            assert error is not None
            block[:, -2], block[:, -1] = error, model.layers[layer].constant
            self.blocks.append(block)

    def first_slot(self, layer: int) -> int:
        """First slot that writes at a layer: lower layers' features do in a cross-layer set."""
        return 0 if self.across else self.starts[layer]

    def start(self, n_rows: int, n_positions: int) -> Float[Tensor, "b P S"] | None:
        """What slots are worth to a batch so far: a cross-layer feature's worth grows until its own
        layer is reached. None where nothing is carried from layer to layer."""
        if not self.across:
            return None
        return self.blocks[0].new_zeros(n_rows, n_positions, self.starts[-1])

    def read(
        self,
        layer: int,
        cotangent: Float[Tensor, "b P d"],
        worth: Float[Tensor, "B P S"] | None,
        on_piece: OnPiece,
        *,
        through: bool = False,
    ) -> Read:
        """worth[b, p, slot] += cotangent[b, p] . what the slot writes at this layer.

        Hands out the weights of all nodes of the layer; `through` pulls the features' on to what
        they read.
        """
        b, P, _ = cotangent.shape
        block = self.blocks[layer][:P].transpose(1, 2)
        values = torch.bmm(cotangent.transpose(0, 1), block).transpose(0, 1)  # (b, P, slots)
        own = self.starts[layer] - self.first_slot(layer)
        if worth is not None:
            worth[:b, :, : self.starts[layer + 1]] += values
            values = worth[:b, :, : self.starts[layer + 1]]
        values = values[:, :, own:]
        columns, zeroed = self.columns, self.n_zeroed
        if zeroed < P:
            errors = values[:, zeroed:, -2]
            on_piece(Piece(NodeKind.ERROR, columns.first_error(layer), widened(errors)))
        features = values.reshape(b, -1)[:, self.gather(layer, P)]
        on_piece(Piece(NodeKind.FEATURE, columns.first_feature(layer), widened(features)))
        constant: Tensor = values[:, :, -1].sum(1)
        if not through:
            return Read(constant, None)
        readers, biases = self._readers(layer, P)
        pulled = torch.bmm(values.transpose(0, 1), readers).transpose(0, 1)
        return Read(constant + features @ biases, pulled)

    def _readers(
        self, layer: int, n_positions: int
    ) -> tuple[Float[Tensor, "P slots d"], Float[Tensor, "n"]]:
        """What a layer's slots read of the residual stream, and the features' own biases, both per
        unit of activation: a slot's worth is its activation's cotangent times the activation.

        Laid out in every walk: kept for all layers they would take what the blocks take.
        """
        n, (here, position, slot) = self._before[layer][n_positions], self._places[layer]
        features = self.features.take(slice(here.start, here.start + n))
        vectors, biases = self.model.layer_rows(layer, features)
        like, width = self.blocks[layer], self.starts[layer + 1] - self.starts[layer]
        readers = like.new_zeros(n_positions, width, like.shape[-1])
        per_unit = vectors / features.activation[:, None]
        readers[position[:n], slot[:n]] = per_unit.to(like.dtype)
        return readers, (biases / features.activation).to(like.dtype)

    def gather(self, layer: int, n_positions: int) -> Int[Tensor, "n"]:
        """Where a layer's features inside the cone stand among its slots, in column order."""
        return self._gather[layer][: self._before[layer][n_positions]]


def widened(weight: Tensor) -> Tensor:
    """Edges are float32 at least, whatever the cotangents were."""
    return weight.float() if weight.dtype == torch.bfloat16 else weight


class NeuronSources:
    """All neurons of a layer: the down projection times their activations."""

    def __init__(self, model: LocalReplacementModel, columns: SourceColumns) -> None:
        neurons = model.dictionary
        assert isinstance(neurons, Neurons)
        self.model, self.columns = model, columns
        dtype = model.embeddings.dtype
        self.down = [t.weights.down.to(dtype) for t in neurons.layers]

    def start(self, n_rows: int, n_positions: int) -> None:
        """Nothing is carried from layer to layer."""

    def read(
        self,
        layer: int,
        cotangent: Float[Tensor, "b P d"],
        worth: Tensor | None,
        on_piece: OnPiece,
        *,
        through: bool = False,
    ) -> Read:
        """cotangent[b, p] . down[:, f] x activation[p, f], positions from the last to the first."""
        model, (b, P, d) = self.model, cotangent.shape
        frozen, features = model.layers[layer], model.features
        assert isinstance(features, EveryNeuron)
        activation = features.activations[layer]
        F, zeroed = activation.shape[1], model.n_zeroed
        step = max(1, LARGEST_PIECE // (b * F))
        constant = torch.einsum("bpd,pd->b", cotangent, frozen.constant[:P])
        pulled = torch.zeros_like(cotangent) if through else None
        for end in range(P, zeroed, -step):
            here = slice(max(zeroed, end - step), end)
            # As one product: of a slice in three dimensions torch would make many small ones.
            written = frozen.pull_write(cotangent[:, here], here).reshape(-1, d)
            weight = widened(written @ self.down[layer]).view(b, -1, F)
            if pulled is not None:
                pulled[:, here], biased = self._pull(layer, weight, here)
                constant += biased
            weight *= activation[here]
            first = self.columns.first_feature(layer) + (here.start - zeroed) * F
            on_piece(Piece(NodeKind.FEATURE, first, weight.view(b, -1)))
        return Read(constant, pulled)

    def _pull(
        self, layer: int, cotangent: Float[Tensor, "b n F"], here: slice
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b"]]:
        """Cotangents of activations as those of the residual stream, and what biases bring."""
        frozen, neurons = self.model.layers[layer], self.model.dictionary.layers[layer]
        assert isinstance(neurons, NeuronLayer)
        pulled, biased = neurons.pulled(cotangent, frozen.seen[here])
        if frozen.read.bias is not None:
            biased = biased + pulled.sum(1) @ frozen.read.bias
        return frozen.read.pull(pulled, here), biased


Sources = ListedSources | NeuronSources
"""All that is written, of one prompt."""
