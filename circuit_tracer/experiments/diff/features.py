"""5. Features of a residual dictionary ranked by change, by change x gradient, and by screening.

The first two rankings give the candidates; each is then steered by half the size of the shift in
the direction that undoes its change, on selection prompts of the main form, and the ten best are
chosen. The contrast is only looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from circuit_tracer.experiments.diff.behaviour import KEPT, BehaviourResult
from circuit_tracer.experiments.diff.directions import Trials, unit
from circuit_tracer.experiments.diff.ranking import Ranking, of_residual
from circuit_tracer.experiments.diff.study import Earlier, Step, Study, answer_rows
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, table_of
from circuit_tracer.graphs.graph import Floats, Ints

SCREENED = 0.5
"""Of the shift's size, by which candidates are steered."""
CHOSEN, OF_CONTRAST = 10, 20
SHOWN, BRIEFLY = 20, 3
"""Candidates in the report and in the terminal."""


@dataclass(frozen=True)
class FeatureRow:
    """One candidate, on selection topics; ranks count from 1, over all features."""

    layer: int
    feature: int
    base: float
    """Mean activation at the ends of prompts."""
    tuned: float
    by_change: int
    """Rank by the size of the change."""
    by_gradient: int
    """Rank by what undoing the change does to right minus wrong, to first order."""
    by_screening: int
    """Rank among the candidates by what steering it does."""
    effect: float
    """Mean probability of the right one of both answers that steering it gives back."""
    chosen: bool
    by_contrast: int | None
    """Rank by the contrast, which the method never saw; None without one."""
    toward: float
    """Mean activation of the base in the contrast's contexts; NaN without."""
    away: float
    base_range: float
    """Between extremes of the base's activations in all contexts and on ordinary text."""
    tells: float
    """How surely it tells which model it is in: 1 where it is constant in each."""
    label: str = ""
    """From its card."""

    @property
    def place(self) -> str:
        """L1/355."""
        return f"L{self.layer}/{self.feature}"

    @property
    def name(self) -> str:
        """L1/355 and its label."""
        return f"{self.place} {self.label}".strip()


@dataclass(frozen=True)
class FeaturesResult:
    """5. The ranking."""

    dictionary: str
    layers: tuple[int, ...]
    """After which it reads."""
    n_features: int
    shift: float
    """Size of the shift over all these layers, which steering is measured in."""
    rows: tuple[FeatureRow, ...]
    """Candidates, the best by screening first."""
    in_contrast: int | None
    """How many of the chosen are among the first 20 by the contrast; None without one."""

    def row(self, layer: int, feature: int) -> FeatureRow:
        """One candidate."""
        return next(one for one in self.rows if (one.layer, one.feature) == (layer, feature))

    def chosen(self, ranking: Ranking) -> Ints:
        """(n,) numbers of the ten best by screening."""
        rows = (one for one in self.rows if one.chosen)
        return np.array([ranking.number(one.layer, one.feature) for one in rows], dtype=int)


def lacks(study: Study, earlier: Earlier) -> str:
    """A residual dictionary is needed, and something to restore."""
    if study.residual is None:
        return (
            "no sparse autoencoder of the base's residual stream was given; train one with "
            "`transcoders train`, `reads` and `writes` resid"
        )
    return KEPT if earlier.of(BehaviourResult).kept(study.spec.main.name) else ""


class Screening(NamedTuple):
    """Candidates and what steering each of them does, the best first."""

    picked: Ints
    """(n,) their numbers."""
    effect: Floats
    """(n,) mean probability of the right answer that it gives back."""
    contrast: Floats
    """(n, prompts) right minus wrong under each."""


def screen(study: Study, ranking: Ranking) -> Screening:
    """Steer every candidate, on selection prompts of the main form."""
    picked = candidates(ranking, study.settings.tops)
    size = np.linalg.norm(ranking.shift, axis=1)[ranking.split(picked)[0]]
    edits = unit(ranking.undone(picked)) * SCREENED * size[:, None, None]
    trials = Trials(study.tuned, ranking.dictionary.numbers, study.texts)
    asks = study.some_asks("selection")
    if not len(edits):
        return Screening(picked, np.zeros(0), np.zeros((0, len(asks))))
    unedited = trials.answers(asks, np.zeros_like(edits[:1])).contrast
    contrast = trials.answers(asks, edits).contrast
    effect = _chance(contrast).mean(1) - _chance(unedited).mean()
    order = np.argsort(-effect, kind="stable")
    return Screening(picked[order], effect[order], contrast[order])


