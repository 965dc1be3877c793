"""5. Heads that test the value against the object, and verdicts when their queries are swapped.

1. For every head and two query positions (the value's token and the prompt's end), with the key at
   the object: the part of the score whose query comes from the value's sources and whose key from
   the object's (position_streams.py), in true and in false claims.
2. Rank by how well that term tells own from other claims, AUC on one half of the objects. Reported
   is a head's AUC on the other half, with the sign of the first; but who is listed both halves
   decide, which flatters the first in the list. Step 3 is free of that.
3. Give the best heads of one half, in the claims of the other, the query of the same object's
   opposite claim, and nothing else. How many right verdicts flip? As many random heads of the same
   layers (of others where there are no more) are the control.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from circuit_tracer.attribution.replacement import build_replacement
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIM_ROLES,
    FlipRow,
    HeadRank,
    HeadsResult,
)
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.steps.indices import random_control
from circuit_tracer.experiments.dissociation.steps.position_streams import score_terms
from circuit_tracer.experiments.dissociation.steps.queries import QueryEdit, QuerySwapping
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.passes import Ask, contrasts, recorded
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import auc
from circuit_tracer.experiments.kit.study import Progress, unreported
from circuit_tracer.graphs.bootstrap import Interval, interval
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models.devices import as_floats

COUNTS = (1, 2, 4, 8)
"""Heads that are edited together."""
RANKED = 24
"""Heads listed."""


class Place(NamedTuple):
    """A head at one of the query positions."""

    layer: int
    head: int
    role: int
    """Number in `CLAIM_ROLES`."""


@dataclass(frozen=True)
class Terms:
    """Object x value terms of all claims."""

    items: tuple[int, ...]
    """The object of each claim."""
    is_own: tuple[bool, ...]
    """Whether it names what the model affirms."""
    families: tuple[str, ...]
    values: Floats
    """(claims, layers, heads, roles)"""

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every term as a measurement, with its item's number; true and false claims alternate."""
        for (number, layer, head, role), value in np.ndenumerate(self.values):
            row = {"step": "term", "family": self.families[number], "layer": layer, "head": head}
            claim = {"claim": "false" if number % 2 else "true", "role": CLAIM_ROLES[role]}
            yield self.items[number], {**row, **claim, "value": value}


def _claims(study: Study, given: Answers) -> list[tuple[Ask, bool]]:
    """Every claim of a kept object, and whether it names what the model affirms.

    Each is followed or preceded by its opposite: row ^ 1 is that of a row.
    """
    return [
        (ask, is_true == given.own_is_true(family, index))
        for family in study.claims
        for index in given.kept
        for ask, is_true in zip(
            study.both_claims(family, study.items[index]), (True, False), strict=True
        )
    ]


def terms(study: Study, given: Answers, on_progress: Progress = unreported) -> Terms:
    """The terms of every claim."""
    claims, values = _claims(study, given), []
    model, wiring = study.model, study.model.wiring
    for row, (ask, _) in enumerate(claims):
        on_progress(row, len(claims))
        capture = model.capture(list(ask.ids))
        frozen = build_replacement(capture, wiring, study.dictionary, n_zeroed=study.n_zeroed(ask))
        found = score_terms(
            frozen,
            capture,
            wiring,
            query_source=ask.roles["value"],
            key=ask.roles["object"],
            queries=tuple(ask.roles[role] for role in CLAIM_ROLES),
        )
        values.append(as_floats(found))
    return Terms(
        items=tuple(ask.item for ask, _ in claims),
        is_own=tuple(is_own for _, is_own in claims),
        families=tuple(ask.family for ask, _ in claims),
        values=np.array(values),
    )


def heads(
    study: Study, given: Answers, found: Terms, on_progress: Progress = unreported
) -> HeadsResult:
    """The ranking, and the flips of verdicts."""
    ranking = Ranking(study, given, found)
    flips = _Flips(study, given, ranking, on_progress)
    return HeadsResult(
        families=tuple(family.name for family in study.claims),
        best=ranking.best(),
        ranks=tuple(_rank(ranking, flips, place) for place in ranking.listed),
        flips=tuple(flips.row(count) for count in flips.counts),
    )


class Ranking:
    """AUCs of all places, on either half."""

    def __init__(self, study: Study, given: Answers, found: Terms) -> None:
        self.values, self.own = found.values, np.array(found.is_own)
        self.n_objects = len(given.kept)
        self.object_of = np.array([given.kept.index(item) for item in found.items])
        self.half = np.array([study.half[item] for item in found.items])
        self.draws = study.bootstrap(self.n_objects, 4)
        self.places = [Place(*at) for at in np.ndindex(self.values.shape[1:])]
        once = np.ones((1, self.n_objects))
        self.strength = np.array(
            [[self._aucs(one, half, once)[0] - 0.5 for one in self.places] for half in (0, 1)]
        ).reshape(2, *self.values.shape[1:])
        """(halves, layers, heads, roles) distance of the AUC from chance on either half."""
        self.order = [self._ranked(np.abs(one)) for one in self.strength]
        """By half that they were ranked on, best first."""
        self.listed = self._ranked(np.abs(self.strength).sum(0))[:RANKED]

    def _ranked(self, strength: Floats) -> list[Place]:
        """All places, the strongest first; the first in the model of equally strong ones."""
        return [self.places[i] for i in np.argsort(-strength, axis=None, kind="stable")]

    def column(self, place: Place) -> Floats:
        """(claims,) one place's terms."""
        return self.values[:, place.layer, place.head, place.role]

    def _aucs(self, place: Place, half: int, counts: Floats) -> Floats:
        values, here = self.column(place), self.half == half
        own, other = here & self.own, here & ~self.own
        return auc(counts, values[own], values[other], self.object_of[own], self.object_of[other])

    def best(self) -> Interval:
        """AUC, on either half, of the place that the other half ranks first."""
        return self.tested([order[0] for order in self.order])

    def tested(self, chosen: Sequence[Place]) -> Interval:
        """Mean AUC of a place that half 0 chose and one that half 1 chose, each tested on the other
        half with the sign that the choosing half fixed."""
        parts = []
        for half in (0, 1):
            place = chosen[1 - half]
            found = self._aucs(place, half, self.draws.counts)
            parts.append(found if self.strength[1 - half][place] >= 0 else 1 - found)
        return interval(np.mean(parts, axis=0))


