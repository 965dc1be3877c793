"""5. Features of a residual dictionary ranked by change, by change x gradient, and by screening.

The first two rankings give the candidates; each is then steered by half the size of the shift in
the direction that undoes its change, on selection prompts of the main form, and the ten best are
chosen. The contrast is only looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.diff.directions import Edits, Trials, unit
from circuit_tracer.experiments.diff.results.features import FeatureRow, FeaturesResult
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.behaviour import of_ask
from circuit_tracer.experiments.diff.steps.ranking import Ranking, decoders, rank, streams
from circuit_tracer.experiments.diff.study import Progress, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.transcoders.dictionary import Dictionary

TOPS, QUICK_TOPS = 35, 10
"""Of each ranking, among the candidates."""
SCREENED = 0.5
"""Of the shift's size, by which candidates are steered."""
CHOSEN, OF_CONTRAST = 10, 20


@dataclass(frozen=True)
class Screening:
    """Candidates and what steering each of them does."""

    layer: Ints
    """(n,) counts the dictionary's layers; the best by screening first."""
    feature: Ints
    effect: Floats
    """(n,) mean probability of the right answer that it gives back."""
    contrast: Floats
    """(n, prompts) right minus wrong under each."""

    @property
    def chosen(self) -> tuple[Ints, Ints]:
        """Layers and features of the ten best."""
        return self.layer[:CHOSEN], self.feature[:CHOSEN]


@dataclass(frozen=True)
class Features:
    """The ranking of all features, and the screening of some."""

    ranking: Ranking
    screening: Screening


def residual(study: Study) -> Dictionary | None:
    """The sparse autoencoder of the residual stream; the first, where several were given."""
    kinds = [one for one in study.dictionaries if isinstance(one, Dictionary)]
    return next((one for one in kinds if one.kind == "sae"), None)


def lacks(study: Study, earlier: Earlier) -> str:
    """A residual dictionary is needed."""
    if residual(study) is not None:
        return ""
    return (
        "no sparse autoencoder of the base's residual stream was given; train one with "
        "`transcoders train`, `reads` and `writes` resid"
    )


def measure(study: Study, earlier: Earlier, progress: Progress) -> Features:
    """Rank, screen, choose."""
    dictionary = residual(study)
    assert dictionary is not None
    ranking = rank(dictionary, streams(study, dictionary.numbers))
    return Features(ranking, screen(study, dictionary, ranking, progress))


def screen(study: Study, dictionary: Dictionary, ranking: Ranking, progress: Progress) -> Screening:
    """Steer every candidate, on selection prompts of the main form."""
    layer, feature = candidates(ranking, QUICK_TOPS if study.settings.quick else TOPS)
    size = np.linalg.norm(ranking.shift, axis=1)[layer]
    edits = unit(undone(dictionary, ranking, layer, feature)) * SCREENED * size[:, None, None]
    trials = Trials(study.tuned, dictionary.numbers, study.texts)
    asks = study.some_asks("selection")
    progress(0, len(edits))
    if not len(edits):
        return Screening(layer, feature, np.zeros(0), np.zeros((0, len(asks))))
    unedited = trials.answers(asks, np.zeros_like(edits[:1])).contrast
    contrast = trials.answers(asks, edits).contrast
    effect = _chance(contrast).mean(1) - _chance(unedited).mean()
    order = np.argsort(-effect, kind="stable")
    return Screening(layer[order], feature[order], effect[order], contrast[order])


def candidates(ranking: Ranking, tops: int) -> tuple[Ints, Ints]:
    """Layers and features of the first by change and by change x gradient together."""
    orders = (_order(np.abs(ranking.change)), _order(ranking.predicted))
    changed = np.flatnonzero(ranking.change)
    wanted = np.unique(np.concatenate([order[:tops] for order in orders]))
    layer, feature = np.unravel_index(np.intersect1d(wanted, changed), ranking.change.shape)
    return layer, feature


def undone(dictionary: Dictionary, ranking: Ranking, layer: Ints, feature: Ints) -> Edits:
    """(n, S, d) the change of each feature taken back."""
    change = ranking.change[layer, feature]
    found: Edits = -change[:, None, None] * decoders(dictionary, layer, feature)
    return found


def _chance(contrast: Floats) -> Floats:
    """Of the right answer against the wrong one, from logits."""
    found: Floats = (1 + np.tanh(contrast / 2)) / 2
    return found


def _order(values: Floats) -> Ints:
    """Numbers of all features, the largest first."""
    found: Ints = np.argsort(-values.ravel(), kind="stable")
    return found


def result(study: Study, found: Features) -> FeaturesResult:
    """The candidates with all their ranks."""
    dictionary = residual(study)
    assert dictionary is not None
    ranking, screening = found.ranking, found.screening
    ranks = [_ranks(np.abs(ranking.change)), _ranks(ranking.predicted)]
    has_contrast = bool(np.isfinite(ranking.toward).all())
    by_contrast = _ranks(np.abs(ranking.toward - ranking.away)) if has_contrast else None
    numbers = [dictionary.numbers[i] for i in screening.layer]
    names = list(zip(numbers, map(int, screening.feature), strict=True))
    label_of = study.labels.get(dictionary.identity.name)
    labels = [""] * len(names) if label_of is None else label_of(names)
    rows = []
    for n, (i, feature) in enumerate(zip(screening.layer, screening.feature, strict=True)):
        at = (i, feature)
        rows.append(
            FeatureRow(
                layer=dictionary.numbers[i],
                feature=int(feature),
                base=float(ranking.base[at]),
                tuned=float(ranking.tuned[at]),
                by_change=int(ranks[0][at]),
                by_gradient=int(ranks[1][at]),
                by_screening=n + 1,
                effect=float(screening.effect[n]),
                chosen=n < CHOSEN,
                by_contrast=None if by_contrast is None else int(by_contrast[at]),
                toward=float(ranking.toward[at]),
                away=float(ranking.away[at]),
                base_range=float(ranking.base_range[at]),
                tells=float(ranking.tells[at]),
                label=labels[n],
            )
        )
    among = [one for one in rows if one.chosen and (one.by_contrast or 0) <= OF_CONTRAST]
    return FeaturesResult(
        dictionary=dictionary.identity.name,
        layers=dictionary.numbers,
        n_features=ranking.change.size,
        shift=float(np.linalg.norm(ranking.shift)),
        rows=tuple(rows),
        in_contrast=len(among) if has_contrast else None,
    )


def _ranks(values: Floats) -> Ints:
    """Of every feature, from 1."""
    found = np.empty(values.size, dtype=np.int64)
    found[_order(values)] = np.arange(1, values.size + 1)
    return found.reshape(values.shape)


def rows(study: Study, found: Features) -> Iterator[Row]:
    """Every candidate's answers, and what all features are in both models."""
    dictionary, asks = residual(study), study.some_asks("selection")
    assert dictionary is not None
    screening, ranking = found.screening, found.ranking
    for i, feature, values in zip(
        screening.layer, screening.feature, screening.contrast, strict=True
    ):
        where = {"layer": dictionary.numbers[i], "feature": int(feature)}
        for ask, value in zip(asks, values, strict=True):
            yield {
                "model": "tuned",
                "name": "steered",
                "value": value,
                **where,
                **of_ask(study, ask),
            }
    for (i, feature), change in np.ndenumerate(ranking.change):
        if change:
            where = {"layer": dictionary.numbers[i], "feature": feature}
            yield {"name": "change", "value": change, **where}
            yield {"name": "predicted", "value": ranking.predicted[i, feature], **where}


STEP = Step("features", Features, measure, result, rows, lacks)
