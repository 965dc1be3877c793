"""4b. Early stores by site: where, at the object's position, is what each route needs?

The features that recall a fact are the object's own, so a set of features chosen on some objects
holds few of those of others. What carries over is the *site*: what attention or the MLP of one
early layer writes at the object's position. A site is mean-ablated: in its place stands its mean
over objects (of the same form of words), which takes away whatever tells this object from others.
Everything downstream is recomputed; drops and D are those of `indices.py`.

1. On one half of the objects, with means of that half: the site whose ablation lowers the fact
   most beyond the judgement (F) and the one that lowers the judgement most beyond the fact (V).
2. On the other half, with means of the half that chose: their drops, and D.

The control permutes labels: object by object it is drawn which drop counts as the fact's and which
as the judgement's when sites are chosen.

Shapes: f families, n objects, s sites, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from circuit_tracer.experiments.dissociation.spec import Route
from circuit_tracer.experiments.dissociation.step_results import ROUTES, SiteDrop, StoreResult
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.steps.indices import (
    Sides,
    contrast_rows,
    drops_by_route,
    permuted,
)
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.edits import ModuleEdits, swapped_outputs
from circuit_tracer.experiments.kit.passes import Ask, Module, contrasts, positions, written_at
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.study import Progress, unreported
from circuit_tracer.graphs.bootstrap import Bootstrap, interval
from circuit_tracer.graphs.graph import Floats, Ints

PERMUTATIONS = 200
"""Of the labels; they cost no passes."""


@dataclass(frozen=True)
class MeanAblations:
    """Contrasts of what is affirmed, with every site mean-ablated."""

    families: tuple[str, ...]
    items: tuple[int, ...]
    modules: tuple[str, ...]
    """"attention" or "mlp", of each site."""
    layers: tuple[int, ...]
    """Of each site."""
    before: Floats
    """(f, n) with nothing ablated."""
    own: Floats
    """(f, n, s) with the means of the object's own half."""
    other: Floats
    """(f, n, s) with those of the other half."""

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every contrast as a measurement, with its item's number; `role` says whose means were put
        in: the object's own half's or the other half's."""
        sites: list[Row] = [{"step": "store", "set": "none"}]
        for role in ("own half", "other half"):
            for module, layer in zip(self.modules, self.layers, strict=True):
                sites.append({"step": "store", "set": module, "layer": layer, "role": role})
        table = np.concatenate([self.before[..., None], self.own, self.other], axis=2)
        return contrast_rows(self.families, self.items, sites, table)


def sites_of(study: Study) -> tuple[Module, ...]:
    """Attention and MLP of the early layers."""
    layers = range(study.early_layers)
    return tuple(site for layer in layers for site in (("attention", layer), ("mlp", layer)))


def ablate_means(study: Study, given: Answers, on_progress: Progress = unreported) -> MeanAblations:
    """Mean-ablate every site of every kept object, with the means of either half."""
    sites, families = sites_of(study), study.spec.measured
    halves = np.array([study.half[i] for i in given.kept])
    before = np.zeros((len(families), len(given.kept)))
    after = np.zeros((2, *before.shape, len(sites)))
    for f, family in enumerate(families):
        on_progress(f, len(families))
        by_object = [given.weighted(study, family, study.items[i]) for i in given.kept]
        for claims in zip(*by_object, strict=True):
            asks, weight = [ask for ask, _ in claims], np.array([of for _, of in claims])
            before[f] += weight * contrasts(study.model, asks)
            written = written_at(study.model, asks, "object")
            for s, site in enumerate(sites):
                for kind, of_half in enumerate((halves, 1 - halves)):
                    means = _means(written[site], halves, of_half)
                    after[kind, f, :, s] += weight * _ablated(study, asks, site, means)
    return MeanAblations(
        families=tuple(family.name for family in families),
        items=given.kept,
        modules=tuple(module for module, _ in sites),
        layers=tuple(layer for _, layer in sites),
        before=before,
        own=after[0],
        other=after[1],
    )


def _means(written: Tensor, halves: Ints, of_half: Ints) -> Tensor:
    """(n, d): for each row the mean over the objects of one half, `of_half` says which."""
    chosen = torch.from_numpy(halves).to(written.device)
    both = torch.stack([written[chosen == half].mean(0) for half in (0, 1)])
    return both[torch.from_numpy(of_half).to(written.device)]