class _Flips:
    """Verdicts with queries swapped: the best places, random ones, and each listed place alone."""

    def __init__(
        self, study: Study, given: Answers, ranking: Ranking, on_progress: Progress
    ) -> None:
        self.study, self.ranking = study, ranking
        self.asks, is_own = zip(*_claims(study, given), strict=True)
        self.read = recorded(study.model, self.asks, CLAIM_ROLES, ("attention",), "read")
        self.sign = np.where(is_own, 1.0, -1.0)
        self.before = self.sign * contrasts(study.model, self.asks)
        self.counts = [count for count in COUNTS if count <= len(ranking.places) // 2]
        generator = np.random.default_rng(study.settings.seed + 5)
        jobs: dict[object, list[Sequence[Place]]] = {}
        for count in self.counts:
            best = [order[:count] for order in ranking.order]
            jobs["best", count] = [*best]
            for i in range(study.settings.random_heads):
                jobs["random", count, i] = [self._random(one, generator) for one in best]
        jobs |= {place: [[place], [place]] for place in ranking.listed}
        self.after: dict[object, Floats] = {}
        """(claims,) right-minus-wrong contrasts: ("best", count), ("random", count, i), place."""
        for done, (name, job) in enumerate(jobs.items()):
            on_progress(done, len(jobs))
            self.after[name] = self._swapped(job)

    def _random(self, best: Sequence[Place], generator: np.random.Generator) -> list[Place]:
        """As many places of the same layers and roles; of any layer where there are no more."""
        taken, found = set(best), []
        for place in best:
            free = [p for p in self.ranking.places if p not in taken and p.role == place.role]
            pool = [p for p in free if p.layer == place.layer] or free
            drawn = pool[int(generator.integers(len(pool)))]
            taken.add(drawn)
            found.append(drawn)
        return found

    def _swapped(self, places: Sequence[Sequence[Place]]) -> Floats:
        """(claims,) right-minus-wrong contrasts; `places` are those ranked on half 0 and half 1."""
        chosen = [places[1 - self.study.half[ask.item]] for ask in self.asks]

        def edits(rows: list[int]) -> QuerySwapping:
            found = [
                QueryEdit(
                    row=i,
                    layer=place.layer,
                    head=place.head,
                    position=self.asks[row].roles[CLAIM_ROLES[place.role]],
                    given=self.read["attention", place.layer][row ^ 1, place.role],
                )
                for i, row in enumerate(rows)
                for place in chosen[row]
            ]
            return QuerySwapping(self.study.model, found, n_tokens=len(self.asks[rows[0]].ids))

        return self.sign * contrasts(self.study.model, self.asks, edits)

    def _by_object(self, values: Floats) -> Floats:
        """(objects,) sums over claims that were right before."""
        counted = np.where(self.before > 0, values, 0.0)
        sums = np.bincount(self.ranking.object_of, counted, self.ranking.n_objects)
        return sums.astype(np.float64)

    def share(self, after: Floats) -> Floats:
        """(1 + R,) share of right verdicts that flip."""
        flipped = self._by_object((after <= 0).astype(float))
        right = self._by_object(np.ones(len(after)))
        counts = self.ranking.draws.counts
        return (counts @ flipped) / (counts @ right)

    def row(self, count: int) -> FlipRow:
        """Of so many heads together."""
        best, draws = self.after["best", count], self.ranking.draws
        n = self.study.settings.random_heads
        random = [self.share(self.after["random", count, i])[0] for i in range(n)]
        before, moved = self._by_object(self.before), self._by_object(self.before - best)
        return FlipRow(
            heads=count,
            chosen=draws.figure(lambda counts: self.share(best)),
            moved=draws.figure(lambda counts: (counts @ moved) / (counts @ before)),
            **random_control(random),
        )


def _rank(ranking: Ranking, flips: _Flips, place: Place) -> HeadRank:
    values, most = ranking.column(place), max(flips.counts, default=0)
    return HeadRank(
        layer=place.layer,
        head=place.head,
        query=CLAIM_ROLES[place.role],
        auc=ranking.tested([place, place]),
        true_mean=float(values[ranking.own].mean()),
        false_mean=float(values[~ranking.own].mean()),
        chosen=sum(place in order[:most] for order in ranking.order),
        flips=ranking.draws.figure(lambda counts: flips.share(flips.after[place])),
    )
