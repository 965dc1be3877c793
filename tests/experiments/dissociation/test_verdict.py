"""The verdict follows from the intervals, by the written rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from circuit_tracer.experiments.dissociation.results import Behaviour, Verdict
from circuit_tracer.experiments.dissociation.step_results import (
    AblationResult,
    Cell,
    Dissociation,
    FlipRow,
    HeadRank,
    HeadsResult,
    OverlapResult,
    OverlapRow,
    StoreResult,
    SwapResult,
    SwapRow,
    TruthResult,
    TruthRow,
)
from circuit_tracer.experiments.dissociation.verdict import judge
from circuit_tracer.graphs.bootstrap import Interval
from tests.experiments.dissociation.report import builders

CONTROL = builders.random(0.0, 0.0, 0.0)


def sure(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


def wide(value: float) -> Interval:
    return Interval(value, value - 0.5, value + 0.5)


def swap(completion: Interval, claims: Interval) -> SwapResult:
    rows = [
        SwapRow("early", "everything", family, "completed", follows, sure(0.0), sure(1.0), 0.0)
        for family, follows in (("completion", completion), ("claims", claims))
    ]
    rows.append(
        SwapRow("early", "mlp", "completion", "completed", sure(0.07), sure(1), sure(0), 0.0)
    )
    return SwapResult(tuple(rows), 40)


def ablation(
    fact: Interval, judgement: Interval, *, shuffled: Interval | None = None
) -> AblationResult:
    """Both parts alike; D is the sum of its sides."""
    whole = Interval(
        *(getattr(fact, end) + getattr(judgement, end) for end in ("value", "low", "high"))
    )
    index = [
        Dissociation(
            part=part,
            index=whole,
            fact_side=fact,
            judgement_side=judgement,
            shuffled=shuffled or Interval(0.0, -0.05, 0.05),
            random=sure(0.0),
        )
        for part in ("early", "late", "together")
    ]
    cells = [
        Cell(set=name, part=one.part, route=route, drop=sure(0.3), **CONTROL)  # type: ignore[arg-type]
        for one in index
        for name in ("F", "V", "S")
        for route in ("fact", "judgement")
    ]
    return AblationResult(tuple(cells), (), tuple(index), 20, 20)


def judged(**measured: Any) -> Mapping[str, str]:
    """What each finding holds."""
    return {one.name: one.holds for one in verdict(**measured).findings}


def verdict(*, same_word: bool = True, **measured: Any) -> Verdict:
    """On what is given alone."""
    nothing = dict.fromkeys(("overlap", "ablation", "stores", "heads", "swap", "truth"))
    behaviour = Behaviour(60, 57, "right", ("banana",), (), ())
    report = builders.report(**{"behaviour": behaviour, **nothing, **measured})
    return judge(report, same_word=same_word)


@pytest.mark.parametrize(
    ("completion", "claims", "holds", "headline"),
    [
        (sure(0.9), sure(0.9), "yes", "one place of recall"),
        (sure(0.9), sure(0.1), "no", "two stores"),
        (sure(0.9), wide(0.6), "unclear", "where the fact is kept is open"),
        (sure(0.1), sure(0.1), "unclear", "where the fact is kept is open"),
    ],
)
def test_the_swap_tells_one_recall_from_two_stores(
    completion: Interval, claims: Interval, holds: str, headline: str
) -> None:
    found = verdict(swap=swap(completion, claims))
    assert found.headline == headline
    assert {one.name: one.holds for one in found.findings}["swap"] == holds
    assert ("the MLPs' part 7 %" in found.paragraph) == (completion.value > 0.5)


def test_what_a_swap_cannot_tell_is_stated() -> None:
    found = verdict(swap=swap(sure(0.9), sure(0.9)))
    assert "two stores of equal content at that place would look the same" in found.paragraph
    other_word = judged(swap=swap(sure(0.9), sure(0.9)), same_word=False)
    assert other_word["swap"] == "unclear"


def test_two_stores_come_with_what_the_judgement_does_follow() -> None:
    found = swap(sure(0.9), sure(0.0))
    affirmed = SwapRow(
        "early", "everything", "claims", "affirmed", sure(0.8), sure(0), sure(1), 0.0
    )
    text = verdict(swap=replace(found, rows=(*found.rows, affirmed))).paragraph
    assert "follows what the donor is judged to be in 80 % [79, 81]" in text


@pytest.mark.parametrize(
    ("fact", "judgement", "holds"),
    [
        (sure(0.4), sure(0.5), "yes"),
        (sure(0.4), sure(0.0), "unclear"),
        (sure(0.02), sure(0.5), "unclear"),  # sure, but too small to be a dissociation
        (wide(0.4), wide(0.4), "no"),
        (sure(0.0), sure(0.0), "no"),
    ],
)
def test_a_double_dissociation_needs_both_sides(
    fact: Interval, judgement: Interval, holds: str
) -> None:
    assert judged(ablation=ablation(fact, judgement))["read-outs"] == holds


def test_a_dissociation_must_beat_shuffled_labels() -> None:
    lucky = Interval(0.2, -0.3, 1.2)
    assert judged(ablation=ablation(sure(0.4), sure(0.5), shuffled=lucky))["read-outs"] == "unclear"


@pytest.mark.parametrize(
    ("fact", "judgement", "holds"),
    [(sure(0.4), sure(0.5), "yes"), (sure(-0.1), sure(1.5), "yes"), (sure(0.0), sure(0.0), "no")],
)
def test_stores_by_site(fact: Interval, judgement: Interval, holds: str) -> None:
    ends = ("value", "low", "high")
    whole = Interval(*(getattr(fact, end) + getattr(judgement, end) for end in ends))
    found = StoreResult(
        sites=(),
        index=whole,
        fact_side=fact,
        judgement_side=judgement,
        shuffled=Interval(0.0, -0.1, 0.1),
        n_permutations=200,
    )
    assert judged(stores=found)["stores"] == holds


def test_a_control_that_fails_is_reported() -> None:
    found = verdict(ablation=ablation(sure(0.4), sure(0.5), shuffled=sure(0.3)))
    assert {one.name: one.holds for one in found.findings}["controls"] == "no"
    assert "control" in found.headline
    assert "do not trust" in found.paragraph


@pytest.mark.parametrize(
    ("flips", "highest", "holds"),
    [(sure(0.6), 0.1, "yes"), (sure(0.05), 0.02, "yes"), (sure(0.0), 0.0, "no"),
     (wide(0.5), 0.2, "unclear")],
)  # fmt: skip
def test_heads_must_beat_every_random_set(flips: Interval, highest: float, holds: str) -> None:
    rank = HeadRank(4, 1, "verdict", sure(0.9), 1.0, 0.0, 2, sure(0.1))
    row = FlipRow(heads=8, chosen=flips, moved=sure(0.3), **builders.random(0.0, 0.0, highest))
    assert judged(heads=HeadsResult(("yes_no",), sure(0.9), (rank,), (row,)))["heads"] == holds


def truth(*aucs: tuple[str, str, float]) -> TruthResult:
    rows = [TruthRow(f, r, "verdict", 3, Interval(a, a - 0.1, a + 0.1)) for f, r, a in aucs]
    return TruthResult(tuple(rows), 3, "verdict")


@pytest.mark.parametrize(
    ("across", "holds"),
    [((0.9, 0.8), "yes"), ((0.9, 0.5), "unclear"), ((0.9, 0.1), "no"), ((0.5, 0.5), "no")],
)
def test_truth_is_one_direction_if_read_in_every_other_form(
    across: tuple[float, float], holds: str
) -> None:
    found = truth(("a", "a", 0.9), ("b", "b", 0.9), ("a", "b", across[0]), ("b", "a", across[1]))
    assert judged(truth=found)["truth"] == holds


def test_overlap_never_makes_the_headline() -> None:
    rows = tuple(
        OverlapRow(kind, "", "", sure(value), sure(value), 0.5, 10)  # type: ignore[arg-type]
        for kind, value in (("fact x judgement", 0.1), ("ceiling", 0.8), ("floor", 0.0))
    )
    found = verdict(overlap=OverlapResult(rows, sure(0.1)))
    assert found.headline == "too few items to tell"
    assert "alone says nothing" in found.paragraph
    assert "paraphrases 0.80" in found.paragraph


def test_nothing_measured_is_reported() -> None:
    found = verdict()
    assert found.paragraph == "sprout answers rightly 57 of 60 objects in every form."
