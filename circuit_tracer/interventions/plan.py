"""Many interventions as columns of tensors, so that one pass can carry them all out.

Shapes: B rows (one intervention each), n entries (a feature at a position of a row).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.spec import Change, Intervention, check_intervention
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons


@dataclass(frozen=True)
class Entries:
    """Features of one layer that are changed; `position` is -1 for every position."""

    row: Int[Tensor, "n"]
    position: Int[Tensor, "n"]
    index: Int[Tensor, "n"]
    amount: Float[Tensor, "n"]
    is_multiple: Bool[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def of(cls, found: list[tuple[int, Change]], like: Tensor) -> Entries:
        """From (row, change) pairs, on the device and in the dtype of `like`."""

        places = [
            (row, -1 if change.position is None else change.position, change.feature)
            for row, change in found
        ]
        strengths = [change.strength for _, change in found]
        row, position, index = torch.tensor(places, dtype=torch.long, device=like.device).T
        amounts = [strength.amount for strength in strengths]
        multiples = [strength.is_multiple for strength in strengths]
        return cls(
            row=row,
            position=position,
            index=index,
            amount=torch.tensor(amounts, dtype=like.dtype, device=like.device),
            is_multiple=torch.tensor(multiples, dtype=torch.bool, device=like.device),
        )

    def between(self, start: int, end: int) -> Entries:
        """The entries at positions from `start` up to `end`, every position spelt out."""
        everywhere = self.position < 0
        positions = torch.arange(start, end, device=self.position.device)
        one = ~everywhere & (self.position >= start) & (self.position < end)
        alone, spread = one.nonzero().squeeze(1), everywhere.nonzero().squeeze(1)
        source = torch.cat([alone, spread.repeat_interleave(len(positions))])
        position = torch.cat([self.position[alone], positions.repeat(len(spread))])
        return Entries(
            self.row[source],
            position,
            self.index[source],
            self.amount[source],
            self.is_multiple[source],
        )


@dataclass(frozen=True)
class Plan:
    """A batch of interventions, sorted by what they take hold of."""

    n_rows: int
    features: dict[int, Entries]
    """By reading layer."""
    errors: dict[int, list[tuple[int, int, float]]]
    """By layer: row, position and multiple."""
    embeddings: list[tuple[int, int, float]]
    """Row, position and multiple."""

    @classmethod
    def of(cls, interventions: Sequence[Intervention], like: Tensor) -> Plan:
        """From interventions, one a row."""
        features: dict[int, list[tuple[int, Change]]] = {}
        errors: dict[int, list[tuple[int, int, float]]] = {}
        embeddings = []
        for row, changes in enumerate(interventions):
            for change in changes:
                if change.kind == NodeKind.FEATURE:
                    features.setdefault(change.layer, []).append((row, change))
                    continue
                entry = (row, change.position or 0, change.strength.amount)
                if change.kind == NodeKind.ERROR:
                    errors.setdefault(change.layer, []).append(entry)
                else:
                    embeddings.append(entry)
        entries = {layer: Entries.of(found, like) for layer, found in features.items()}
        return cls(len(interventions), entries, errors, embeddings)


def check_places(
    interventions: Sequence[Intervention],
    dictionary: AnyDictionary,
    *,
    n_tokens: int,
    n_zeroed: int,
) -> None:
    """Raise UsageError for layers, features and positions that are not there.

    `n_tokens` counts those still to be generated.
    """
    for changes in interventions:
        check_intervention(changes)
        for change in changes:
            check_node(change, dictionary)
            at = change.position
            if at is not None and not 0 <= at < n_tokens:
                raise UsageError(
                    f"{change.name}: there are positions 0 to {n_tokens - 1}; choose one of them"
                )
            if at is not None and at < n_zeroed and change.kind != NodeKind.EMBEDDING:
                raise UsageError(
                    f"{change.name}: the first {n_zeroed} position(s) carry no features and no "
                    f"errors here; choose a position from {n_zeroed} on"
                )


def check_node(change: Change, dictionary: AnyDictionary) -> None:
    """Raise UsageError for a layer or a feature that the dictionary does not have."""
    if change.kind == NodeKind.EMBEDDING:
        return
    name, L = dictionary.identity.name, dictionary.n_layers
    if not 0 <= change.layer < L:
        raise UsageError(f"{change.name}: {name} has layers 0 to {L - 1}; choose one of them")
    if change.kind == NodeKind.ERROR:
        if isinstance(dictionary, Neurons):
            raise UsageError(f"{change.name}: neurons leave no error, so there is none to change")
        return
    count = dictionary.layers[change.layer].n_features
    if not count and isinstance(dictionary, Dictionary):
        raise UsageError(
            f"{change.name}: {name} has features after {dictionary.named_layers} alone; choose one "
            "of them"
        )
    if not 0 <= change.feature < count:
        raise UsageError(
            f"{change.name}: layer {change.layer} of {name} has features 0 to {count - 1}; "
            "choose one of them"
        )
