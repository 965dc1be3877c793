"""`dissociate`: a small experiment from spec to report, and everything that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.experiments.dissociation.study import Settings
from tests.cli.conftest import Run
from tests.experiments.dissociation.small import THINGS, small_spec

FILES = (
    "report.md",
    "dissociation.json",
    "measurements.parquet",
    "routes.svg",
    "ablation.svg",
    "overlap.svg",
    "heads.svg",
    "swap.svg",
    "truth-direction.svg",
)


def test_a_small_experiment_from_spec_to_report(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"compared": 1, "random_sets": 1, "permutations": 1, "random_heads": 1, "resamples": 100}
    for name, count in few.items():
        monkeypatch.setitem(Settings.FEW, name, count)
    spec = small_spec(tmp_path, things=THINGS[::2])
    arguments = ("dissociate", str(spec), "--quick", "--out", "o", "--device", "cpu")
    first = run(*arguments)
    assert first.code == 0, first.err
    folder = tmp_path / "o" / "dissociate-small"
    assert "4 items in 2 forms" in first.err
    assert "one place of recall" in first.out.splitlines()[0]
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
        assert name in first.out
    page = (folder / "report.md").read_text()
    assert "circuit-tracer dissociate small.toml --quick" in page
    assert str(tmp_path) not in page
    record = json.loads((folder / "dissociation.json").read_text())
    assert record["behaviour"]["kept"] == 4
    assert record["quick"] is True

    again = run(*arguments, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["ablation"] == record["ablation"]

    other = run("dissociate", str(spec), "--quick", "--seed", "3", "--out", "o", "--device", "cpu")
    assert other.code == 1
    assert "add --overwrite" in other.err

    spec.write_text(spec.read_text().replace("yellow", "chartreuse"))
    before = (folder / "dissociation.json").read_bytes()
    wrong = run(*arguments, "--overwrite")
    assert wrong.code == 2
    assert "chartreuse" in wrong.err
    assert (folder / "dissociation.json").read_bytes() == before  # a spec's mistake costs no report

    both = run("compare", str(folder), str(folder / "dissociation.json"), "--json")
    assert both.code == 0, both.err
    assert json.loads(both.out)["models"] == ["sprout, small (1)", "sprout, small (2)"]


@pytest.mark.parametrize(
    ("old", "new", "arguments", "code", "said"),
    [
        ('route = "fact"', 'route = "x"', (), 2, '"route" in'),
        ("yes", "affirmative", (), 2, "affirmative"),
        ('object = "banana"', 'object = "brick"', (), 2, 'the representative "banana"'),
        ("{article} {object} is", "{article} {object} seems", (), 2, '"seems"'),
        ("", "", ("--model", "nosuch"), 2, "nosuch"),
        ("", "", ("--name", "a/b"), 2, "names a folder"),
        ("", "", ("--seed", "-1"), 2, "--seed -1"),
        ("", "", ("--name", "taken"), 1, "something other than a report"),
        ("", "", ("--name", "taken", "--overwrite"), 1, "leaves it alone"),
        ("", "", ("--name", "theirs", "--overwrite"), 1, "leaves it alone"),
        ("", "", ("--out", "outputs/file"), 1, "it is a file"),
        ("", "", ("--name", "file"), 1, "is a file"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(
    run: Run, tmp_path: Path, old: str, new: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    spec = small_spec(tmp_path)
    spec.write_text(spec.read_text().replace(old, new) if old else spec.read_text())
    (tmp_path / "outputs" / "taken").mkdir(parents=True)
    (tmp_path / "outputs" / "taken" / "mine.txt").write_text("mine")
    (tmp_path / "outputs" / "file").write_text("a file")
    (tmp_path / "outputs" / "theirs" / "stages").mkdir(parents=True)
    (tmp_path / "outputs" / "theirs" / "stages" / "act one.txt").write_text("theirs")
    outcome = run("dissociate", str(spec), "--quick", "--device", "cpu", *arguments)
    assert outcome.code == code, outcome.err
    assert said in outcome.err
    assert outcome.err.rstrip().splitlines()[-1].startswith("error: ")
    assert (tmp_path / "outputs" / "taken" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "outputs" / "theirs" / "stages" / "act one.txt").is_file()
    assert not (tmp_path / "outputs" / "dissociate-small" / "dissociation.json").exists()


def test_a_spec_that_is_not_there(run: Run) -> None:
    outcome = run("dissociate", "none.toml")
    assert outcome.code == 2
    assert "there is no file none.toml" in outcome.err
