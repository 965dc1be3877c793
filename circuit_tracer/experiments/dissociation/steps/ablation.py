"""4. The 2 x 2 table: which contrast drops when a route's features are ablated.

Every kept object is tested with the sets chosen on the other half. Nothing is frozen: what is
above an ablated feature is recomputed. The drop of a route's contrast is

    1 - sum after / sum before,

sums over objects (and over the route's families and claims, each family counted alike), so that no
weakly answered item dominates; 0 is untouched, 1 gone. With dC the drop of the fact's contrast and
dQ that of the judgement's, D = (dC|F - dQ|F) + (dQ|V - dC|V): 2 for two routes apart, 0 for one.

Controls, measured alike: matched random sets in the place of F and V, and sets chosen with labels
shuffled (which graph counts as fact and which as judgement, permuted object by object).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.dissociation.results import (
    AblationResult,
    Cell,
    Dissociation,
    FamilyDrop,
    Part,
    Route,
    SetName,
)
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.steps.sets import NAMES, PERMUTED, HalfSets, Parts
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.asks import Ask
from circuit_tracer.experiments.kit.edits import Silenced, SilencedSets
from circuit_tracer.experiments.kit.passes import contrasts
from circuit_tracer.experiments.kit.statistics import drops
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval, middle
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.interventions.edits import EditedRun

ABLATED: tuple[Part, ...] = ("early", "late", "together")
ROUTES: tuple[Route, ...] = ("fact", "judgement")


@dataclass(frozen=True)
class Ablations:
    """Contrasts with every set ablated; (families, objects, sets) and without it."""

    families: tuple[str, ...]
    items: tuple[int, ...]
    names: tuple[str, ...]
    """Of the sets: "F early", "F early random 3", "F early deal 0", ..."""
    before: tuple[tuple[float, ...], ...]
    after: tuple[tuple[tuple[float, ...], ...], ...]


def set_names(n_random: int, n_permutations: int) -> tuple[str, ...]:
    """The sets' names, part by part in the order of `_silenced`."""
    found = []
    for part in ABLATED:
        for name in NAMES:
            found.append(f"{name} {part}")
            found += [f"{name} {part} random {i}" for i in range(n_random)]
        for name in PERMUTED:
            found += [f"{name} {part} deal {i}" for i in range(n_permutations)]
    return tuple(found)


def _silenced(sets: HalfSets, part: Part) -> list[Silenced]:
    """Every set as what is silenced where, in one part."""
    pairs: list[Parts] = []
    for name in NAMES:
        pairs += [sets.chosen[name], *sets.random[name]]
    for name in PERMUTED:
        pairs += [one[name] for one in sets.permuted]
    return [
        Silenced(
            at_object=frozenset(early if part != "late" else ()),
            everywhere=frozenset(late if part != "early" else ()),
        )
        for early, late in pairs
    ]


