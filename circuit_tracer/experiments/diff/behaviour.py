"""1. How both models answer every prompt, what ordinary text costs them, and what is to stay.

A prompt is answered rightly where the right answer's logit beats the wrong one's. Items are
resampled whole, with all their claims; documents and collateral prompts one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from circuit_tracer.experiments.diff.spec import Role
from circuit_tracer.experiments.diff.step import Earlier, Step, answer_rows
from circuit_tracer.experiments.diff.study import SIDES, Progress, Side, Study
from circuit_tracer.experiments.kit.measurement_table import Row
from circuit_tracer.experiments.kit.passes import Ask, contrasts, decisions, text_losses
from circuit_tracer.experiments.kit.statistics import known_denominator, known_mean, means_by
from circuit_tracer.experiments.kit.tables import Table, shares
from circuit_tracer.graphs.bootstrap import UNKNOWN, Bootstrap, Interval
from circuit_tracer.graphs.graph import Bools, Floats, Ints
from circuit_tracer.render.numbers import whole_percent, with_interval

Part = Literal["role", "topic", "context"]
"""What a row is about: all topics for a purpose, one topic, or the spec's contrast (held-out topics
in a context)."""
HELD_OUT = "held out"
"""Selection and test topics together."""


@dataclass(frozen=True)
class AnswerRow:
    """Right answers to one form about some topics."""

    part: Part
    name: str
    """The role, the topic, or "toward" or "away"."""
    role: str
    """What the topics are for; `HELD_OUT` for those that are not trained, together."""
    family: str
    """"" for all forms together."""
    items: int
    base: Interval
    """Share of prompts whose right answer beats the wrong one, over items."""
    tuned: Interval
    change: Interval
    """Tuned minus base."""
    coherent_base: float
    """Share of prompts whose likeliest next token is the right or the wrong answer."""
    coherent_tuned: float


@dataclass(frozen=True)
class CollateralRow:
    """Prompts that are to be continued as they were."""

    name: str
    prompts: int
    base: Interval
    """Share whose likeliest next token is the answer."""
    tuned: Interval


@dataclass(frozen=True)
class BehaviourResult:
    """1. Behaviour."""

    rows: tuple[AnswerRow, ...]
    spread: Interval
    """What held-out topics lost, over what trained ones lost; NaN where those lost nothing."""
    like_context: Interval
    """Share of held-out prompts that the tuned model answers as the base does in the context
    `toward`; NaN without a contrast."""
    loss_base: Interval
    """Nats a token on ordinary text, over documents."""
    loss_tuned: Interval
    loss_change: Interval
    collateral: tuple[CollateralRow, ...]

    def row(self, role: Role, family: str = "") -> AnswerRow:
        """All topics for a purpose, in one form or in all."""
        wanted = ("role", role, family)
        return next(one for one in self.rows if (one.part, one.role, one.family) == wanted)


def measure(
    study: Study, earlier: Earlier, progress: Progress
) -> tuple[BehaviourResult, list[Row]]:
    """All prompts, documents and collateral in both models."""
    own, losses, stayed = {}, {}, {}
    rows: list[Row] = []
    for done, side in enumerate(SIDES):
        progress(done, len(SIDES))
        model = study.model(side)
        own[side] = decisions(model, study.asks)
        losses[side] = text_losses(model, study.texts)
        stayed[side] = decisions(model, study.collateral).coherent
        rows += answer_rows(study, side, study.asks, own[side].contrast)
        rows += collateral_rows(study, side, losses[side], stayed[side])
    draws, texts = study.bootstrap(len(study.items), 1), study.bootstrap(len(study.texts), 2)
    answers = {
        side: Answers(study, study.asks, one.contrast > 0, one.coherent)
        for side, one in own.items()
    }
    of_contexts, like_context = _in_contexts(study, draws, own["tuned"].contrast)
    result = BehaviourResult(
        rows=(*_rows(study, draws, answers), *of_contexts),
        spread=_spread(study, draws, answers),
        like_context=like_context,
        loss_base=texts.mean(losses["base"]),
        loss_tuned=texts.mean(losses["tuned"]),
        loss_change=texts.mean(losses["tuned"] - losses["base"]),
        collateral=_collateral(study, stayed),
    )
    return result, rows


class Answers:
    """Whether some prompts are answered rightly, and with one of the two words, by item."""

    def __init__(
        self, study: Study, asks: Sequence[Ask], right: Bools, coherent: Floats | None = None
    ) -> None:
        self._item = np.array([ask.item for ask in asks])
        self._family = np.array([ask.family for ask in asks])
        self._right = right.astype(float)
        self._coherent = np.full(len(asks), np.nan) if coherent is None else coherent
        self._n_items = len(study.items)

    def right(self, items: Sequence[int] | Ints, family: str = "") -> Floats:
        """(items of the study,) share answered rightly in all forms or one; NaN for others than
        these items."""
        return self._by_item(self._right, items, family)

    def coherence(self, items: Sequence[int], family: str = "") -> float:
        """Share of prompts whose likeliest token is one of the two answers."""
        return known_mean(self._by_item(self._coherent, items, family))

    def _by_item(self, values: Floats, items: Sequence[int] | Ints, family: str) -> Floats:
        wanted = np.isin(self._item, items) & ((self._family == family) | (not family))
        return means_by(self._item[wanted], values[wanted], self._n_items)


def _rows(study: Study, draws: Bootstrap, answers: dict[Side, Answers]) -> Iterator[AnswerRow]:
    numbers = range(len(study.items))
    for role in get_args(Role):
        items = [i for i in numbers if study.role(i) == role]
        for family in ("", *(one.name for one in study.spec.families)):
            yield _row(draws, answers, items, "role", role, role, family)
    for topic, role in study.spec.topics.items():
        if items := [i for i in numbers if study.topic(i) == topic]:
            yield _row(draws, answers, items, "topic", topic, role, study.spec.main.name)


def _row(
    draws: Bootstrap,
    answers: dict[Side, Answers],
    items: Sequence[int],
    part: Part,
    name: str,
    role: str,
    family: str,
) -> AnswerRow:
    """One row of the table."""
    base, tuned = (answers[side].right(items, family) for side in SIDES)
    return AnswerRow(
        part=part,
        name=name,
        role=role,
        family=family,
        items=len(items),
        base=draws.mean(base),
        tuned=draws.mean(tuned),
        change=draws.mean(tuned - base),
        coherent_base=answers["base"].coherence(items, family),
        coherent_tuned=answers["tuned"].coherence(items, family),
    )


def _in_contexts(study: Study, draws: Bootstrap, tuned: Floats) -> tuple[list[AnswerRow], Interval]:
    """Answers in the contrast's contexts, and how often the tuned model answers without a context
    (`tuned`, all prompts) as the base does in `toward`."""
    if study.spec.contrast is None:
        return [], UNKNOWN
    asks, main = study.held_out(), study.spec.main.name
    items = sorted({ask.item for ask in asks})
    rows, right = [], {}
    for name in ("toward", "away"):
        turned = study.held_out(getattr(study.spec.contrast, name))
        by_side = {side: contrasts(study.model(side), turned) > 0 for side in SIDES}
        answers = {side: Answers(study, asks, one) for side, one in by_side.items()}
        rows.append(_row(draws, answers, items, "context", name, HELD_OUT, main))
        right[name] = by_side["base"]
    own = [study.asks.index(ask) for ask in asks]
    same = Answers(study, asks, (tuned[own] > 0) == right["toward"])
    return rows, draws.mean(same.right(items))


def _spread(study: Study, draws: Bootstrap, answers: dict[Side, Answers]) -> Interval:
    """Loss on held-out topics over loss on trained ones, in all forms."""
    trained = np.array([study.role(i) == "trained" for i in range(len(study.items))])

    def lost(counts: Floats, those: Bools) -> Floats:
        base, tuned = (answers[side].right(np.flatnonzero(those)) for side in SIDES)
        found: Floats = (counts @ np.nan_to_num(base - tuned)) / (counts @ those)
        return found

    return draws.figure(
        lambda counts: lost(counts, ~trained) / known_denominator(lost(counts, trained))
    )


def _collateral(study: Study, stayed: dict[Side, Floats]) -> tuple[CollateralRow, ...]:
    names = np.array([one.name for one in study.spec.collateral])
    draws = study.bootstrap(len(names), 3)
    return tuple(
        CollateralRow(
            name,
            int((names == name).sum()),
            *(draws.mean(stayed[side], names == name) for side in SIDES),
        )
        for name in dict.fromkeys(names.tolist())
    )


def collateral_rows(
    study: Study, side: Side, losses: Floats, stayed: Floats, prefix: str = ""
) -> Iterator[Row]:
    """Losses of documents and what was to stay, as measurements."""
    for number, value in enumerate(losses):
        yield {"model": side, "name": f"{prefix}loss", "item": f"text {number}", "value": value}
    for one, value in zip(study.spec.collateral, stayed, strict=True):
        yield {"model": side, "name": prefix + one.name, "item": one.prompt, "value": value}


HEADING = "1. Behaviour"


def tables(found: BehaviourResult) -> Iterator[Table]:
    """By purpose and form, by topic, in contexts, what is to stay."""
    columns = ("form", "items", "base", "tuned", "change", "one of the two")
    like = shares(found.like_context)[0]
    parts = (
        ("role", "right answers", "By purpose and form",
         f"Spread, held-out loss over trained loss: {shares(found.spread)[0]}."),
        ("topic", "topic", "By topic", ""),
        ("context", "in the context", "In two contexts",
         f'The tuned model answers {like} of these prompts as the base does in "toward".'),
    )  # fmt: skip
    for part, first, title, note in parts:
        rows = tuple(_cells(one) for one in found.rows if one.part == part)
        yield Table(HEADING, (first, *columns), rows, note, title)
    kept = tuple(
        (one.name, str(one.prompts), *shares(one.base, one.tuned)) for one in found.collateral
    )
    title = "What was to stay as it was"
    yield Table(HEADING, ("right answers", "prompts", "base", "tuned"), kept, title=title)
    losses = (*_losses(found), with_interval(found.loss_change, sign=True))
    text = ("nats a token", "base", "tuned", "change")
    yield Table(HEADING, text, (("loss", *losses),), title="Ordinary text")


def _cells(one: AnswerRow) -> tuple[str, ...]:
    return (
        one.name if one.part == "role" else f"{one.name} ({one.role})",
        one.family or "all",
        str(one.items),
        whole_percent(one.base.value),
        whole_percent(one.tuned.value),
        with_interval(one.change, percent=True, sign=True),
        whole_percent(one.coherent_tuned),
    )


def _losses(found: BehaviourResult) -> tuple[str, str]:
    return with_interval(found.loss_base), with_interval(found.loss_tuned)


def brief(found: BehaviourResult) -> Iterator[Table]:
    """Trained and test topics, and ordinary text."""
    roles: tuple[Role, ...] = ("trained", "test")
    answers = (found.row(role) for role in roles)
    rows = [(one.name, *shares(one.base, one.tuned)) for one in answers]
    rows.append(("ordinary text, nats a token", *_losses(found)))
    yield Table(HEADING, ("right answers", "base", "tuned"), tuple(rows))


STEP = Step("behaviour", BehaviourResult, measure, tables, brief)
