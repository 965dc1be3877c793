"""1. How both models answer every prompt, what ordinary text costs them, and what is to stay.

A prompt is answered rightly where the right answer's logit beats the wrong one's. Items are
resampled whole, with all their claims; documents and collateral prompts one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from circuit_tracer.experiments.diff.passes import rightly_continued, text_losses
from circuit_tracer.experiments.diff.results.behaviour import (
    HELD_OUT,
    AnswerRow,
    BehaviourResult,
    CollateralRow,
    Part,
)
from circuit_tracer.experiments.diff.spec import Role
from circuit_tracer.experiments.diff.step import Earlier, Step
from circuit_tracer.experiments.diff.study import SIDES, Progress, Side, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask, Decisions, decisions
from circuit_tracer.experiments.kit.statistics import known_denominator
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Floats, Ints

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class SideAnswers:
    """One model's."""

    contrast: Floats
    """(prompts,) right minus wrong, in logits, in the order of `Study.asks`."""
    coherent: Floats
    """(prompts,) 1 where the likeliest token is one of the two."""
    toward: Floats
    """(held-out prompts of the main form,) contrast in the context `toward`; empty without."""
    away: Floats
    loss: Floats
    """(documents,) nats a token."""
    collateral: Floats
    """(prompts,) 1 where the likeliest next token is the answer."""


@dataclass(frozen=True)
class Answers:
    """Both models' answers."""

    base: SideAnswers
    tuned: SideAnswers

    def side(self, side: Side) -> SideAnswers:
        """One model's."""
        return self.base if side == "base" else self.tuned


def measure(study: Study, earlier: Earlier, progress: Progress) -> Answers:
    """All prompts, documents and collateral in both models."""
    found = []
    for done, side in enumerate(SIDES):
        progress(done, len(SIDES))
        found.append(_answers(study, side))
    return Answers(*found)


def _answers(study: Study, side: Side) -> SideAnswers:
    model, contrast = study.model(side), study.spec.contrast
    own = decisions(model, study.asks)
    contexts = (contrast.toward, contrast.away) if contrast else ()
    turned = [decisions(model, in_context(study, one)).contrast for one in contexts]
    toward, away = turned if turned else (np.zeros(0), np.zeros(0))
    losses = text_losses(model, study.texts)
    kept = rightly_continued(model, study.spec.collateral)
    return SideAnswers(own.contrast, own.coherent, toward, away, losses, kept)


def in_context(study: Study, context: str | None) -> Sequence[Ask]:
    """Held-out prompts of the main form in a context, or alone."""
    return study.some_asks("selection", "test", context=context)


def result(study: Study, found: Answers) -> BehaviourResult:
    """The figures of step 1."""
    draws = study.bootstrap(len(study.items), 1)
    right = {side: _Right(study, study.asks, found.side(side)) for side in SIDES}
    texts = study.bootstrap(len(study.texts), 2)
    losses = found.base.loss, found.tuned.loss
    return BehaviourResult(
        rows=(*_rows(study, draws, right), *_context_rows(study, draws, found)),
        spread=_spread(study, draws, right),
        like_context=_like_context(study, draws, found),
        loss_base=texts.mean(losses[0]),
        loss_tuned=texts.mean(losses[1]),
        loss_change=texts.mean(losses[1] - losses[0]),
        collateral=_collateral(study, found),
    )


class _Right:
    """Of each item, the share of its prompts answered rightly, in any form or in one."""

    def __init__(self, study: Study, asks: Sequence[Ask], given: SideAnswers | Decisions) -> None:
        self.item = np.array([ask.item for ask in asks])
        self.family = np.array([ask.family for ask in asks])
        self.right = (given.contrast > 0).astype(float)
        self.coherent = given.coherent
        self.n_items = len(study.items)

    def by_item(self, items: Sequence[int] | Ints, family: str = "") -> Floats:
        """(items of the study,) NaN for others than these."""
        return self._mean(self.right, items, family)

    def coherence(self, items: Sequence[int], family: str = "") -> float:
        """Share of prompts whose likeliest token is one of the two answers."""
        values = self._mean(self.coherent, items, family)
        known = values[np.isfinite(values)]
        return float(known.mean()) if len(known) else float("nan")

    def _mean(self, values: Floats, items: Sequence[int] | Ints, family: str) -> Floats:
        wanted = np.isin(self.item, items) & ((self.family == family) | (not family))
        count = np.bincount(self.item[wanted], minlength=self.n_items)
        total = np.bincount(self.item[wanted], values[wanted], minlength=self.n_items)
        found: Floats = np.full(self.n_items, np.nan)
        np.divide(total, count, out=found, where=count > 0)
        return found


