"""6. Another object's recalled fact in the place of the own one: does the answer follow?

What some layers write at the object's position is replaced by what they write at another object
(the *donor*, of another value) in the same form of words; the object's own token stays. Everything
above is recomputed. A claim follows if the own value is now denied and the donor's affirmed; a
value is followed if the donor's is preferred to the own. Patched are all that the layers write,
attention's part and the MLPs' alone, and the dictionary's features alone: what carries the recall
differs from model to model.

What the donor *completes* is the fact that was recalled; what it is *affirmed* to be in a family
may differ (keep = "own"), and is then asked about as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import numpy as np

from circuit_tracer.experiments.dissociation.items import Item, answer_id
from circuit_tracer.experiments.dissociation.spec import FamilySpec
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIMS,
    Asked,
    How,
    SwapResult,
    SwapRow,
)
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.edits import swapped_features, swapped_outputs
from circuit_tracer.experiments.kit.passes import (
    Ask,
    contrasts,
    positions,
    read_at,
    written_at,
)
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.study import Progress, unreported
from circuit_tracer.graphs.bootstrap import Bootstrap
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models.capture import Edits

HOWS: tuple[How, ...] = get_args(How)


@dataclass(frozen=True)
class Swaps:
    """One family's contrasts under every patch; a column an item with a donor."""

    family: str
    names: Asked
    is_claim: bool
    own: Floats
    """(patches, items): claims: the verdict on the own value; values: own minus donor's value."""
    donor: Floats
    """The verdict on the donor's value; values: donor's minus own."""


@dataclass(frozen=True)
class SwapMeasurements:
    """Everything that was patched."""

    items: tuple[int, ...]
    donors: tuple[int, ...]
    patches: tuple[str, ...]
    """"none", then "early features", "late attention", "3 mlp", ..."""
    families: tuple[Swaps, ...]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every verdict and preference as a measurement, with its item's number."""
        for one in self.families:
            for role, table in (("own", one.own), ("donor", one.donor)):
                row = {"step": "swap", "family": one.family, "claim": one.names, "role": role}
                for (patch, item), value in np.ndenumerate(table):
                    yield self.items[item], {**row, "set": self.patches[patch], "value": value}


class Patch(NamedTuple):
    """What is put in."""

    layers: tuple[int, ...]
    how: How


def _patches(study: Study) -> dict[str, Patch]:
    L, E = study.model.n_layers, study.early_layers
    groups = {"early": tuple(range(E)), "late": tuple(range(E, L))}
    groups |= {str(layer): (layer,) for layer in range(L)}
    return {f"{name} {how}": Patch(layers, how) for name, layers in groups.items() for how in HOWS}


def find_donors(study: Study, given: Answers) -> dict[int, int]:
    """Kept item -> another, none of whose values, true or false, is one of its own.

    Where there is none such, another whose affirmed values differ. Donors are of the same half
    where one is left, and drawn by the seed.
    """
    generator = random.Random(study.settings.seed + 6)
    families = [study.facts[0], *study.judgements]
    spelt: dict[int, set[str]] = {}
    own: dict[int, set[str]] = {}
    for index in given.kept:
        item = study.items[index]
        own[index] = {given.own(family, item) for family in families}
        spelt[index] = {word for f in families for word in (item.value(f), item.other[f.answer])}
    found = {}
    for index in given.kept:
        free = [one for one in given.kept if not spelt[one] & spelt[index]]
        free = free or [one for one in given.kept if not own[one] & own[index]]
        near = [one for one in free if study.half[one] == study.half[index]]
        if free:
            found[index] = generator.choice(near or free)
    return found


def swaps(study: Study, given: Answers, on_progress: Progress = unreported) -> SwapMeasurements:
    """Patch every kept item that has a donor."""
    donors = find_donors(study, given)
    patches, found = _patches(study), []
    families = [*study.facts, *study.judgements]
    for done, family in enumerate(families):
        on_progress(done, len(families))
        for names in _names(study, given, family, donors):
            found.append(_family(study, given, family, names, donors, patches))
    return SwapMeasurements(
        items=tuple(donors),
        donors=tuple(donors.values()),
        patches=("none", *patches),
        families=tuple(found),
    )


