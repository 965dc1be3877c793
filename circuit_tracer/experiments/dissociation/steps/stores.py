"""4b. Early stores by site: where, at the object's position, is what each route needs?

The features that recall a fact are the object's own, so a set of features chosen on some objects
holds few of those of others. What carries over is the *site*: what attention or the MLP of one
early layer writes at the object's position. A site is mean-ablated: in its place stands
its mean over objects (of the same form of words), which takes away whatever tells this object from
others. Everything above is recomputed; drops are those of `ablation.py`.

1. On one half of the objects, with means of that half: the site whose ablation lowers the fact
   most beyond the judgement (F) and the one that lowers the judgement most beyond the fact (V).
2. On the other half, with means of the half that chose: their drops, and
   D = (dC|F - dQ|F) + (dQ|V - dC|V).

The control permutes labels: object by object it is drawn which drop counts as the fact's and which
as the judgement's when sites are chosen.

Shapes: f families, n objects, s sites, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from circuit_tracer.experiments.dissociation.results import Route, SiteDrop, StoreResult
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.asks import Ask
from circuit_tracer.experiments.kit.edits import OutputSwapping
from circuit_tracer.experiments.kit.passes import Written, contrasts, positions, written_at
from circuit_tracer.experiments.kit.statistics import drops
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval, middle
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
    before: tuple[tuple[float, ...], ...]
    """(f, n) with nothing ablated."""
    own: tuple[tuple[tuple[float, ...], ...], ...]
    """(f, n, s) with the means of the object's own half."""
    other: tuple[tuple[tuple[float, ...], ...], ...]
    """(f, n, s) with those of the other half."""


def sites_of(study: Study) -> tuple[Written, ...]:
    """Attention and MLP of the early layers."""
    layers = range(study.early_layers)
    return tuple(site for layer in layers for site in (("attention", layer), ("mlp", layer)))


def ablate_means(
    study: Study, given: Answers, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> MeanAblations:
    """Mean-ablate every site of every kept object, with the means of either half."""
    sites, families = sites_of(study), study.spec.measured
    halves = np.array([study.half[i] for i in given.kept])
    before = np.zeros((len(families), len(given.kept)))
    after = np.zeros((2, *before.shape, len(sites)))
    for f, family in enumerate(families):
        on_progress(f, len(families))
        signs = [1.0 if given.own_is_true(family, i) else -1.0 for i in given.kept]
        claims = [study.both_claims(family, study.items[i]) for i in given.kept]
        for side in range(len(claims[0])):
            asks = [both[side] for both in claims]
            weight = np.array(signs) * (1.0, -1.0)[side] / len(claims[0])
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
        before=_plain(before),
        own=tuple(_plain(rows) for rows in after[0]),
        other=tuple(_plain(rows) for rows in after[1]),
    )


