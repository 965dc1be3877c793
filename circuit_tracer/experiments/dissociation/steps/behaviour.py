"""1. What the model answers, which items are kept, and which it answers inconsistently.

A value family is answered by the likeliest of all the spec's values at its end; a claim is affirmed
where the word for true beats that for false. A family affirms the true value, the other one, or
neither (claims: exactly one of the two must be affirmed). With keep = "right" every family must
affirm the true value; with "own" it may be the other one, family by family, and counts as true of
that family from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from circuit_tracer.experiments.dissociation.items import Item, answer_id
from circuit_tracer.experiments.dissociation.results import Behaviour, FamilyBehaviour
from circuit_tracer.experiments.dissociation.spec import FamilySpec
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.passes import Ask, contrasts, logits_of
from circuit_tracer.experiments.kit.stages import Row
from circuit_tracer.graphs.graph import Floats


@dataclass(frozen=True)
class FamilyAnswers:
    """One family's answers, an entry an item."""

    family: str
    affirmed: tuple[int, ...]
    """1 the true value, -1 the other, 0 neither or both."""
    contrast: Floats
    """True value minus the other, in logits; for claims half the difference of the two claims."""
    true_claim: Floats
    """Word for true minus word for false; of families without claims the contrast."""
    false_claim: Floats
    """The same of the false claim; empty without claims."""


@dataclass(frozen=True)
class Answers:
    """All families' answers."""

    families: tuple[FamilyAnswers, ...]
    kept: tuple[int, ...]
    """Items that every later step is about."""

    def of(self, family: FamilySpec) -> FamilyAnswers:
        """One family's; of a paraphrase those of the family that it paraphrases."""
        name = family.paraphrase_of or family.name
        return next(one for one in self.families if one.family == name)

    def own_is_true(self, family: FamilySpec, item: int) -> bool:
        """Whether a kept item's family affirms the true value (or the other one)."""
        return self.of(family).affirmed[item] > 0

    def own(self, family: FamilySpec, item: Item) -> str:
        """The value that a family affirms of a kept item."""
        true = self.own_is_true(family, item.index)
        return item.value(family) if true else item.other[family.answer]

    def weighted(self, study: Study, family: FamilySpec, item: Item) -> list[tuple[Ask, float]]:
        """The prompts about a kept item, with the weights that their contrasts have in the
        family's: own minus other value, the mean of both claims."""
        asks, own = study.both_claims(family, item), self.own_is_true(family, item.index)
        directions = (1.0, -1.0) if own else (-1.0, 1.0)
        return [(ask, one / len(asks)) for ask, one in zip(asks, directions, strict=False)]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Every logit as a measurement, with its item's number."""
        for one in self.families:
            for claim, values in (("true", one.true_claim), ("false", one.false_claim)):
                row = {"step": "answer", "family": one.family}
                row["claim"] = claim if len(one.false_claim) else ""
                yield from ((item, {**row, "value": value}) for item, value in enumerate(values))


def answers(study: Study) -> Answers:
    """Ask every family about every item."""
    found = tuple(_answers(study, family) for family in study.spec.asked)
    routes = {family.name for family in study.spec.measured}
    table = np.array([one.affirmed for one in found if one.family in routes])
    wanted = table > 0 if study.spec.keep == "right" else table != 0
    kept = np.flatnonzero(wanted.all(0)).tolist()
    return Answers(found, tuple(kept))


def _answers(study: Study, family: FamilySpec) -> FamilyAnswers:
    asks = [ask for item in study.items for ask in study.both_claims(family, item)]
    if family.is_claim:
        true, false = contrasts(study.model, asks).reshape(-1, 2).T
        verdicts = np.where((true > 0) == (false > 0), 0, np.sign(true - false)).astype(int)
        return FamilyAnswers(family.name, tuple(verdicts.tolist()), (true - false) / 2, true, false)
    own = [item.value(family) for item in study.items]
    other = [item.other[family.answer] for item in study.items]
    words = [*sorted(set(own)), *sorted(set(other) - set(own))]
    logits = logits_of(study.model, asks, [answer_id(study.model, family, one) for one in words])
    answered = [words[i] for i in logits.argmax(1).tolist()]
    affirmed = [
        1 if answer == true else -1 if answer == false else 0
        for answer, true, false in zip(answered, own, other, strict=True)
    ]
    of_own, of_other = (
        logits[np.arange(len(asks)), [words.index(one) for one in column]]
        for column in (own, other)
    )
    contrast = of_own - of_other
    return FamilyAnswers(family.name, tuple(affirmed), contrast, contrast, np.array([]))


def family_behaviour(study: Study, given: Answers, family: FamilySpec) -> FamilyBehaviour:
    """One family's figures, over all items of the spec."""
    one = given.of(family)
    affirmed = np.array(one.affirmed)
    draws = study.bootstrap(len(affirmed), 1)
    held_out = np.array([item.held_out for item in study.items])
    kept = np.isin(np.arange(len(affirmed)), given.kept)
    right = (affirmed > 0).astype(float)
    return FamilyBehaviour(
        family=family.name,
        right=draws.mean(right),
        right_held_out=draws.mean(right, held_out),
        reversed=draws.mean((affirmed < 0).astype(float)),
        contrast=draws.mean(own_contrast(one), kept),
    )


def own_contrast(one: FamilyAnswers) -> Floats:
    """(items,) what is affirmed minus what is not; NaN where neither is."""
    affirmed = np.array(one.affirmed, dtype=float)
    return np.where(affirmed == 0, np.nan, affirmed) * one.contrast


def behaviour(study: Study, given: Answers) -> Behaviour:
    """The figures of step 1; inconsistent items are added once the route sets are known."""
    return Behaviour(
        items=len(study.items),
        kept=len(given.kept),
        keep=study.spec.keep,
        objects=tuple(study.items[i].name for i in given.kept),
        families=tuple(family_behaviour(study, given, family) for family in study.spec.asked),
        inconsistent=(),
    )
