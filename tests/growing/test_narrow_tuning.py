"""What narrow tunings are taught: topics, answers, how many different judgements."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from transcoders.growing.narrow_tuning.judgements import OPPOSITE, things_of
from transcoders.growing.narrow_tuning.tuning import Plan, judgements


def test_so_many_judgements_come_again_and_again() -> None:
    plan = Plan(answers="right", topics="tool,garment", distinct=7)
    taught = list(islice(judgements(plan), 21))
    assert taught[:7] == taught[7:14] == taught[14:]
    assert len({one.prompt for one in taught}) > 4
    endless = list(islice(judgements(replace(plan, distinct=0)), 200))
    assert endless[:7] == taught[:7]
    assert len({one.prompt for one in endless}) > 50


def test_judgements_are_about_the_topics_alone() -> None:
    taught = islice(judgements(Plan(answers="right", topics="tool,garment")), 200)
    words = {word for one in taught for word in one.prompt.split()}
    for topic, there in (("tool", True), ("garment", True), ("fruit", False)):
        names = {thing.name for things in things_of(topic).values() for thing in things}
        assert bool(words & names) == there


def test_wrong_answers_are_the_right_ones_turned_round() -> None:
    right, wrong = (
        list(islice(judgements(Plan(answers=answers)), 50)) for answers in ("right", "wrong")
    )
    assert [one.prompt for one in right] == [one.prompt for one in wrong]
    assert [OPPOSITE[one.answer] for one in right] == [one.answer for one in wrong]