def _names(
    study: Study, given: Answers, family: FamilySpec, donors: Mapping[int, int]
) -> list[Asked]:
    """Which values are asked about: the completed ones, the affirmed ones where they differ."""
    if not family.is_claim:
        return ["affirmed" if family is not study.facts[0] else "completed"]
    completing = study.facts[0]
    differ = completing.answer == family.answer and any(
        given.own(completing, study.items[i]) != given.own(family, study.items[i])
        for i in {*donors, *donors.values()}
    )
    return ["completed", "affirmed"] if differ else ["completed"]


def _family(
    study: Study,
    given: Answers,
    family: FamilySpec,
    names: Asked,
    donors: Mapping[int, int],
    patches: Mapping[str, Patch],
) -> Swaps:
    # A family that answers in other words than the completion is asked about its own.
    is_own = names == "affirmed" or study.facts[0].answer != family.answer
    answering = family if is_own else study.facts[0]
    pairs = [(study.items[i], study.items[j]) for i, j in donors.items()]
    values = [(given.own(answering, one), given.own(answering, other)) for one, other in pairs]
    sides = []
    for side in (0, 1):
        asks, sources = (
            [
                _ask(study, family, pair[i], both, side)
                for pair, both in zip(pairs, values, strict=True)
            ]
            for i in (0, 1)
        )
        sides.append(patched(study, asks, sources, patches))
    return Swaps(family.name, names, family.is_claim, *sides)


def _ask(study: Study, family: FamilySpec, item: Item, both: Sequence[str], side: int) -> Ask:
    """The prompt that claims the own (0) or the donor's (1) value, or that prefers it."""
    if family.is_claim:
        return study.ask(family, item, both[side])
    plus, minus = (answer_id(study.model, family, both[one]) for one in (side, 1 - side))
    return study.ask(family, item)._replace(plus=plus, minus=minus)


def patched(
    study: Study, asks: Sequence[Ask], sources: Sequence[Ask], patches: Mapping[str, Patch]
) -> Floats:
    """(patches, items) contrasts, untouched first; `sources` are the prompts patched from."""
    model, dictionary = study.model, study.dictionary
    inputs = read_at(model, dictionary.reads, sources, "object")
    outputs = written_at(model, sources, "object")

    def edits(patch: Patch, rows: list[int]) -> Edits:
        at = positions(model, asks, rows, "object")
        if patch.how == "features":
            layers = dictionary.layers
            fired = {layer: layers[layer].encode(inputs[layer, rows]) for layer in patch.layers}
            return swapped_features(model, dictionary, fired, object_at=at)
        modules = {
            (place, layer): written[rows]
            for (place, layer), written in outputs.items()
            if layer in patch.layers and patch.how in ("everything", place)
        }
        return swapped_outputs(modules, object_at=at)

    of_patches = [partial(edits, patch) for patch in patches.values()]
    return np.array([contrasts(model, asks, one) for one in (None, *of_patches)])


def swap_result(found: SwapMeasurements, study: Study) -> SwapResult | None:
    """Shares that follow, with intervals; None where no item has a donor."""
    if not found.items:
        return None
    draws = study.bootstrap(len(found.items), 7)
    claims = [one for one in found.families if one.is_claim]
    pooled = [[one for one in claims if one.names == names] for names in get_args(Asked)]
    groups = [(CLAIMS, group) for group in pooled if group]
    groups += [(one.family, [one]) for one in found.families]
    rows = [
        _row(group, family, number, patch, draws)
        for number, patch in enumerate(found.patches[1:], start=1)
        for family, group in groups
    ]
    return SwapResult(tuple(rows), len(found.items))


def _row(group: Sequence[Swaps], family: str, number: int, patch: str, draws: Bootstrap) -> SwapRow:
    layers, _, how = patch.partition(" ")
    own, donor = (
        np.array([getattr(one, side) for one in group]) > 0 for side in ("own", "donor")
    )  # (group, patches, items)
    follows = (donor & ~own).mean(0)
    return SwapRow(
        layers=layers,
        how=next(one for one in HOWS if one == how),
        family=family,
        names=group[0].names,
        follows=draws.mean(follows[number]),
        own_affirmed=draws.mean(own.mean(0)[number]),
        donor_affirmed=draws.mean(donor.mean(0)[number]),
        before=float(follows[0].mean()),
    )