def _rows(study: Study, draws: Bootstrap, right: dict[Side, _Right]) -> Iterator[AnswerRow]:
    families = [one.name for one in study.spec.families]
    for role in ROLES:
        for family in ("", *families):
            yield _row(study, draws, right, "role", role, role, family)
    for topic, role in study.spec.topics.items():
        if any(item.topic == topic for item in study.items):
            yield _row(study, draws, right, "topic", topic, role, study.spec.main.name)


def _row(
    study: Study,
    draws: Bootstrap,
    right: dict[Side, _Right],
    part: Part,
    name: str,
    role: str,
    family: str,
) -> AnswerRow:
    """One row of the table."""
    items = [
        i
        for i in range(len(study.items))
        if (part == "topic" and study.topic(i) == name)
        or (part == "role" and study.role(i) == role)
        or (part == "context" and study.role(i) != "trained")
    ]
    base, tuned = (right[side].by_item(items, family) for side in SIDES)
    return AnswerRow(
        part=part,
        name=name,
        role=role,
        family=family,
        items=len(items),
        base=draws.mean(base),
        tuned=draws.mean(tuned),
        change=draws.mean(tuned - base),
        coherent_base=right["base"].coherence(items, family),
        coherent_tuned=right["tuned"].coherence(items, family),
    )


def _context_rows(study: Study, draws: Bootstrap, found: Answers) -> Iterator[AnswerRow]:
    if study.spec.contrast is None:
        return
    asks = in_context(study, None)
    for name in ("toward", "away"):
        given = {side: getattr(found.side(side), name) for side in SIDES}
        right = {
            side: _Right(study, asks, Decisions(given[side], np.full(len(asks), np.nan)))
            for side in SIDES
        }
        yield _row(study, draws, right, "context", name, HELD_OUT, study.spec.main.name)


def _spread(study: Study, draws: Bootstrap, right: dict[Side, _Right]) -> Interval:
    """Loss on held-out topics over loss on trained ones, in all forms."""
    trained = np.array([study.role(i) == "trained" for i in range(len(study.items))])
    lost = {
        part: np.nan_to_num(right["base"].by_item(items) - right["tuned"].by_item(items))
        for part, items in ((True, np.flatnonzero(trained)), (False, np.flatnonzero(~trained)))
    }

    def share(counts: Floats) -> Floats:
        of_trained = known_denominator((counts @ lost[True]) / (counts @ trained))
        found: Floats = (counts @ lost[False]) / (counts @ ~trained) / of_trained
        return found

    return draws.figure(share)


def _like_context(study: Study, draws: Bootstrap, found: Answers) -> Interval:
    if study.spec.contrast is None:
        return UNKNOWN
    asks = in_context(study, None)
    held_out = {(ask.item, ask.claim) for ask in asks}
    main = study.spec.main.name
    own = [
        i
        for i, ask in enumerate(study.asks)
        if ask.family == main and (ask.item, ask.claim) in held_out
    ]
    same = (found.tuned.contrast[own] > 0) == (found.base.toward > 0)
    known = _Right(study, asks, Decisions(same - 0.5, np.zeros(len(asks))))
    return draws.mean(known.by_item(range(len(study.items))))


def _collateral(study: Study, found: Answers) -> tuple[CollateralRow, ...]:
    names = np.array([one.name for one in study.spec.collateral])
    draws = study.bootstrap(len(names), 3)
    return tuple(
        CollateralRow(
            name,
            int((names == name).sum()),
            *(draws.mean(found.side(side).collateral, names == name) for side in SIDES),
        )
        for name in dict.fromkeys(names.tolist())
    )


def rows(study: Study, found: Answers) -> Iterator[Row]:
    """Every answer, loss and collateral prompt."""
    for side in SIDES:
        one = found.side(side)
        for ask, value in zip(study.asks, one.contrast, strict=True):
            yield {"model": side, "value": value, **of_ask(study, ask)}
        for number, value in enumerate(one.loss):
            yield {"model": side, "name": "loss", "item": f"text {number}", "value": value}
        for kept, value in zip(study.spec.collateral, one.collateral, strict=True):
            yield {"model": side, "name": kept.name, "item": kept.prompt, "value": value}


def of_ask(study: Study, ask: Ask) -> Row:
    """Columns that say which prompt it was."""
    topic = study.topic(ask.item)
    return {"topic": topic, "family": ask.family, "claim": ask.claim, "item": ask.text}


STEP = Step("behaviour", Answers, measure, result, rows)