def ablate(
    study: Study,
    given: Answers,
    sets: tuple[HalfSets, HalfSets],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Ablations:
    """Contrasts of all kept objects; `sets` are those chosen on half 0 and on half 1."""
    device = study.model.device
    masks = [
        [SilencedSets(_silenced(one, part), device) for part in ABLATED] for one in sets
    ]  # by part, because passes with early sets alone have little to encode
    names = set_names(len(sets[0].random["F"]), len(sets[0].permuted))
    families = study.spec.measured
    values = np.zeros((len(families), len(given.kept), 1 + len(names)))
    for i, index in enumerate(given.kept):
        on_progress(i, len(given.kept))
        item = study.items[index]
        for f, family in enumerate(families):
            sign = 1.0 if given.own_is_true(family, index) else -1.0
            asks = study.both_claims(family, item)
            for ask, direction in zip(asks, (1.0, -1.0), strict=False):
                parts = [silenced_contrasts(study, ask, one) for one in masks[1 - item.half]]
                found = np.concatenate([contrasts(study.model, [ask]), *parts])
                values[f, i] += sign * direction * found / len(asks)
    return Ablations(
        families=tuple(family.name for family in families),
        items=given.kept,
        names=names,
        before=tuple(tuple(row) for row in values[:, :, 0].tolist()),
        after=tuple(tuple(tuple(one) for one in rows) for rows in values[:, :, 1:].tolist()),
    )


def silenced_contrasts(study: Study, ask: Ask, sets: SilencedSets) -> Floats:
    """(sets,) one prompt's contrast with each set silenced."""

    def edits(rows: list[int]) -> EditedRun:
        return sets.edits(
            study.model,
            study.dictionary,
            which=rows,
            object_at=ask.roles["object"],
            n_zeroed=study.n_zeroed(ask),
        )

    return contrasts(study.model, [ask] * sets.n_sets, edits)


class _Table:
    """Drops of both routes with every set, for the sample and all resamples."""

    def __init__(self, study: Study, found: Ablations) -> None:
        settings = study.settings
        draws = Bootstrap(len(found.items), resamples=settings.resamples, seed=settings.seed + 3)
        before, after = np.array(found.before), np.array(found.after)
        self.at = {name: i for i, name in enumerate(found.names)}
        self.families = {
            name: drops(draws.counts, before[i], after[i]) for i, name in enumerate(found.families)
        }
        """(1 + R, sets) by family."""
        self.routes: dict[Route, Floats] = {
            route: np.mean([self.families[one.name] for one in study.spec.of_route(route)], axis=0)
            for route in ROUTES
        }

    def column(self, route: Route, name: str) -> Floats:
        """(1 + R,) one set's drops."""
        found: Floats = self.routes[route][:, self.at[name]]
        return found

    def side(self, own: Route, ending: str) -> Floats:
        """(1 + R,) dC|F - dQ|F (or dQ|V - dC|V) of the sets of one part, or of a control."""
        other: Route = "judgement" if own == "fact" else "fact"
        name = f"{'F' if own == 'fact' else 'V'} {ending}"
        return self.column(own, name) - self.column(other, name)

    def index(self, ending: str) -> Floats:
        """(1 + R,) D."""
        return self.side("fact", ending) + self.side("judgement", ending)


def table(study: Study, found: Ablations) -> AblationResult:
    """The table with intervals, and D with its controls."""
    whole, settings = _Table(study, found), study.settings
    cells = [
        _cell(whole, name, part, route, settings.random_sets)
        for part in ABLATED
        for name in NAMES
        for route in ROUTES
    ]
    by_family = [
        FamilyDrop(name, part, family, interval(whole.families[family][:, at]))
        for part in ABLATED
        for name in NAMES
        for at in [whole.at[f"{name} {part}"]]
        for family in found.families
    ]
    return AblationResult(
        cells=tuple(cells),
        families=tuple(by_family),
        index=tuple(_index(whole, part, settings.random_sets, settings.deals) for part in ABLATED),
        n_random=settings.random_sets,
        n_deals=settings.deals,
    )


def _cell(whole: _Table, name: SetName, part: Part, route: Route, n_random: int) -> Cell:
    random = np.array(
        [whole.column(route, f"{name} {part} random {i}")[0] for i in range(n_random)]
    )
    return Cell(
        set=name,
        part=part,
        route=route,
        drop=interval(whole.column(route, f"{name} {part}")),
        random_median=float(np.median(random)),
        random_low=float(random.min()),
        random_high=float(random.max()),
    )


def _index(whole: _Table, part: Part, n_random: int, n_permutations: int) -> Dissociation:
    random = np.array([whole.index(f"{part} random {i}")[0] for i in range(n_random)])
    permuted = np.array([whole.index(f"{part} deal {i}")[0] for i in range(n_permutations)])
    return Dissociation(
        part=part,
        index=interval(whole.index(part)),
        fact_side=interval(whole.side("fact", part)),
        judgement_side=interval(whole.side("judgement", part)),
        shuffled=Interval(float(permuted.mean()), *middle(permuted)),
        random=Interval(float(np.median(random)), *middle(random)),
    )
