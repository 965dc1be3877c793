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
        columns = (self.layer, self.position, self.index, self.activation)
        return Places(*(column[which] for column in columns))


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
    def listed(cls, activations: list[Float[Tensor, "T F"]]) -> ActiveFeatures:
        """All that is not zero, by layer."""
        places = [acts.nonzero() for acts in activations]  # rows (position, index), sorted
        layers = [torch.full_like(at[:, 0], layer) for layer, at in enumerate(places)]
        values = [acts[at[:, 0], at[:, 1]] for acts, at in zip(activations, places, strict=True)]
        position, index = torch.cat(places).T
        return cls(
            layer=torch.cat(layers),
            position=position.contiguous(),
            index=index.contiguous(),
            activation=torch.cat(values),
            layer_start=tuple(accumulate(map(len, places), initial=0)),
        )


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
