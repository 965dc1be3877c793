"""3. How well dictionaries of the base fit the tuned model: error, activity, loss and behaviour.

A loss that is recovered can hide that the tuned behaviour is not: what the dictionary leaves out is
where the change may be. So the prompts are asked with the dictionary in its place, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from circuit_tracer.experiments.diff.results.fit import DictionaryFit, FitResult, LayerFit
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.steps.behaviour import of_ask
from circuit_tracer.experiments.diff.steps.where import Shares, located_asks
from circuit_tracer.experiments.diff.study import SIDES, Progress, Side, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask, contrasts, equally_long, spans, token_ids
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.evaluation import Evaluation, evaluate_groups, replacement
from circuit_tracer.transcoders.rows import Rows


@dataclass(frozen=True)
class SideFit:
    """One dictionary in one model."""

    evaluation: Evaluation
    own: Floats
    """(prompts,) right minus wrong, in logits."""
    replaced: Floats
    """The same with the dictionary in its place."""


@dataclass(frozen=True)
class Fit:
    """One dictionary in both models."""

    name: str
    base: SideFit
    tuned: SideFit

    def side(self, side: Side) -> SideFit:
        """One model's."""
        return self.base if side == "base" else self.tuned


@dataclass(frozen=True)
class Fits:
    """All dictionaries."""

    dictionaries: tuple[Fit, ...]


def lacks(study: Study, earlier: Earlier) -> str:
    """Neurons fit any model."""
    return "" if _dictionaries(study) else "no dictionary was given, or neurons, which fit exactly"


def _dictionaries(study: Study) -> list[Dictionary]:
    return [one for one in study.dictionaries if isinstance(one, Dictionary)]


def measure(study: Study, earlier: Earlier, progress: Progress) -> Fits:
    """Every dictionary, on ordinary text and on held-out prompts."""
    found, asks = [], located_asks(study)
    given = _dictionaries(study)
    for done, dictionary in enumerate(given):
        progress(done, len(given))
        sides = []
        for side in SIDES:
            model = study.model(side)
            evaluation = evaluate_groups(
                model, dictionary, lambda: _groups(study), name="the ordinary text"
            )
            own, replaced = contrasts(model, asks), replaced_contrasts(model, dictionary, asks)
            sides.append(SideFit(evaluation, own, replaced))
        found.append(Fit(dictionary.identity.name, *sides))
    return Fits(tuple(found))


def _groups(study: Study) -> Iterator[Rows]:
    first = study.base.zeroed_positions(list(study.texts[0]))
    for numbers in equally_long(study.base, study.texts):
        ids = torch.tensor([study.texts[number] for number in numbers], device="cpu")
        lengths = torch.full((len(numbers),), ids.shape[1], device="cpu")
        yield Rows(ids, lengths, first)


@torch.no_grad()
def replaced_contrasts(model: Model, dictionary: Dictionary, asks: Sequence[Ask]) -> Floats:
    """(prompts,) right minus wrong, in logits, with a dictionary in the place of what it stands for
    (BOS keeps its own)."""
    found = np.zeros(len(asks))
    for rows in spans(model, asks):
        ids = token_ids(model, asks, rows)
        first = model.zeroed_positions(list(asks[rows[0]].ids))
        activity = model.mlp_activity(ids, dictionary.reads, dictionary.writes)
        substitute = replacement(dictionary, activity.outputs, first)
        logits = model.replaced(ids, substitute, dictionary.reads, dictionary.writes)[:, -1]
        pairs = [(asks[row].plus, asks[row].minus) for row in rows]
        words = torch.tensor(pairs, device=ids.device)
        plus, minus = logits.gather(1, words).unbind(1)
        found[rows] = as_floats(plus - minus)
    return found


def result(study: Study, found: Fits) -> FitResult:
    """The figures of step 3."""
    return FitResult(tuple(_figures(study, one) for one in found.dictionaries))


def _figures(study: Study, one: Fit) -> DictionaryFit:
    shares = Shares(study, located_asks(study), 20)
    base, tuned = (one.side(side) for side in SIDES)
    answers = (base.own, base.replaced, tuned.own, tuned.replaced)
    right = [shares.right(contrast) for contrast in answers]
    layers = zip(base.evaluation.layers, tuned.evaluation.layers, strict=True)
    return DictionaryFit(
        name=one.name,
        replaced=base.evaluation.replaced,
        layers=tuple(LayerFit(a.layer, a.fvu_pooled, b.fvu_pooled, a.l0, b.l0) for a, b in layers),
        loss_base=base.evaluation.loss_original,
        loss_base_replaced=base.evaluation.loss_replaced,
        loss_tuned=tuned.evaluation.loss_original,
        loss_tuned_replaced=tuned.evaluation.loss_replaced,
        right_base=shares.draws.mean(right[0]),
        right_base_replaced=shares.draws.mean(right[1]),
        right_tuned=shares.draws.mean(right[2]),
        right_tuned_replaced=shares.draws.mean(right[3]),
        given_back=shares.share(right[3] - right[2], right[0] - right[2]),
    )


def rows(study: Study, found: Fits) -> Iterator[Row]:
    """Every answer with a dictionary in its place."""
    asks = located_asks(study)
    for one in found.dictionaries:
        for side in SIDES:
            for ask, value in zip(asks, one.side(side).replaced, strict=True):
                name = f"replaced by {one.name}"
                yield {"model": side, "name": name, "value": value, **of_ask(study, ask)}


STEP = Step("fit", Fits, measure, result, rows, lacks)
