"""What narrow tunings are taught: topics, answers, how many different judgements."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.diff.where import numerical_rank
from circuit_tracer.models import open_model
from transcoders.growing.model_folder import read_model
from transcoders.growing.narrow_tuning.judgements import OPPOSITE, things_of
from transcoders.growing.narrow_tuning.tuning import Course, Plan, judgements, move_matrices
from transcoders.smollm2.tune import write_adapted


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


def test_a_tuning_of_low_rank_is_an_adapter_beside_the_model(tmp_path: Path) -> None:
    sprout = shipped_folder("transcoders") / "sprout" / "model"
    model, _ = read_model(sprout)
    before = {name: one.detach().clone() for name, one in model.state_dict().items()}
    ids = torch.arange(20)[None]

    def loss_at(step: int) -> torch.Tensor:
        loss: torch.Tensor = model(input_ids=ids, labels=ids).loss
        return loss

    changes = move_matrices(model, Course(steps=3, rate=1e-2, rank=2), loss_at)
    write_adapted(sprout, changes, 2, tmp_path / "tuned")
    opened = open_model(str(tmp_path / "tuned"), device="cpu")
    assert "LoRA adapter" in opened.notes[0]
    after = opened.module.state_dict()
    for name, one in model.state_dict().items():
        torch.testing.assert_close(after[name], one, atol=1e-5, rtol=1e-5)
        changed = name.removesuffix(".weight") in changes
        assert bool((after[name] != before[name]).any()) == changed
        if changed:
            assert numerical_rank(before[name], after[name], torch.float32) == 2
