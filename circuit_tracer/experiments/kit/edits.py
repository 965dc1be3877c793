"""Edits of many prompts in one pass: features silenced by sets, and features or outputs swapped.

Everything above an edit is computed anew (free mode). As in `interventions/edits.py` a feature is
changed by what it does in this very pass: the decoder times the change is added where the
dictionary writes, and all else in the MLP's output, the error included, stays.

Shapes: B rows, T tokens, d model width, F features of a layer, U features of a layer that are in
any set, n sets, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit_tracer.models import Model
from circuit_tracer.models.capture import Place
from circuit_tracer.transcoders.neurons import AnyDictionary, NeuronLayer

Key = tuple[int, int]
"""Layer and feature."""


@dataclass(frozen=True)
class Silenced:
    """What one set silences."""

    at_object: frozenset[Key] = frozenset()
    """At the object's position alone: stores."""
    everywhere: frozenset[Key] = frozenset()
    """At every position that is not zeroed: read-outs."""


@dataclass(frozen=True)
class _LayerMask:
    """The sets' features of one layer."""

    columns: Int[Tensor, "U"]
    at_object: Bool[Tensor, "n U"]
    everywhere: Bool[Tensor, "n U"]
    only_at_object: bool
    """Whether no set silences any of them elsewhere."""


class SetMasks:
    """Sets as masks by layer; made once for all passes."""

    def __init__(self, sets: Sequence[Silenced], n_layers: int, device: torch.device) -> None:
        self.n_sets = len(sets)
        self.layers: dict[int, _LayerMask] = {}
        for layer in range(n_layers):
            members = [
                [{f for at, f in keys if at == layer} for keys in (one.at_object, one.everywhere)]
                for one in sets
            ]
            union = sorted(set().union(*(keys for pair in members for keys in pair)))
            if not union:
                continue
            at_object, everywhere = (
                torch.tensor([[f in pair[which] for f in union] for pair in members], device=device)
                for which in (0, 1)
            )
            self.layers[layer] = _LayerMask(
                columns=torch.tensor(union, device=device),
                at_object=at_object,
                everywhere=everywhere,
                only_at_object=not bool(everywhere.any()),
            )


class _Changing:
    """What all edits of features share: read what a dictionary reads, write what changed."""

    def __init__(self, model: Model, dictionary: AnyDictionary) -> None:
        self.model, self.wiring, self.dictionary = model, model.wiring, dictionary
        behind = self.wiring.paths.mlp_post_norm is not None
        at_post_norm = behind and dictionary.writes == "hook_mlp_out"
        self.write_place: Place = "mlp_post_norm" if at_post_norm else "mlp"
        self.mid: Tensor | None = None
        self.changes: dict[int, Tensor] = {}
        """By reading layer: (B, T, C) changes of activations, of the columns that can change."""

    def reading_layers(self) -> Sequence[int]:
        """Layers whose features change."""
        raise NotImplementedError

    def change(self, layer: int, read: Float[Tensor, "B T d"]) -> Float[Tensor, "B T C"]:
        """Changes of activations at a layer."""
        raise NotImplementedError

    def decoders(self, reading: int, written: int) -> Float[Tensor, "C d"]:
        """Of the same columns."""
        raise NotImplementedError

    def wants(self, place: Place, layer: int) -> bool:
        """Where features that change read or write."""
        if place in ("mlp_norm", "mlp") and layer in self.reading_layers():
            return True
        return place == self.write_place and bool(self._written_from(layer))

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """One module's output."""
        if place == "mlp_norm":
            self.mid = seen
            return given
        if place == "mlp" and layer in self.reading_layers():
            mid = seen if self.wiring.paths.mlp_norm is None or self.mid is None else self.mid
            read = self.wiring.read(self.dictionary.reads, layer, mid, seen)
            self.changes[layer] = self.change(layer, read)
        if place != self.write_place:
            return given
        for reading in self._written_from(layer):
            given = given + self.changes[reading] @ self.decoders(reading, layer)
        return given

    def _written_from(self, layer: int) -> list[int]:
        return [one for one in self.reading_layers() if one <= layer < one + self._written(one)]

    def _written(self, reading: int) -> int:
        transcoder = self.dictionary.layers[reading]
        return 1 if isinstance(transcoder, NeuronLayer) else transcoder.n_written


