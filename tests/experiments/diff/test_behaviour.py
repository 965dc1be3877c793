"""Step 1 of `diff`: answers, losses and verdicts, against the module's own logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff.run import diff
from circuit_tracer.experiments.diff.step import Earlier
from circuit_tracer.experiments.diff.steps import behaviour
from circuit_tracer.experiments.diff.study import check_pair, unreported
from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.models import Model
from tests.experiments.diff.small import WORDS, small_study, tiny_pair
from tests.tiny import tiny_model


def logits(model: Model, ids: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.module(torch.tensor([ids], device=model.device)).logits[0]
    return out.double().cpu()


def shaken(model: Model) -> None:
    """Another training of the attention of the last layer."""
    generator = torch.Generator().manual_seed(5)
    weight = model.module.model.layers[-1].self_attn.o_proj.weight
    with torch.no_grad():
        weight += torch.randn(weight.shape, generator=generator).to(weight) * 2


def test_answers_are_the_models_own(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    shaken(tuned)
    study = small_study(tmp_path, base, tuned)
    found = behaviour.measure(study, Earlier(), unreported)
    for model, one in ((base, found.base), (tuned, found.tuned)):
        for ask, contrast, coherent in zip(study.asks, one.contrast, one.coherent, strict=True):
            end = logits(model, ask.ids)[-1]
            assert contrast == pytest.approx(float(end[ask.plus] - end[ask.minus]), abs=1e-9)
            assert coherent == float(int(end.argmax()) in (ask.plus, ask.minus))
        for ids, loss in zip(study.texts, one.loss, strict=True):
            own = torch.nn.functional.cross_entropy(logits(model, ids)[:-1], torch.tensor(ids[1:]))
            assert loss == pytest.approx(float(own), abs=1e-9)


def test_figures_are_shares_over_items(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    shaken(tuned)
    study = small_study(tmp_path, base, tuned)
    found = behaviour.measure(study, Earlier(), unreported)
    result = behaviour.result(study, found)
    of_test = [i for i, ask in enumerate(study.asks) if study.role(ask.item) == "test"]
    claims = [i for i in of_test if study.asks[i].family == "claim"]
    row = result.row("test", "claim")
    assert row.items == 4
    assert row.base.value == pytest.approx((found.base.contrast[claims] > 0).mean())
    assert row.tuned.value == pytest.approx((found.tuned.contrast[claims] > 0).mean())
    assert row.change.value == pytest.approx(row.tuned.value - row.base.value)
    assert row.change.low <= row.change.value <= row.change.high
    assert row.coherent_tuned == pytest.approx(found.tuned.coherent[claims].mean())
    by_item = [
        np.mean([found.base.contrast[i] > 0 for i in of_test if study.asks[i].item == item])
        for item in {study.asks[i].item for i in of_test}
    ]
    assert result.row("test").base.value == pytest.approx(np.mean(by_item))


def test_a_false_claim_is_to_be_answered_with_the_other_word(tmp_path: Path) -> None:
    study = small_study(tmp_path, *tiny_pair())
    true, false = study.both_claims(study.spec.main, 0)
    assert (true.plus, true.minus) == (false.minus, false.plus)
    slots = study.items[0].slots
    assert true.text == f"is the {slots['thing']} {slots['value']}"
    assert false.text == f"is the {slots['thing']} {slots['other']}"
    (completion,) = study.both_claims(study.spec.families[1], 0)
    assert completion.plus == study.base.token_id(slots["value"])


def test_two_copies_of_one_model_differ_in_nothing(tmp_path: Path) -> None:
    report = diff(small_study(tmp_path, *tiny_pair()), tmp_path / "o")
    headline = "no change was found: both models answer alike and have the same weights"
    assert report.verdict.headline == headline
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


def test_a_killed_run_goes_on_and_another_experiment_is_not_mixed_in(tmp_path: Path) -> None:
    base, tuned = tiny_pair()
    folder = tmp_path / "o"
    first = diff(small_study(tmp_path, base, tuned), folder)
    stage = folder / "stages" / "behaviour.json"
    before = stage.stat().st_mtime_ns
    again = diff(small_study(tmp_path, base, tuned), folder)
    assert stage.stat().st_mtime_ns == before
    assert plain(again.behaviour) == plain(first.behaviour)
    with pytest.raises(Exception, match="holds another experiment"):
        diff(small_study(tmp_path, base, tuned, seed=1), folder)
