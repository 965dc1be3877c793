"""The whole experiment, small: what is stored, what a second run takes up, what halves see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from circuit_tracer.errors import GraphFileError, OutputError, PromptError
from circuit_tracer.experiments.dissociation.results import Report, read_report
from circuit_tracer.experiments.dissociation.run import dissociate
from circuit_tracer.experiments.dissociation.spec import read_spec
from circuit_tracer.experiments.dissociation.steps import (
    ablation,
    behaviour,
    drawn_item,
    heads,
    stores,
    swap,
    tracing,
)
from circuit_tracer.experiments.dissociation.study import Settings, Study
from circuit_tracer.experiments.kit.results import Finding, write_record
from circuit_tracer.experiments.kit.stages import StageStore, holds_stages
from circuit_tracer.graphs import load_graph
from circuit_tracer.graphs.files.json_values import from_plain
from circuit_tracer.graphs.head_loadings import load_heads
from tests.experiments.dissociation.small import bananas, small_spec

FEW = Settings(
    most_items=4, compared=1, random_sets=2, permutations=2, random_heads=2, resamples=100
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    shipped = bananas()
    spec = read_spec(small_spec(tmp_path_factory.mktemp("spec")))
    return Study(shipped.model, shipped.dictionary, spec, FEW)


@pytest.fixture(scope="module")
def done(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """Without swaps of single layers, which the command's test has."""
    folder = tmp_path_factory.mktemp("report")
    every = swap._patches(study)
    few = {name: patch for name, patch in every.items() if not name[0].isdigit()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(swap, "_patches", lambda _: few)
        return folder, dissociate(study, folder)


def test_the_report_comes_back_from_its_file(done: tuple[Path, Report], tmp_path: Path) -> None:
    report = done[1]
    write_record(report, tmp_path / "dissociation.json")
    assert str(read_report(tmp_path)) == str(report)  # NaN is not equal to itself
    for damaged in ("{}", "[]", '{"name": 3}', "{", '{"name": "a", "question": "b"}'):
        (tmp_path / "dissociation.json").write_text(damaged)
        with pytest.raises(GraphFileError, match="no report"):
            read_report(tmp_path)
    with pytest.raises(ValueError, match=r"holds is .* where it needs"):
        from_plain(Finding, {"name": "swap", "holds": "perhaps", "sentence": ""})


def test_every_step_is_there(study: Study, done: tuple[Path, Report]) -> None:
    report = done[1]
    assert report.behaviour.kept == 4
    assert report.ablation is not None
    assert {(one.name, one.part, one.half) for one in report.sets} == {
        (name, part, half) for name in "FVS" for part in ("early", "late") for half in (0, 1)
    }
    assert report.overlap is not None
    assert [row.kind for row in report.overlap.rows[:3]] == [
        "fact x judgement", "ceiling", "floor",
    ]  # fmt: skip
    assert report.swap is not None
    assert report.truth is not None
    assert {row.read for row in report.truth.rows} == {"yes_no", "true_or_false"}
    assert report.heads is not None
    assert report.heads.families == ("yes_no",)
    assert len(report.heads.flips) == 4


def test_the_drawn_item_has_its_graphs_and_heads(done: tuple[Path, Report]) -> None:
    folder, report = done
    assert report.item is not None
    assert report.item.item == "banana"
    for family, place in report.item.graphs.items():
        pruned = load_graph(folder / place)
        assert load_heads(pruned, folder / place) is not None
        at = report.item.roles[family]["object"]
        assert pruned.graph.info.tokens[at].strip() == "banana"
    asked = load_graph(folder / report.item.graphs["yes_no"]).graph.info
    assert (asked.prompt, asked.targets[0].token) == ("is a banana yellow ?", "yes - no")


def test_measurements_are_one_row_each(done: tuple[Path, Report]) -> None:
    table = pq.read_table(done[0] / "measurements.parquet").to_pylist()
    steps = {row["step"] for row in table}
    assert steps == {"answer", "share", "overlap", "ablation", "store", "term", "swap"}
    answers = [row for row in table if row["step"] == "answer" and row["family"] == "yes_no"]
    assert len(answers) == 8
    assert all((row["value"] > 0) == (row["claim"] == "true") for row in answers)


def test_a_second_run_measures_nothing_again(
    study: Study, done: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = (
        (behaviour, "answers"),
        (tracing, "item_graphs"),
        (ablation, "ablate"),
        (stores, "ablate_means"),
        (heads, "terms"),
        (swap, "swaps"),
    )
    for module, name in measuring:
        monkeypatch.setattr(module, name, None)
    monkeypatch.setattr(drawn_item, "traced", None)
    again = dissociate(study, done[0])
    assert str(again.ablation) == str(done[1].ablation)
    assert str(again.verdict) == str(done[1].verdict)


def test_a_killed_run_goes_on_where_it_was(
    study: Study, done: tuple[Path, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[str] = []
    whole = tracing.trace

    def counted(model: Any, dictionary: Any, prompt: str, *rest: Any, **more: Any) -> Any:
        if len(traced) == 8:
            raise KeyboardInterrupt
        traced.append(prompt)
        return whole(model, dictionary, prompt, *rest, **more)

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracing, "trace", counted)
    with pytest.raises(KeyboardInterrupt):
        dissociate(study, tmp_path)
    assert "a banana is" in traced
    ours, theirs = tmp_path / "stages", done[0] / "stages"
    stored = {path: path.read_bytes() for path in ours.glob("graphs/*.json")}
    assert stored
    monkeypatch.setattr(tracing, "trace", whole)
    monkeypatch.setattr(ablation, "ablate", stopped)
    with pytest.raises(KeyboardInterrupt):  # killed again, when all graphs are made
        dissociate(study, tmp_path)
    assert {path: path.read_bytes() for path in stored} == stored  # and none of them twice
    places = sorted(path.relative_to(theirs) for path in theirs.glob("graphs/*.json"))
    assert len(places) > len(stored)
    for place in places:
        one, other = (json.loads((folder / place).read_text()) for folder in (ours, theirs))
        assert one["result"] == other["result"]


def test_a_damaged_graph_is_traced_again(study: Study, done: tuple[Path, Report]) -> None:
    path = done[0] / "graphs" / "yes_no" / "nodes.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    dissociate(study, done[0])
    assert len(load_graph(path.parent).graph.nodes) > 10
    assert load_graph(path.parent).graph.info.prompt == "is a banana yellow ?"


def test_another_experiment_is_not_mixed_in(study: Study, done: tuple[Path, Report]) -> None:
    other = Study(study.model, study.dictionary, study.spec, replace(FEW, seed=1))
    with pytest.raises(OutputError, match="another experiment"):
        dissociate(other, done[0])


def test_a_damaged_stage_is_measured_again(tmp_path: Path) -> None:
    def store() -> StageStore:
        return StageStore(tmp_path, "key", "dissociate")

    first = Finding("swap", "yes", "so")
    assert store().stage("one", Finding, lambda: first) == first
    path = tmp_path / "stages" / "one.json"
    assert json.loads(path.read_text())["key"] == "key"
    assert (holds_stages(tmp_path, "dissociate"), holds_stages(tmp_path, "diff")) == (True, False)
    second = Finding("swap", "no", "not so")
    assert store().stage("one", Finding, lambda: second) == first
    path.write_text('{"key": "key", "result": {"name": 3}}')
    assert store().stage("one", Finding, lambda: second) == second
    store().check()
    for damaged in ("{}", "[" * 100_000, "[]"):
        path.write_text(damaged)
        store().check()
        assert holds_stages(tmp_path, "dissociate")
    path.write_text('{"key": "other"}')
    with pytest.raises(OutputError, match="another experiment"):
        store().check()
    path.write_text('{"key": "ke')
    assert store().stage("one", Finding, lambda: first) == first


def test_somebody_elses_stages_are_not_ours(tmp_path: Path) -> None:
    assert not holds_stages(tmp_path, "dissociate")
    stages = tmp_path / "stages"
    (stages / "graphs").mkdir(parents=True)
    (stages / ".behaviour.json.01234567.partial.json").write_text("{")  # of a killed run
    assert holds_stages(tmp_path, "dissociate")
    for name, text in (("notes.txt", "mine"), ("mine.json", '{"mine": 1}')):
        (stages / name).write_text(text)
        assert not holds_stages(tmp_path, "dissociate")
        (stages / name).unlink()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bananas", "zyzzyvas", '"plural" cannot ask about "banana"'),
        ("capital of france", "capital of zyzzyva", "zyzzyva"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_measured(
    study: Study, tmp_path: Path, old: str, new: str, said: str
) -> None:
    """Paraphrases and unrelated prompts come late."""
    path = small_spec(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    wrong = Study(study.model, study.dictionary, read_spec(path), FEW)
    with pytest.raises(PromptError, match=said):
        dissociate(wrong, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_items_leave_behaviour_alone(study: Study, tmp_path: Path) -> None:
    """A model that gets nearly everything wrong: the false values are declared true."""
    text = small_spec(tmp_path).read_text()
    for true, false in (("yellow", "blue"), ("red", "white"), ("green", "pink")):
        text = text.replace(f'value = "{true}"', f'value = "{false}"')
    (tmp_path / "wrong.toml").write_text(text)
    wrong = Study(study.model, study.dictionary, read_spec(tmp_path / "wrong.toml"), FEW)
    report = dissociate(wrong, tmp_path / "out")
    assert report.behaviour.kept <= 1
    assert report.ablation is report.swap is report.item is None
    assert "too few" in report.notes[0]
    assert report.verdict.headline == "too few items to tell"
