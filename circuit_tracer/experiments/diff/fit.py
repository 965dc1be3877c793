"""3. How well dictionaries of the base fit the tuned model: error, activity, loss and behaviour.

A loss that is recovered can hide that the tuned behaviour is not: what the dictionary leaves out is
where the change may be. So the prompts are asked with the dictionary in its place, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from circuit_tracer.experiments.diff.study import SIDES, ByItem, Earlier, Step, Study, answer_rows
from circuit_tracer.experiments.kit.passes import (
    Ask,
    contrasts,
    equally_long,
    leads,
    spans,
    token_ids,
)
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import share
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, shares, table_of, written
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.evaluation import evaluate_groups, replacement
from circuit_tracer.transcoders.rows import Rows


@dataclass(frozen=True)
class LayerFit:
    """One layer of a dictionary, on ordinary text."""

    layer: int
    fvu_base: float
    """Summed squared error over summed variance, in the base."""
    fvu_tuned: float
    l0_base: float
    """Active features a token."""
    l0_tuned: float


@dataclass(frozen=True)
class DictionaryFit:
    """One dictionary in both models."""

    name: str
    replaced: str
    """What is replaced by it: "all MLPs"."""
    layers: tuple[LayerFit, ...]
    loss_base: float
    """Nats a token on ordinary text."""
    loss_base_replaced: float
    loss_tuned: float
    loss_tuned_replaced: float
    right_base: Interval
    """Share of held-out prompts of the main form answered rightly."""
    right_base_replaced: Interval
    right_tuned: Interval
    right_tuned_replaced: Interval
    given_back: Interval
    """Share of the lost answers that the replacement alone brings back: what the dictionary does
    not hold of the change. NaN where none were surely lost."""


@dataclass(frozen=True)
class FitResult:
    """3. Dictionary fit."""

    dictionaries: tuple[DictionaryFit, ...]


def lacks(study: Study, earlier: Earlier) -> str:
    """Neurons fit any model."""
    return "" if _dictionaries(study) else "no dictionary was given, or neurons, which fit exactly"


def _dictionaries(study: Study) -> list[Dictionary]:
    return [one for one in study.dictionaries if isinstance(one, Dictionary)]


def measure(study: Study, earlier: Earlier, progress: Progress) -> tuple[FitResult, list[Row]]:
    """Every dictionary, on ordinary text and on held-out prompts."""
    found, rows = [], []
    given = _dictionaries(study)
    for done, dictionary in enumerate(given):
        progress(done, len(given))
        fit, answers = _measured(study, dictionary)
        found.append(fit)
        rows += answers
    return FitResult(tuple(found)), rows


def _measured(study: Study, dictionary: Dictionary) -> tuple[DictionaryFit, list[Row]]:
    """One dictionary in both models."""
    asks, by_item = study.located, ByItem(study, study.located, 20)
    name = dictionary.identity.name
    right, evaluations = [], []
    rows: list[Row] = []
    for side in SIDES:
        model = study.model(side)
        groups = partial(_groups, study)
        evaluations.append(evaluate_groups(model, dictionary, groups, name="the ordinary text"))
        replaced = replaced_contrasts(model, dictionary, asks)
        rows += answer_rows(study, side, asks, replaced, name=f"replaced by {name}")
        right += [by_item.right(contrasts(model, asks)), by_item.right(replaced)]
    base, tuned = evaluations
    means = [by_item.draws.mean(one) for one in right]
    layers = zip(base.layers, tuned.layers, strict=True)
    fit = DictionaryFit(
        name=name,
        replaced=base.replaced,
        layers=tuple(LayerFit(a.layer, a.fvu_pooled, b.fvu_pooled, a.l0, b.l0) for a, b in layers),
        loss_base=base.loss_original,
        loss_base_replaced=base.loss_replaced,
        loss_tuned=tuned.loss_original,
        loss_tuned_replaced=tuned.loss_replaced,
        right_base=means[0],
        right_base_replaced=means[1],
        right_tuned=means[2],
        right_tuned_replaced=means[3],
        given_back=share(by_item.draws, right[3] - right[2], right[0] - right[2]),
    )
    return fit, rows


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
        found[rows] = as_floats(leads(asks, rows, logits))
    return found


HEADING = "3. Dictionary fit"


def tables(found: FitResult) -> Iterator[Table]:
    """By layer, then loss and answers with the dictionary in its place."""
    for one in found.dictionaries:
        columns = ("layer", "FVU, base", "tuned", "L0, base", "tuned")
        cells = "layer fvu_base:number fvu_tuned:number l0_base:number l0_tuned:number"
        title = f"{one.name}: error and active features"
        yield table_of(HEADING, one.layers, columns, cells, title=title)
        title = f"{one.name} in place of {one.replaced}"
        note = (
            f"{title} brings back {shares(one.given_back)[0]} of the lost answers by itself: that "
            "much of the change it does not hold."
        )
        columns = ("model", "loss", "replaced", "right", "replaced")
        yield Table(HEADING, columns, tuple(_sides(one)), note, title)


def _sides(one: DictionaryFit) -> Iterator[tuple[str, ...]]:
    for side in SIDES:
        forms = {f"loss_{side}": ".3f", f"loss_{side}_replaced": ".3f"}
        forms |= {f"right_{side}": "0%", f"right_{side}_replaced": "0%"}
        yield side, *(written(getattr(one, of), form) for of, form in forms.items())


def brief(found: FitResult) -> Iterator[Table]:
    """Error over the layers, and what each brings back."""
    rows = []
    for one in found.dictionaries:
        errors = [row.fvu_base for row in one.layers], [row.fvu_tuned for row in one.layers]
        ends = ((f"{min(values):.3f}", f"{max(values):.3f}") for values in errors)
        spans = ("-".join(dict.fromkeys(both)) for both in ends)
        rows.append((one.name, *spans, *shares(one.given_back)))
    columns = ("dictionary", "FVU, base", "FVU, tuned", "restores by itself")
    yield Table(HEADING, columns, tuple(rows))


STEP = Step("fit", FitResult, measure, tables, brief, lacks=lacks)
