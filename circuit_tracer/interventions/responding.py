"""What may respond in the MLPs' place while their outputs are frozen, and a dictionary that does.

A graph's prediction has its own features respond linearly (`linear.py`). Between it and the model
stands the *replacement model run for real*: every feature is encoded again from what is read in
this very pass, activation function and all, and what has changed is added to the frozen outputs, so
that errors are constant. Measured minus this is the dictionary's doing; this minus the linear
prediction is curvature: features that start or stop firing.
Source: method.md section 13.

Shapes: B rows, T tokens, d model width, n numbers of a layer's response, F features of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.interventions.original import Original
from circuit_tracer.interventions.plan import Entries
from circuit_tracer.transcoders.dictionary import Dictionary


@runtime_checkable
class RespondingFeatures(Protocol):
    """Features that respond to what a pass reads."""

    @property
    def numbers_a_token(self) -> int:
        """How many numbers a pass keeps of them for each of its tokens."""

    def changes(
        self, layer: int, read: Float[Tensor, "B T d"], before: Float[Tensor, "T d"]
    ) -> Float[Tensor, "B n"]:
        """By how much a layer's activations change where `before` was read and now `read` is."""

    def places(self, layer: int, entries: Entries) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"]]:
        """(row, column) in `changes` of the entries that are among these features."""

    def write(
        self, reading: int, layer: int, change: Float[Tensor, "B n"], out: Float[Tensor, "B T d"]
    ) -> None:
        """Add what changed features of one layer write to the MLP output of another."""


@dataclass(frozen=True)
class ReplacedFeatures:
    """All features of a dictionary, as the replacement model has them."""

    dictionary: Dictionary
    original: Original

    @property
    def numbers_a_token(self) -> int:
        """A layer's activations, of cross-layer features those of all layers."""
        counts = [layer.n_features for layer in self.dictionary.layers]
        return sum(counts) if self.dictionary.kind == "clt" else 3 * max(counts, default=0)

    def changes(
        self, layer: int, read: Float[Tensor, "B T d"], before: Float[Tensor, "T d"]
    ) -> Float[Tensor, "B n"]:
        """Activations now minus those of the original pass, position by position."""
        moved = self.dictionary.layers[layer].encode(read) - self.original.activations[layer]
        moved[:, : self.original.n_zeroed] = 0
        return moved.flatten(1)

    def places(self, layer: int, entries: Entries) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"]]:
        """Every feature is among them."""
        width = self.dictionary.layers[layer].n_features
        return entries.row, entries.position * width + entries.index

    def write(
        self, reading: int, layer: int, change: Float[Tensor, "B n"], out: Float[Tensor, "B T d"]
    ) -> None:
        """Through the decoder, position by position."""
        out += self.dictionary.layers[reading].write(change.unflatten(1, (out.shape[1], -1)), layer)