def _ablated(study: Study, asks: Sequence[Ask], site: Module, means: Tensor) -> Floats:
    def edits(rows: list[int]) -> ModuleEdits:
        at = positions(study.model, asks, rows, "object")
        return swapped_outputs({site: means[rows]}, object_at=at)

    return contrasts(study.model, asks, edits)


class _Choice(NamedTuple):
    """The sites that one half chose."""

    fact: int
    judgement: int

    @classmethod
    def of(cls, fact: Floats, judgement: Floats) -> _Choice:
        """From (n, s) drops by object."""
        beyond = fact.mean(0) - judgement.mean(0)
        return cls(int(beyond.argmax()), int(beyond.argmin()))


class _Drops:
    """Drops of both routes."""

    def __init__(self, study: Study, found: MeanAblations) -> None:
        self.study, self.found = study, found
        self.halves = np.array([study.half[i] for i in found.items])

    def by_object(self, route: Route, half: int) -> Floats:
        """(n of the half, s) drops with means of their own half, in units of the mean contrast."""
        families = self.study.spec.of_route(route)
        rows = [self.found.families.index(family.name) for family in families]
        before = self.found.before[rows][:, self.halves == half]
        lost = before[..., None] - self.found.own[rows][:, self.halves == half]
        dropped: Floats = (lost / before.mean(1)[:, None, None]).mean(0)
        return dropped

    def of_sites(self, at: Ints, draws: Bootstrap) -> dict[Route, Floats]:
        """(1 + R,) drops where object i has site `at[i]` ablated, by the other half."""
        after = self.found.other[:, np.arange(len(at)), at]
        return drops_by_route(self.study, self.found.families, self.found.before, after, draws)

    def sides(self, chosen: Sequence[_Choice], draws: Bootstrap) -> Sides:
        """Of D, each object with what the other half chose."""
        lost_by = {
            name: self.of_sites(
                np.array([getattr(chosen[1 - half], name) for half in self.halves.tolist()]), draws
            )
            for name in ROUTES
        }
        by_f, by_v = lost_by["fact"], lost_by["judgement"]
        return Sides(by_f["fact"] - by_f["judgement"], by_v["judgement"] - by_v["fact"])


def store_result(study: Study, found: MeanAblations) -> StoreResult | None:
    """The table of sites and D; None where a half has no object."""
    drops, n = _Drops(study, found), len(found.items)
    if len(set(drops.halves.tolist())) < 2:
        return None
    draws, nothing = study.bootstrap(n, 8), Bootstrap(n, resamples=0, seed=0)
    by_half = [
        (drops.by_object("fact", half), drops.by_object("judgement", half)) for half in (0, 1)
    ]
    chosen = [_Choice.of(*pair) for pair in by_half]
    generator = np.random.default_rng(study.settings.seed + 9)
    shuffled = []
    for _ in range(PERMUTATIONS):
        choices = [_Choice.of(*_exchanged(pair, generator)) for pair in by_half]
        shuffled.append(float(drops.sides(choices, nothing).index[0]))
    return StoreResult(
        sites=tuple(_site(drops, chosen, s, draws) for s in range(len(found.layers))),
        **drops.sides(chosen, draws).figures(),
        shuffled=permuted(shuffled),
        n_permutations=PERMUTATIONS,
    )


def _exchanged(
    pair: tuple[Floats, Floats], generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Labels permuted object by object."""
    turned = generator.random(len(pair[0]))[:, None] < 0.5
    return np.where(turned, pair[1], pair[0]), np.where(turned, pair[0], pair[1])


def _site(drops: _Drops, chosen: Sequence[_Choice], s: int, draws: Bootstrap) -> SiteDrop:
    lost = drops.of_sites(np.full(len(drops.halves), s), draws)
    return SiteDrop(
        module="attention" if drops.found.modules[s] == "attention" else "mlp",
        layer=drops.found.layers[s],
        fact=interval(lost["fact"]),
        judgement=interval(lost["judgement"]),
        chosen_as_fact=sum(one.fact == s for one in chosen),
        chosen_as_judgement=sum(one.judgement == s for one in chosen),
    )