class Silencing(_Changing):
    """Each row of a pass without the features of its set."""

    def __init__(
        self,
        model: Model,
        dictionary: AnyDictionary,
        masks: SetMasks,
        *,
        which: Int[Tensor, "B"],
        object_at: Int[Tensor, "B"],
        n_zeroed: int,
    ) -> None:
        """`which` is each row's set, `object_at` the position of its object."""
        super().__init__(model, dictionary)
        self.masks, self.which, self.object_at, self.n_zeroed = masks, which, object_at, n_zeroed

    def reading_layers(self) -> Sequence[int]:
        """Layers that any set has features of."""
        return list(self.masks.layers)

    def change(self, layer: int, read: Float[Tensor, "B T d"]) -> Float[Tensor, "B T C"]:
        """Minus the activations that a row's set silences."""
        mask, encode = self.masks.layers[layer], self.dictionary.layers[layer].encode
        rows = torch.arange(len(read), device=read.device)
        if mask.only_at_object:
            fired = encode(read[rows, self.object_at])[:, mask.columns]
            stored = fired * mask.at_object[self.which]
            changes = read.new_zeros(*read.shape[:2], len(mask.columns))
            changes[rows, self.object_at] = -stored
            return changes
        silent = mask.everywhere[self.which][:, None].expand(-1, read.shape[1], -1).clone()
        silent[:, : self.n_zeroed] = False
        silent[rows, self.object_at] |= mask.at_object[self.which]
        return -encode(read)[..., mask.columns] * silent

    def decoders(self, reading: int, written: int) -> Float[Tensor, "C d"]:
        """Of the features in any set."""
        return self.dictionary.layers[reading].decoder_rows(
            self.masks.layers[reading].columns, written
        )


class Swapping(_Changing):
    """At the object's position of each row, some layers' features as they are in another prompt."""

    def __init__(
        self,
        model: Model,
        dictionary: AnyDictionary,
        donors: Mapping[int, Float[Tensor, "B F"]],
        *,
        object_at: Int[Tensor, "B"],
    ) -> None:
        """`donors`: by layer, the activations that the rows' objects get."""
        super().__init__(model, dictionary)
        self.donors, self.object_at = donors, object_at

    def reading_layers(self) -> Sequence[int]:
        """The patched layers."""
        return list(self.donors)

    def change(self, layer: int, read: Float[Tensor, "B T d"]) -> Float[Tensor, "B T C"]:
        """Donor's activations minus those of this pass, at the object."""
        rows = torch.arange(len(read), device=read.device)
        own = self.dictionary.layers[layer].encode(read[rows, self.object_at])
        moved = own.new_zeros(*read.shape[:2], own.shape[1])
        moved[rows, self.object_at] = self.donors[layer] - own
        return moved

    def decoders(self, reading: int, written: int) -> Float[Tensor, "C d"]:
        """Of all features."""
        transcoder = self.dictionary.layers[reading]
        every = torch.arange(transcoder.n_features, device=self.model.device)
        return transcoder.decoder_rows(every, written)


Written = tuple[Literal["attention", "mlp"], int]
"""A module that writes to the residual stream."""


@dataclass
class OutputSwapping:
    """At the object's position of each row, what some modules write as in another prompt."""

    outputs: Mapping[Written, Float[Tensor, "B d"]]
    object_at: Int[Tensor, "B"]

    def wants(self, place: Place, layer: int) -> bool:
        """The patched modules."""
        return (place, layer) in self.outputs

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """The module's output with the donor's in its place."""
        out = given.clone()
        assert place in ("attention", "mlp")
        donor = self.outputs[place, layer]
        out[torch.arange(len(out), device=out.device), self.object_at] = donor
        return out


@dataclass
class WrittenAt:
    """Edits nothing and keeps what attention and MLPs write at one position of each row."""

    at: Int[Tensor, "B"]
    kept: dict[Written, Float[Tensor, "B d"]] = field(default_factory=dict)

    def wants(self, place: Place, layer: int) -> bool:
        """Attention and MLPs."""
        return place in ("attention", "mlp")

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """What the module gave."""
        if place in ("attention", "mlp"):
            self.kept[place, layer] = given[torch.arange(len(given), device=given.device), self.at]
        return given