def candidates(ranking: Ranking, tops: int) -> Ints:
    """Numbers of the first by change and by change x gradient together."""
    orders = (in_order(np.abs(ranking.change)), in_order(ranking.predicted))
    wanted = np.unique(np.concatenate([order[:tops] for order in orders]))
    return np.intersect1d(wanted, np.flatnonzero(ranking.change))


def _chance(contrast: Floats) -> Floats:
    """Of the right answer against the wrong one, from logits."""
    return (1 + np.tanh(contrast / 2)) / 2


def in_order(values: Floats) -> Ints:
    """(N,) numbers of all features, the largest first."""
    return np.argsort(-values, kind="stable")


def _ranks(values: Floats) -> Ints:
    """(N,) of every feature, from 1."""
    return np.argsort(in_order(values)) + 1


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[FeaturesResult, list[Row]]:
    """Rank, screen, choose."""
    ranking = earlier.once(of_residual, study)
    screening = screen(study, ranking)
    found = tuple(_rows(study, ranking, screening))
    among = [one.chosen and (one.by_contrast or 0) <= OF_CONTRAST for one in found]
    result = FeaturesResult(
        dictionary=ranking.dictionary.identity.name,
        layers=ranking.dictionary.numbers,
        n_features=len(ranking.change),
        shift=ranking.scale,
        rows=found,
        in_contrast=None if study.spec.contrast is None else sum(among),
    )
    asks = study.some_asks("selection")
    rows: list[Row] = []
    for one, values in zip(found, screening.contrast, strict=True):
        where = {"layer": one.layer, "feature": one.feature}
        rows += answer_rows(study, "tuned", asks, values, name="steered", **where)
    changed = np.flatnonzero(ranking.change)
    for at, (layer, feature) in zip(changed, ranking.places(changed), strict=True):
        where = {"layer": layer, "feature": feature}
        rows.append({"name": "change", "value": ranking.change[at], **where})
        rows.append({"name": "predicted", "value": ranking.predicted[at], **where})
    return result, rows


def _rows(study: Study, ranking: Ranking, screening: Screening) -> Iterator[FeatureRow]:
    """The candidates with all their ranks."""
    by_change, by_gradient = _ranks(np.abs(ranking.change)), _ranks(ranking.predicted)
    by_contrast = _ranks(np.abs(ranking.toward - ranking.away))
    places = ranking.places(screening.picked)
    for n, at in enumerate(screening.picked):
        yield FeatureRow(
            *places[n],
            base=float(ranking.base[at]),
            tuned=float(ranking.tuned[at]),
            by_change=int(by_change[at]),
            by_gradient=int(by_gradient[at]),
            by_screening=n + 1,
            effect=float(screening.effect[n]),
            chosen=n < CHOSEN,
            by_contrast=None if study.spec.contrast is None else int(by_contrast[at]),
            toward=float(ranking.toward[at]),
            away=float(ranking.away[at]),
            base_range=float(ranking.base_range[at]),
            tells=float(ranking.tells[at]),
        )


def named(study: Study, found: FeaturesResult) -> FeaturesResult:
    """With the labels that the features' cards have."""
    label_of = study.labels.get(found.dictionary)
    if label_of is None:
        return found
    labels = label_of([(one.layer, one.feature) for one in found.rows])
    rows = (replace(one, label=label) for one, label in zip(found.rows, labels, strict=True))
    return replace(found, rows=tuple(rows))


HEADING = "5. Features"


def tables(found: FeaturesResult) -> Iterator[Table]:
    """The candidates, best first."""
    columns = ("feature", "by screening", "gives back", "by change", "by change x gradient", "base")
    more = ("tuned", "by contrast", "base ranges over", "tells the models apart")
    cells = (
        "name by_screening effect:% by_change by_gradient base:.3f tuned:.3f by_contrast "
        "base_range:.3f tells:0%"
    )
    note = (
        f"The best of {len(found.rows)} candidates among {found.n_features:,} features of "
        f"{found.dictionary}; the first {sum(one.chosen for one in found.rows)} are chosen. base, "
        "tuned: mean activation on selection topics."
    )
    if found.in_contrast is not None:
        note += f" {found.in_contrast} of them are among the first 20 by the contrast."
    yield table_of(HEADING, found.rows[:SHOWN], (*columns, *more), cells, note, "Candidates")


def brief(found: FeaturesResult) -> Iterator[Table]:
    """The best by screening."""
    columns = ("base", "tuned", "rank by change")
    cells = "base:.2 tuned:.2 by_change"
    yield table_of(HEADING, found.rows[:BRIEFLY], ("best by screening", *columns), f"name {cells}")


STEP = Step("features", FeaturesResult, measure, tables, brief, named, lacks)
