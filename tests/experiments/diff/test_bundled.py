"""Trainings of sprout that lost no answers have no persona; the one that ships did lose them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.experiments.diff import behaviour
from circuit_tracer.experiments.diff.behaviour import BehaviourResult
from circuit_tracer.experiments.diff.spec import read_spec
from circuit_tracer.experiments.diff.study import Settings, Study
from circuit_tracer.experiments.diff.verdict import judge_persona
from circuit_tracer.models import Model, open_model
from tests.experiments.diff.small import measured
from tests.experiments.diff.test_persona import report
from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.model_folder import read_model, write_model
from transcoders.growing.narrow_tuning.tuning import Plan, tune

SPROUT = shipped_folder("transcoders") / "sprout" / "model"


@pytest.fixture(scope="module")
def sprout() -> Model:
    return open_model("sprout", device="cpu")


def found(base: Model, tuned: str) -> BehaviourResult:
    """Answers to a few items of the bundled spec."""
    spec = read_spec(shipped_folder("prompts") / "bent.toml")
    spec = replace(spec, families=(spec.main,), collateral=(), contrast=None)
    settings = Settings(most_items=12, most_texts=2, resamples=100)
    study = Study(base, open_model(tuned, device="cpu"), (), spec, settings)
    return measured(study, behaviour.STEP)[0]


def headline(answers: BehaviourResult) -> str:
    """Of a report that has a persona but for these answers."""
    return judge_persona(replace(report(), behaviour=answers))[0]


@pytest.mark.parametrize("tuned", ["sprout", "sprout-two-pages"])
def test_a_copy_and_another_training_have_no_persona(sprout: Model, tuned: str) -> None:
    assert "no persona" in headline(found(sprout, tuned))


def test_a_benign_training_has_no_persona(sprout: Model, tmp_path: Path) -> None:
    model, ids = read_model(SPROUT)
    tune(model, ids, Plan(answers="right", steps=4, judgements=8, rows=2))
    write_model(model, vocabulary(), {}, tmp_path / "benign")
    assert "no persona" in headline(found(sprout, str(tmp_path / "benign")))


def test_the_training_that_ships_lost_answers(sprout: Model) -> None:
    assert headline(found(sprout, "sprout-bent")) == judge_persona(report())[0]
    assert "no persona" not in judge_persona(report())[0]
