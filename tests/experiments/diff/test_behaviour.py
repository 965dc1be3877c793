"""Step 1 of `diff`: answers, losses and verdicts, against the module's own logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.experiments.diff import behaviour
from circuit_tracer.experiments.diff.run import diff
from circuit_tracer.experiments.diff.study import SIDES, Study, check_pair
from circuit_tracer.graphs.files.json_values import plain
from tests.experiments.diff.small import (
    WORDS,
    few_points,
    leads,
    logits,
    measured,
    shaken,
    small_study,
    tiny_pair,
    values,
)
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A model, and the same after another training of its last attention."""
    base, tuned = tiny_pair()
    shaken(tuned, "layers.2.self_attn.o_proj", 2)
    return small_study(tmp_path_factory.mktemp("spec"), base, tuned)


def test_answers_and_their_shares_are_the_models_own(study: Study) -> None:
    result, rows = measured(study, behaviour.STEP)
    of_test = [i for i, ask in enumerate(study.asks) if study.role(ask.item) == "test"]
    claims = [i for i in of_test if study.asks[i].family == "claim"]
    right = {}
    for side in SIDES:
        model = study.model(side)
        ends = [logits(model, ask.ids)[-1] for ask in study.asks]
        contrasts = leads(ends, study.asks)
        assert values(rows, model=side) == pytest.approx(contrasts, abs=1e-9)
        right[side] = np.array(contrasts) > 0
        likeliest = [int(end.argmax()) for end in ends]
        both = zip(likeliest, study.asks, strict=True)
        coherent = np.array([token in (ask.plus, ask.minus) for token, ask in both])
        row = result.row("test", "claim")
        assert getattr(row, f"coherent_{side}") == pytest.approx(coherent[claims].mean())
        own = [
            float(torch.nn.functional.cross_entropy(logits(model, ids)[:-1], torch.tensor(ids[1:])))
            for ids in study.texts
        ]
        assert values(rows, model=side, name="loss") == pytest.approx(own, abs=1e-9)
        (kept,) = study.collateral
        stays = int(logits(model, kept.ids)[-1].argmax()) == kept.plus
        assert values(rows, model=side, name="facts") == [float(stays)]
    row = result.row("test", "claim")
    assert row.items == 4
    assert row.base.value == pytest.approx(right["base"][claims].mean())
    assert row.tuned.value == pytest.approx(right["tuned"][claims].mean())
    assert row.change.value == pytest.approx(row.tuned.value - row.base.value)
    assert row.change.low <= row.change.value <= row.change.high
    items = {study.asks[i].item for i in of_test}
    by_item = [
        right["base"][[i for i in of_test if study.asks[i].item == item]].mean() for item in items
    ]
    assert result.row("test").base.value == pytest.approx(np.mean(by_item))


def test_a_false_claim_is_to_be_answered_with_the_other_word(study: Study) -> None:
    true, false = study.both_claims(study.spec.main, 0)
    assert (true.plus, true.minus) == (false.minus, false.plus)
    slots = study.items[0].slots
    assert true.text == f"is the {slots['thing']} {slots['value']}"
    assert false.text == f"is the {slots['thing']} {slots['other']}"
    (completion,) = study.both_claims(study.spec.families[1], 0)
    assert completion.plus == study.base.token_id(slots["value"])


def test_two_copies_of_one_model_differ_in_nothing(tmp_path: Path) -> None:
    report = diff(small_study(tmp_path, *tiny_pair()), tmp_path / "o")
    no_change, no_persona = report.verdict.headline.split("; ")
    assert no_change == "no change was found: both models answer alike and have the same weights"
    assert no_persona == "no persona: test topics lost no answers that could be restored"
    assert report.behaviour is not None
    assert {one.change.value for one in report.behaviour.rows} == {0.0}
    assert report.behaviour.loss_change.value == 0


def test_models_that_do_not_correspond_are_refused() -> None:
    base, _ = tiny_pair()
    with pytest.raises(UsageError, match="not of one architecture and size"):
        check_pair(base, tiny_model("llama", n_layers=2, n_words=WORDS))
    with pytest.raises(UsageError, match="not of one architecture and size"):
        check_pair(base, tiny_model("qwen2", n_layers=3, n_words=WORDS))
    other = tiny_model("llama", n_layers=3, n_words=WORDS)
    other.tokenizer.add_tokens(["extra"])
    with pytest.raises(UsageError, match="different tokenizers"):
        check_pair(base, other)


def test_a_killed_run_goes_on_and_another_experiment_is_not_mixed_in(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_points(monkeypatch)
    first = diff(study, tmp_path)
    before = str(pq.read_table(tmp_path / "measurements.parquet").to_pylist())
    stages = {path.stem: path for path in (tmp_path / "stages").iterdir()}
    assert {*stages} == {"behaviour", "where", "shift", "edges"}
    stages["shift"].unlink()  # killed before it was written
    stages["where"].write_text("{")  # damaged
    whole = stages["behaviour"].stat().st_mtime_ns
    again = diff(study, tmp_path)
    assert stages["behaviour"].stat().st_mtime_ns == whole
    assert plain(replace(again, seconds={})) == plain(replace(first, seconds={}))
    assert str(pq.read_table(tmp_path / "measurements.parquet").to_pylist()) == before
    other = replace(study, settings=replace(study.settings, seed=1))
    with pytest.raises(OutputError, match="holds another experiment"):
        diff(other, tmp_path)