def _plain(table: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _means(written: Tensor, halves: Ints, of_half: Ints) -> Tensor:
    """(n, d): for each row the mean over the objects of one half, `of_half` says which."""
    chosen = torch.from_numpy(halves).to(written.device)
    both = torch.stack([written[chosen == half].mean(0) for half in (0, 1)])
    return both[torch.from_numpy(of_half).to(written.device)]


def _ablated(study: Study, asks: Sequence[Ask], site: Written, means: Tensor) -> Floats:
    def edits(rows: list[int]) -> OutputSwapping:
        return OutputSwapping({site: means[rows]}, positions(study.model, asks, rows, "object"))

    return contrasts(study.model, asks, edits)


class _Choice(NamedTuple):
    """The sites that one half chose."""

    fact: int
    judgement: int


class _Drops:
    """Drops of both routes."""

    def __init__(self, study: Study, found: MeanAblations) -> None:
        self.before = np.array(found.before)
        self.own, self.other = np.array(found.own), np.array(found.other)
        self.halves = np.array([study.half[i] for i in found.items])
        self.rows: dict[Route, list[int]] = {
            "fact": [found.families.index(one.name) for one in study.facts],
            "judgement": [found.families.index(one.name) for one in study.judgements],
        }

    def by_object(self, route: Route, half: int) -> Floats:
        """(n of the half, s) drops with means of their own half, in units of the mean contrast."""
        mine, rows = self.halves == half, self.rows[route]
        before = self.before[rows][:, mine]
        lost = before[..., None] - self.own[rows][:, mine]
        found: Floats = (lost / before.mean(1)[:, None, None]).mean(0)
        return found

    def of_sites(self, route: Route, at: Ints, draws: Bootstrap) -> Floats:
        """(1 + R,) drop of a route where object i has site `at[i]` ablated, by the other half."""
        which = np.arange(len(at))
        parts = [
            drops(draws.counts, self.before[row], self.other[row, which, at])
            for row in self.rows[route]
        ]
        found: Floats = np.mean(parts, axis=0)
        return found


def _choose(fact: Floats, judgement: Floats) -> _Choice:
    """From (n, s) drops by object."""
    beyond = fact.mean(0) - judgement.mean(0)
    return _Choice(int(beyond.argmax()), int(beyond.argmin()))


def store_result(study: Study, found: MeanAblations) -> StoreResult | None:
    """The table of sites and D; None where a half has no object."""
    drops = _Drops(study, found)
    if len(set(drops.halves.tolist())) < 2:
        return None
    settings = study.settings
    draws = Bootstrap(len(found.items), resamples=settings.resamples, seed=settings.seed + 8)
    by_half = [
        (drops.by_object("fact", half), drops.by_object("judgement", half)) for half in (0, 1)
    ]
    chosen = [_choose(*pair) for pair in by_half]
    sides = _sides(drops, chosen, draws)
    nothing = Bootstrap(len(found.items), resamples=0, seed=0)
    generator = np.random.default_rng(settings.seed + 9)
    permuted = []
    for _ in range(PERMUTATIONS):
        shuffled = [_choose(*_exchanged(pair, generator)) for pair in by_half]
        permuted.append(float(sum(side[0] for side in _sides(drops, shuffled, nothing))))
    return StoreResult(
        sites=tuple(_site(found, drops, chosen, s, draws) for s in range(len(found.layers))),
        index=interval(sides[0] + sides[1]),
        fact_side=interval(sides[0]),
        judgement_side=interval(sides[1]),
        shuffled=Interval(float(np.mean(permuted)), *middle(np.array(permuted))),
        n_deals=PERMUTATIONS,
    )


def _exchanged(
    pair: tuple[Floats, Floats], generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Labels permuted object by object."""
    turned = generator.random(len(pair[0]))[:, None] < 0.5
    return np.where(turned, pair[1], pair[0]), np.where(turned, pair[0], pair[1])


def _sides(drops: _Drops, chosen: Sequence[_Choice], draws: Bootstrap) -> tuple[Floats, Floats]:
    """(1 + R,) dC|F - dQ|F and dQ|V - dC|V, each object with what the other half chose."""
    at_fact, at_judgement = (
        np.array([getattr(chosen[1 - half], name) for half in drops.halves.tolist()])
        for name in ("fact", "judgement")
    )
    return (
        drops.of_sites("fact", at_fact, draws) - drops.of_sites("judgement", at_fact, draws),
        drops.of_sites("judgement", at_judgement, draws)
        - drops.of_sites("fact", at_judgement, draws),
    )


def _site(
    found: MeanAblations, drops: _Drops, chosen: Sequence[_Choice], s: int, draws: Bootstrap
) -> SiteDrop:
    at = np.full(len(found.items), s)
    return SiteDrop(
        module="attention" if found.modules[s] == "attention" else "mlp",
        layer=found.layers[s],
        fact=interval(drops.of_sites("fact", at, draws)),
        judgement=interval(drops.of_sites("judgement", at, draws)),
        chosen_as_fact=sum(one.fact == s for one in chosen),
        chosen_as_judgement=sum(one.judgement == s for one in chosen),
    )
