"""4. The 2 x 2 table: which contrast drops when a route's features are ablated.

Every kept object is tested with the sets chosen on the other half. Nothing is frozen: what is
downstream of an ablated feature is recomputed. Drops and D are those of `indices.py`, so that no
weakly answered item dominates.

Controls, measured alike: matched random sets in the place of F and V, and sets chosen with permuted
labels (which graph counts as fact and which as judgement, drawn object by object).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.dissociation.spec import Route
from circuit_tracer.experiments.dissociation.step_results import (
    PARTS,
    ROUTES,
    SETS,
    AblationResult,
    Cell,
    Dissociation,
    FamilyDrop,
    Part,
    SetName,
)
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.steps.indices import (
    Sides,
    contrast_rows,
    drops_by_route,
    permuted,
    random_control,
)
from circuit_tracer.experiments.dissociation.steps.sets import PERMUTED, HalfSets, Parts
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.edits import SilencedSets
from circuit_tracer.experiments.kit.passes import Ask, contrasts
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import drops
from circuit_tracer.experiments.kit.study import Progress, unreported
from circuit_tracer.graphs.bootstrap import Interval, interval, middle
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.interventions.edits import EditedRun


@dataclass(frozen=True)
class Ablations:
    """Contrasts with every set ablated, and without."""

    families: tuple[str, ...]
    items: tuple[int, ...]
    names: tuple[str, ...]
    """Of the sets, as `set_names` gives them."""
    before: Floats
    """(families, objects)"""
    after: Floats
    """(families, objects, sets)"""

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every contrast as a measurement, with its item's number."""
        sets = [{"step": "ablation", "set": name} for name in ("none", *self.names)]
        table = np.concatenate([self.before[..., None], self.after], axis=2)
        return contrast_rows(self.families, self.items, sets, table)


def random_part(part: Part, number: int) -> str:
    """The end of a random set's name: "early random 3"."""
    return f"{part} random {number}"


def permuted_part(part: Part, number: int) -> str:
    """That of a set chosen with permuted labels."""
    # The stored name keeps its first spelling.
    return f"{part} deal {number}"


def set_names(n_random: int, n_permutations: int) -> tuple[str, ...]:
    """The sets' names, part by part in the order of `_silenced`: "F early", ..."""
    names = []
    for part in PARTS:
        for name in SETS:
            endings = [part, *(random_part(part, i) for i in range(n_random))]
            names += [f"{name} {ending}" for ending in endings]
        for name in PERMUTED:
            names += [f"{name} {permuted_part(part, i)}" for i in range(n_permutations)]
    return tuple(names)


def _silenced(sets: HalfSets, part: Part) -> list[Parts]:
    """Every set as what is silenced at the object and everywhere, in one part."""
    pairs: list[Parts] = []
    for name in SETS:
        pairs += [sets.chosen[name], *sets.random[name]]
    for name in PERMUTED:
        pairs += [one[name] for one in sets.permuted]
    return [
        (early if part != "late" else (), late if part != "early" else ()) for early, late in pairs
    ]


def ablate(
    study: Study,
    given: Answers,
    sets: tuple[HalfSets, HalfSets],
    on_progress: Progress = unreported,
) -> Ablations:
    """Contrasts of all kept objects; `sets` are those chosen on half 0 and on half 1."""
    device = study.model.device
    masks = [
        [SilencedSets(_silenced(one, part), device) for part in PARTS] for one in sets
    ]  # by part, because passes with early sets alone have little to encode
    names = set_names(len(sets[0].random["F"]), len(sets[0].permuted))
    families = study.spec.measured
    values = np.zeros((len(families), len(given.kept), 1 + len(names)))
    for i, index in enumerate(given.kept):
        on_progress(i, len(given.kept))
        item = study.items[index]
        for f, family in enumerate(families):
            for ask, weight in given.weighted(study, family, item):
                parts = [silenced_contrasts(study, ask, one) for one in masks[1 - item.half]]
                values[f, i] += weight * np.concatenate([contrasts(study.model, [ask]), *parts])
    return Ablations(
        families=tuple(family.name for family in families),
        items=given.kept,
        names=names,
        before=values[:, :, 0],
        after=values[:, :, 1:],
    )


def silenced_contrasts(study: Study, ask: Ask, sets: SilencedSets) -> Floats:
    """(sets,) one prompt's contrast with each set silenced."""
    places = {"object_at": ask.roles["object"], "n_zeroed": study.n_zeroed(ask)}

    def edits(rows: list[int]) -> EditedRun:
        return sets.edits(study.model, study.dictionary, which=rows, **places)

    return contrasts(study.model, [ask] * sets.n_sets, edits)


class _Table:
    """Drops of both routes with every set, for the sample and all resamples."""

    def __init__(self, study: Study, found: Ablations) -> None:
        self.n_random = study.settings.random_sets
        self.n_permutations = study.settings.permutations
        self.at = {name: i for i, name in enumerate(found.names)}
        self.draws = study.bootstrap(len(found.items), 3)
        self.routes = drops_by_route(study, found.families, found.before, found.after, self.draws)

    def sides(self, ending: str) -> Sides:
        """Of D, with the sets of one part or of a control."""
        fact, judgement = self.routes["fact"], self.routes["judgement"]
        f, v = self.at[f"F {ending}"], self.at[f"V {ending}"]
        return Sides(fact[:, f] - judgement[:, f], judgement[:, v] - fact[:, v])

    def index(self, part: Part) -> Dissociation:
        """D of one part with its controls."""
        random = [self.sides(random_part(part, i)).index[0] for i in range(self.n_random)]
        shuffled = [self.sides(permuted_part(part, i)).index[0] for i in range(self.n_permutations)]
        return Dissociation(
            part=part,
            **self.sides(part).figures(),
            shuffled=permuted(shuffled),
            random=Interval(float(np.median(random)), *middle(np.array(random))),
        )

    def cell(self, name: SetName, part: Part, route: Route) -> Cell:
        """What one route loses with one set."""
        values = self.routes[route]
        columns = [self.at[f"{name} {random_part(part, i)}"] for i in range(self.n_random)]
        return Cell(
            set=name,
            part=part,
            route=route,
            drop=interval(values[:, self.at[f"{name} {part}"]]),
            **random_control(values[0, columns].tolist()),
        )


def table(study: Study, found: Ablations) -> AblationResult:
    """The table with intervals, and D with its controls."""
    whole = _Table(study, found)
    by_family = [
        drops(whole.draws.counts, *both) for both in zip(found.before, found.after, strict=True)
    ]
    sets = [(part, name) for part in PARTS for name in SETS]
    return AblationResult(
        cells=tuple(whole.cell(name, part, route) for part, name in sets for route in ROUTES),
        families=tuple(
            FamilyDrop(name, part, family, interval(lost[:, whole.at[f"{name} {part}"]]))
            for part, name in sets
            for family, lost in zip(found.families, by_family, strict=True)
        ),
        index=tuple(whole.index(part) for part in PARTS),
        n_random=whole.n_random,
        n_permutations=whole.n_permutations,
    )
