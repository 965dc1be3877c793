"""How constant edits are tested: a size chosen on selection topics, then what it does on test ones.

Shapes: n edits, S layers of the dictionary, d model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.diff.behaviour import collateral_rows
from circuit_tracer.experiments.diff.directions import (
    Candidate,
    Chosen,
    Edits,
    Trials,
    Way,
    choose_sizes,
    unit,
)
from circuit_tracer.experiments.diff.ranking import Ranking
from circuit_tracer.experiments.diff.spec import FamilySpec
from circuit_tracer.experiments.diff.study import ByItem, Side, Study, answer_rows
from circuit_tracer.experiments.kit.passes import contrasts, decisions
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import known_mean, share
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats

TOGETHER = 8
"""Edits that share passes."""
SIDE_OF: dict[Way, Side] = {"restore": "tuned", "induce": "base"}
"""The model that is edited."""


@dataclass(frozen=True)
class EditName:
    """An edit in one direction."""

    name: str
    way: Way

    @property
    def words(self) -> str:
        """Its name in tables and measurements."""
        return f"{self.way}: {self.name}"


@dataclass(frozen=True)
class EditRow(EditName):
    """What one edit that is the same for every prompt does on test topics."""

    features: tuple[tuple[int, int], ...]
    """Layer and feature of each; empty for a dense direction."""
    size: float
    """In sizes of the shift, chosen on selection topics; 0 where none was better than nothing."""
    right: Interval
    """Share of right answers in the main form."""
    share: Interval
    """Of the answers lost by the tuning: brought back, or lost by the edit in the base."""
    families: tuple[tuple[str, Interval], ...]
    """Right answers by form; the main one alone for controls."""
    coherent: float
    """Share of prompts whose likeliest next token is one of the two answers."""
    loss: Interval
    """Nats a token added on ordinary text."""
    kept: float
    """Share of the prompts to stay as they were that are continued as without the edit."""


@dataclass(frozen=True)
class Tested:
    """An edit on test topics."""

    row: EditRow
    gained: Floats
    """(items,) right answers brought back in the main form, or lost by the edit."""
    measurements: tuple[Row, ...]


class Testing:
    """Tests at the streams after a dictionary's layers, in some forms (the main one)."""

    def __init__(
        self, study: Study, ranking: Ranking, families: Sequence[FamilySpec] | None = None
    ) -> None:
        self._study, self._scale = study, ranking.scale
        layers = ranking.dictionary.numbers
        models = {way: study.model(side) for way, side in SIDE_OF.items()}
        self._trials = {way: Trials(one, layers, study.texts) for way, one in models.items()}
        self.asks = study.some_asks("test", families=families)
        family = np.array([ask.family for ask in self.asks])
        self._of_family = {one: family == one for one in dict.fromkeys(family.tolist())}
        self._by_item = {
            one: ByItem(study, [ask for ask in self.asks if ask.family == one], 50)
            for one in self._of_family
        }
        self.main = self._by_item[study.spec.main.name]
        self.base = self._right(contrasts(study.base, self.asks))
        self.tuned = self._right(contrasts(study.tuned, self.asks))
        self._stays = {
            way: decisions(one, study.collateral).coherent for way, one in models.items()
        }

    @property
    def lost(self) -> Floats:
        """(items,) share of right answers that the tuning lost in the main form."""
        return self.base - self.tuned

    def _right(self, contrast: Floats, family: str = "") -> Floats:
        """(items,) share of right answers in a form, the main one."""
        family = family or self._study.spec.main.name
        return self._by_item[family].right(contrast[self._of_family[family]])

    def tested(self, way: Way, candidates: Sequence[Candidate], progress: Progress) -> list[Tested]:
        """Each at the size that is chosen for it."""
        found = []
        for start in range(0, len(candidates), TOGETHER):
            progress(start, len(candidates))
            some = candidates[start : start + TOGETHER]
            found += self.at(way, some, self._chosen(way, some).sizes)
        return found

    def best(self, way: Way, candidates: Sequence[Candidate]) -> Candidate:
        """The one that does most on selection topics, at the size that the limit allows."""
        return candidates[int(self._chosen(way, candidates).shares.argmax())]

    def _chosen(self, way: Way, candidates: Sequence[Candidate]) -> Chosen:
        asks, limit = self._study.some_asks("selection"), self._study.spec.loss_limit
        directions = self._directions(way, candidates)
        return choose_sizes(self._trials[way], asks, directions, way, limit=limit)

    def _directions(self, way: Way, candidates: Sequence[Candidate]) -> Edits:
        """(n, S, d) of the shift's size, pointing where a way goes."""
        given = unit(np.stack([one.direction for one in candidates])) * self._scale
        return given if way == "restore" else -given

    def at(self, way: Way, candidates: Sequence[Candidate], sizes: Floats) -> list[Tested]:
        """Edits at a size each, on test topics, ordinary text and what is to stay."""
        edits, trials = self._directions(way, candidates) * sizes[:, None, None], self._trials[way]
        answers, losses = trials.answers(self.asks, edits), trials.losses(edits)
        stays = trials.answers(self._study.collateral, edits).coherent
        stays[:, self._stays[way] == 0] = np.nan
        study, main, side = self._study, self.main, SIDE_OF[way]
        in_main = self._of_family[study.spec.main.name]
        found = []
        for i, one in enumerate(candidates):
            contrast, loss = answers.contrast[i], losses[i]
            right = self._right(contrast)
            gained = right - self.tuned if way == "restore" else self.base - right
            row = EditRow(
                name=one.name,
                way=way,
                features=one.features,
                size=float(sizes[i]),
                right=main.draws.mean(right),
                share=share(main.draws, gained, self.lost),
                families=tuple(
                    (family, by_item.draws.mean(self._right(contrast, family)))
                    for family, by_item in self._by_item.items()
                ),
                coherent=float(answers.coherent[i, in_main].mean()),
                loss=study.bootstrap(len(loss), 2).mean(loss),
                kept=known_mean(stays[i]),
            )
            measurements = (
                *answer_rows(study, side, self.asks, contrast, name=row.words),
                *collateral_rows(study, side, loss, stays[i], f"{row.words}: "),
            )
            found.append(Tested(row, gained, measurements))
        return found


COLUMNS = ("edit", "size", "right", "restored or induced", "one of the two", "loss", "kept")
CELLS = "words size:.2f right:0% share:[%] coherent:0% loss:[+] kept:0%"
"""Of a table of edits."""
