"""Edits of many prompts in one pass, each row with its own: features silenced by sets, features
or module outputs swapped for those of another prompt.

Everything downstream of an edit is recomputed (free mode). Features are changed by the
interventions' own engine (`interventions/edits.py`): by what they do in this very pass, all else in
the MLP's output, the error included, stays.

Shapes: B rows, d model width, F features of a layer, n entries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.experiments.kit.passes import Module
from circuit_tracer.interventions.edits import EditedRun
from circuit_tracer.interventions.plan import Entries, Plan
from circuit_tracer.models import Model
from circuit_tracer.models.parts import Place
from circuit_tracer.transcoders.neurons import AnyDictionary

Key = tuple[int, int]
"""Layer and feature."""
EVERYWHERE, AT_OBJECT = -1, -2
"""In place of a position."""


class SilencedSets:
    """Sets of features as entries of a plan by layer; made once for all passes."""

    def __init__(
        self, sets: Sequence[tuple[Collection[Key], Collection[Key]]], device: torch.device
    ) -> None:
        """Of each set what is silenced at the object's position alone (stores), and what at every
        position that is not zeroed (read-outs)."""
        self.n_sets = len(sets)
        entries: dict[int, list[tuple[int, int, int]]] = {}
        for number, (at_object, everywhere) in enumerate(sets):
            stores = {*at_object} - {*everywhere}
            for keys, position in ((everywhere, EVERYWHERE), (stores, AT_OBJECT)):
                for layer, feature in sorted(keys):
                    entries.setdefault(layer, []).append((number, position, feature))
        self.layers = {
            layer: torch.tensor(rows, device=device).T for layer, rows in sorted(entries.items())
        }
        """By layer: (3, n) set, position and feature."""

    def edits(
        self,
        model: Model,
        dictionary: AnyDictionary,
        *,
        which: Sequence[int],
        object_at: int,
        n_zeroed: int,
    ) -> EditedRun:
        """A pass over one prompt with a row for each of some sets."""
        row_of = torch.full((self.n_sets,), -1, device=model.device)
        row_of[list(which)] = torch.arange(len(which), device=model.device)
        features = {}
        for layer, entries in self.layers.items():
            number, position, feature = entries[:, row_of[entries[0]] >= 0]
            if len(number):
                features[layer] = Entries(
                    row=row_of[number],
                    position=torch.where(position == AT_OBJECT, object_at, position),
                    index=feature,
                    amount=model.unembedding.new_zeros(len(number)),
                    is_multiple=torch.ones_like(number, dtype=torch.bool),
                )
        plan = Plan(len(which), features, {}, [])
        return EditedRun(model, dictionary, plan, n_zeroed=n_zeroed)


def swapped_features(
    model: Model,
    dictionary: AnyDictionary,
    donors: Mapping[int, Float[Tensor, "B F"]],
    *,
    object_at: Int[Tensor, "B"],
) -> EditedRun:
    """At the object's position of each row, some layers' features as they are in another prompt.

    `donors`: by layer, the activations that the rows' objects get.
    """
    features = {}
    for layer, given in donors.items():
        rows, width = given.shape
        row = torch.arange(rows, device=given.device).repeat_interleave(width)
        features[layer] = Entries(
            row=row,
            position=object_at[row],
            index=torch.arange(width, device=given.device).repeat(rows),
            amount=given.flatten(),
            is_multiple=torch.zeros_like(row, dtype=torch.bool),
        )
    return EditedRun(model, dictionary, Plan(len(object_at), features, {}, []), n_zeroed=0)


@dataclass(frozen=True)
class ModuleEdits:
    """What some modules write made into something else."""

    modules: Collection[Module]
    edited: Callable[[Module, Tensor], Tensor]
    """From a module and its output (B, T, d)."""

    def wants(self, place: Place, layer: int) -> bool:
        """These modules."""
        return (place, layer) in self.modules

    def edit(self, place: Place, layer: int, seen: Tensor, given: Tensor) -> Tensor:
        """The other output."""
        return self.edited((place, layer), given)


def swapped_outputs(
    outputs: Mapping[Module, Float[Tensor, "B d"]], *, object_at: Int[Tensor, "B"]
) -> ModuleEdits:
    """At the object's position of each row, what some modules write as in another prompt."""

    def edited(module: Module, given: Tensor) -> Tensor:
        out = given.clone()
        out[torch.arange(len(out), device=out.device), object_at] = outputs[module]
        return out

    return ModuleEdits(outputs, edited)


def stream_edits(layers: Iterable[int], edited: Callable[[int, Tensor], Tensor]) -> ModuleEdits:
    """The residual stream after some layers made into another; `edited` gets a layer and the stream
    (B, T, d) after it."""
    modules: list[Module] = [("layer", layer) for layer in layers]
    return ModuleEdits(modules, lambda module, stream: edited(module[1], stream))
