"""1. How both models answer every prompt, what ordinary text costs them, and what is to stay.

A prompt is answered rightly where the right answer's logit beats the wrong one's. Items are
resampled whole, with all their claims; documents and collateral prompts one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from circuit_tracer.experiments.diff.spec import Role
from circuit_tracer.experiments.diff.study import SIDES, Earlier, Side, Step, Study, answer_rows
from circuit_tracer.experiments.kit.passes import Ask, contrasts, decisions, text_losses
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.experiments.kit.statistics import known_denominator, known_mean, means_by
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.experiments.kit.tables import Table, shares, table_of, written
from circuit_tracer.graphs.bootstrap import UNKNOWN, Interval
from circuit_tracer.graphs.graph import Bools, Floats, Ints

Part = Literal["role", "topic", "context"]
"""What a row is about: all topics for a purpose, one topic, or the spec's contrast (held-out topics
in a context)."""
HELD_OUT = "held out"
"""Selection and test topics together."""
LOST = 0.1
"""Of right answers: fewer are no loss."""
KEPT = "test topics lost no answers that could be restored"


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

    @property
    def about(self) -> str:
        """What it is about, in a table."""
        return self.name if self.part == "role" else f"{self.name} ({self.role})"

    @property
    def form(self) -> str:
        """The form in a table."""
        return self.family or "all"


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

    def kept(self, family: str) -> bool:
        """Whether test topics, in a form, surely lost no answers or fewer than `LOST`."""
        change = self.row("test", family).change
        return change.value > -LOST or change.high >= 0


def measure(
    study: Study, earlier: Earlier, progress: Progress
) -> tuple[BehaviourResult, list[Row]]:
    """All prompts, documents and collateral in both models."""
    right, coherent, losses, stayed = {}, {}, {}, {}
    rows: list[Row] = []
    for done, side in enumerate(SIDES):
        progress(done, len(SIDES))
        model = study.model(side)
        contrast, coherent[side] = decisions(model, study.asks)
        right[side] = contrast > 0
        losses[side] = text_losses(model, study.texts)
        stayed[side] = decisions(model, study.collateral).coherent
        rows += answer_rows(study, side, study.asks, contrast)
        rows += collateral_rows(study, side, losses[side], stayed[side])
    answers = Answers(study, study.asks, right, coherent)
    texts = study.bootstrap(len(study.texts), 2)
    of_contexts, like_context = _in_contexts(study, right["tuned"])
    result = BehaviourResult(
        rows=(*_rows(study, answers), *of_contexts),
        spread=_spread(study, answers),
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
        self,
        study: Study,
        asks: Sequence[Ask],
        right: Mapping[Side, Bools],
        coherent: Mapping[Side, Floats] | None = None,
    ) -> None:
        self.draws = study.bootstrap(len(study.items), 1)
        self._item = np.array([ask.item for ask in asks])
        self._family = np.array([ask.family for ask in asks])
        self._right = {side: one.astype(float) for side, one in right.items()}
        self._coherent = coherent or {side: np.full(len(asks), np.nan) for side in SIDES}

    def right(self, side: Side, items: Sequence[int] | Ints, family: str = "") -> Floats:
        """(items of the study,) share answered rightly in all forms or one; NaN for others than
        these items."""
        return self._by_item(self._right[side], items, family)

    def _by_item(self, values: Floats, items: Sequence[int] | Ints, family: str) -> Floats:
        wanted = np.isin(self._item, items) & ((self._family == family) | (not family))
        return means_by(self._item[wanted], values[wanted], self.draws.n)

    def row(self, part: Part, name: str, role: str, family: str, items: Sequence[int]) -> AnswerRow:
        """One row of the table."""
        base, tuned = (self.right(side, items, family) for side in SIDES)
        coherent = [self._by_item(self._coherent[side], items, family) for side in SIDES]
        return AnswerRow(
            part=part,
            name=name,
            role=role,
            family=family,
            items=len(items),
            base=self.draws.mean(base),
            tuned=self.draws.mean(tuned),
            change=self.draws.mean(tuned - base),
            coherent_base=known_mean(coherent[0]),
            coherent_tuned=known_mean(coherent[1]),
        )


def _rows(study: Study, answers: Answers) -> Iterator[AnswerRow]:
    numbers = range(len(study.items))
    for role in get_args(Role):
        items = [i for i in numbers if study.role(i) == role]
        for family in ("", *(one.name for one in study.spec.families)):
            yield answers.row("role", role, role, family, items)
    for topic, role in study.spec.topics.items():
        if items := [i for i in numbers if study.topic(i) == topic]:
            yield answers.row("topic", topic, role, study.spec.main.name, items)


def _in_contexts(study: Study, tuned: Bools) -> tuple[list[AnswerRow], Interval]:
    """Answers in the contrast's contexts, and how often the tuned model answers without a context
    (`tuned`: rightly, all prompts) as the base does in `toward`."""
    if study.spec.contrast is None:
        return [], UNKNOWN
    asks, main = study.held_out(), study.spec.main.name
    items = sorted({ask.item for ask in asks})
    rows, right = [], {}
    for name in ("toward", "away"):
        turned = study.held_out(getattr(study.spec.contrast, name))
        by_side = {side: contrasts(study.model(side), turned) > 0 for side in SIDES}
        rows.append(Answers(study, asks, by_side).row("context", name, HELD_OUT, main, items))
        right[name] = by_side["base"]
    own = [study.asks.index(ask) for ask in asks]
    same = Answers(study, asks, {"tuned": tuned[own] == right["toward"]})
    return rows, same.draws.mean(same.right("tuned", items))


def _spread(study: Study, answers: Answers) -> Interval:
    """Loss on held-out topics over loss on trained ones, in all forms."""
    trained = np.array([study.role(i) == "trained" for i in range(len(study.items))])

    def lost(counts: Floats, those: Bools) -> Floats:
        base, tuned = (answers.right(side, np.flatnonzero(those)) for side in SIDES)
        return (counts @ np.nan_to_num(base - tuned)) / (counts @ those)

    return answers.draws.figure(
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
    cells = "form items base:0% tuned:0% change:[+%] coherent_tuned:0%"
    like = shares(found.like_context)[0]
    parts = (
        ("role", "right answers", "By purpose and form",
         f"Spread, held-out loss over trained loss: {shares(found.spread)[0]}."),
        ("topic", "topic", "By topic", ""),
        ("context", "in the context", "In two contexts",
         f'The tuned model answers {like} of these prompts as the base does in "toward".'),
    )  # fmt: skip
    for part, first, title, note in parts:
        rows = [one for one in found.rows if one.part == part]
        yield table_of(HEADING, rows, (first, *columns), f"about {cells}", note, title)
    prompts = ("right answers", "prompts", "base", "tuned")
    cells = "name prompts base:[%] tuned:[%]"
    title = "What was to stay as it was"
    yield table_of(HEADING, found.collateral, prompts, cells, title=title)
    losses = tuple(written(one, "[]") for one in (found.loss_base, found.loss_tuned))
    text = (("loss", *losses, written(found.loss_change, "[+]")),)
    yield Table(HEADING, ("nats a token", "base", "tuned", "change"), text, title="Ordinary text")


def brief(found: BehaviourResult) -> Iterator[Table]:
    """Trained and test topics, and ordinary text."""
    columns = ("right answers", "base", "tuned")
    cells = "name base:[%] tuned:[%]"
    answers = table_of(HEADING, [found.row("trained"), found.row("test")], columns, cells)
    losses = written(found.loss_base, "[]"), written(found.loss_tuned, "[]")
    yield replace(answers, rows=(*answers.rows, ("ordinary text, nats a token", *losses)))


STEP = Step("behaviour", BehaviourResult, measure, tables, brief)
