"""The features that fire on a prompt, numbered by layer, position and index.

A transcoder's are few and listed one by one. Of the neuron basis every neuron at every position
is one (94 million for 2,048 tokens of a 135M-parameter model), so their numbers are arithmetic.

Shapes: T tokens, L layers, N features, F features of a layer, n features asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Some features: where they fire, which they are and how strongly."""

    layer: Int[Tensor, "n"]
    position: Int[Tensor, "n"]
    index: Int[Tensor, "n"]
    activation: Float[Tensor, "n"]

    def take(self, which: Int[Tensor, "m"] | slice) -> Places:
        """Some of them."""
        return Places(*(column[which] for column in self.columns))

    @property
    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Layers, positions, indices and activations."""
        return self.layer, self.position, self.index, self.activation

    @classmethod
    def nonzero(cls, layer: int, activations: Float[Tensor, "T F"]) -> Places:
        """A layer's, sorted by position and index."""
        position, index = activations.nonzero().T.contiguous()
        return cls(torch.full_like(index, layer), position, index, activations[position, index])


@dataclass(frozen=True)
class ActiveFeatures(Places):
    """Features listed one by one, sorted by layer, position, index."""

    layer_start: tuple[int, ...]
    """Number of the first feature of each layer, and N at the end."""

    def __len__(self) -> int:
        return len(self.layer)

    def at(self, numbers: Int[Tensor, "n"]) -> Places:
        """The features with these numbers."""
        return self.take(numbers)

    def until(self, layer: int) -> ActiveFeatures:
        """Those that read at this layer or a lower one."""
        n = self.layer_start[layer + 1]
        return ActiveFeatures(
            self.layer[:n],
            self.position[:n],
            self.index[:n],
            self.activation[:n],
            self.layer_start[: layer + 2],
        )

    @classmethod
    def joined(cls, layers: list[Places]) -> ActiveFeatures:
        """Those of every layer in turn."""
        starts = tuple(accumulate((len(one.layer) for one in layers), initial=0))
        columns = zip(*(one.columns for one in layers), strict=True)
        layer, position, index, activation = map(torch.cat, columns)
        return cls(layer, position, index, activation, starts)


@dataclass(frozen=True)
class EveryNeuron:
    """All neurons of all layers at all positions but the zeroed ones."""

    activations: tuple[Float[Tensor, "T F"], ...]
    n_zeroed: int
    layer_start: tuple[int, ...]
    """Number of the first neuron of each layer, and N at the end."""

    def __len__(self) -> int:
        return self.layer_start[-1]

    def at(self, numbers: Int[Tensor, "n"]) -> Places:
        """The neurons with these numbers."""
        starts = torch.tensor(self.layer_start, device=numbers.device)
        layer = torch.searchsorted(starts, numbers, right=True) - 1
        widths = torch.tensor([a.shape[1] for a in self.activations], device=numbers.device)
        within, width = numbers - starts[layer], widths[layer]
        position, index = within // width + self.n_zeroed, within % width
        activation = self.activations[0].new_empty(len(numbers))
        for i, acts in enumerate(self.activations):
            here = layer == i
            activation[here] = acts[position[here], index[here]]
        return Places(layer, position, index, activation)

    def until(self, layer: int) -> EveryNeuron:
        """Those of this layer and the lower ones."""
        start = self.layer_start[: layer + 2]
        return EveryNeuron(self.activations[: layer + 1], self.n_zeroed, start)

    @classmethod
    def of(cls, activations: list[Float[Tensor, "T F"]], n_zeroed: int) -> EveryNeuron:
        """Number them."""
        counts = ((acts.shape[0] - n_zeroed) * acts.shape[1] for acts in activations)
        return cls(tuple(activations), n_zeroed, tuple(accumulate(counts, initial=0)))


Features = ActiveFeatures | EveryNeuron
