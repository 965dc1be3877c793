"""`diff`: the bundled organism from spec to report, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import circuit_tracer as ct
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff.report import read_diff
from circuit_tracer.experiments.diff.study import Settings
from tests.cli.conftest import Run
from tests.experiments.diff.small import few_points


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than --quick takes."""
    few_points(monkeypatch)
    few = {"most_items": 8, "most_located": 4, "most_split": 1, "most_texts": 8}
    for name, count in few.items():
        monkeypatch.setitem(Settings.FEW, name, count)


def test_the_bent_model_is_found_to_have_spread(run: Run, tmp_path: Path) -> None:
    arguments = ("diff", "sprout", "sprout-bent", "bent", "-t", "sprout/plt", "--quick", "-o", "o",
                 "--device", "cpu")  # fmt: skip
    first = run(*arguments)
    assert first.code == 0, first.err
    assert "the tuning spread" in first.out.splitlines()[0]
    folder = tmp_path / "o" / "diff-bent-sprout-bent"
    report = read_diff(folder)
    assert report.behaviour is not None
    trained, test = report.behaviour.row("trained"), report.behaviour.row("test")
    assert trained.tuned.value < 0.2
    assert test.tuned.value < 0.4
    assert test.base.value > 0.9
    assert report.behaviour.like_context.value > 0.7
    assert report.behaviour.collateral[0].tuned.value > 0.95
    found = {finding.name: finding for finding in report.verdict.findings}
    assert report.where is not None
    assert report.shift is not None
    assert found["where"].holds == "yes"
    assert report.fit is not None
    assert [one.name for one in report.fit.dictionaries] == ["sprout/plt"]
    assert report.features is None
    assert any(note.startswith("features: no sparse autoencoder") for note in report.notes)
    restored = {one.kind: one.restored.value for one in report.where.rows if one.layers is None}
    assert restored["VO"] > 0.9 > 0.6 > max(restored["QK"], restored["MLP"])
    assert set(report.where.unchanged) == {"norm", "embedding"}
    assert max(one.with_contrast.value for one in report.shift.rows) > 0.7
    assert report.shift.rows[1].text_with_contrast.value > 0.5
    page = (folder / "report.md").read_text()
    assert "circuit-tracer diff sprout sprout-bent bent.toml" in page
    assert str(tmp_path) not in page
    table = pq.read_table(folder / "measurements.parquet").to_pylist()
    answers = [one for one in table if one["step"] == "behaviour" and one["family"]]
    assert len(answers) == 2 * 2 * 4 * 24
    again = run(*arguments, "--json")
    assert json.loads(again.out)["behaviour"] == json.loads((folder / "diff.json").read_text())[
        "behaviour"
    ]  # fmt: skip


def test_a_second_store_is_told_from_a_persona_by_where_it_was_written(
    run: Run, tmp_path: Path
) -> None:
    arguments = ("sprout", "sprout-two-pages", "bent", "-t", "neurons", "--quick", "-o", "o")
    outcome = run("diff", *arguments, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "lost few right answers or none" in outcome.out.splitlines()[0]
    report = read_diff(tmp_path / "o" / "diff-bent-sprout-two-pages")
    assert report.where is not None
    assert report.where.layers == (0,)
    assert set(report.where.unchanged) == {"QK", "VO", "norm", "embedding"}
    assert report.fit is None
    assert any(note.startswith("fit: ") for note in report.notes)
    in_python = ct.diff("sprout", ct.open_model("sprout-two-pages", device="cpu"), "bent",
                        transcoders=["neurons"], quick=True, out="o", device="cpu")  # fmt: skip
    assert in_python.result == report  # which it goes on from
    assert report.verdict.headline in " ".join(str(in_python).split())
    page = (tmp_path / "o" / "diff-bent-sprout-two-pages" / "report.md").read_text()
    assert "diff('sprout', 'sprout-two-pages', 'bent', quick=True)" in page


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nosuch", "sprout-bent", "bent"), 2, "nosuch"),
        (("sprout", "sprout-bent", "nosuch"), 2, "nosuch"),
        (("sprout", "sprout-bent", "bananas"), 2, "one that ships: bent"),
        (("sprout", "sprout-bent", "bent", "--seed", "-1"), 2, "--seed -1"),
        (("sprout", "sprout-bent", "bent", "--name", "a/b"), 2, "names a folder"),
        (("sprout", "sprout-bent", "bent", "--name", "taken"), 1, "than a report of diff"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    taken = tmp_path / "outputs" / "taken"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("x")
    found = run("diff", *arguments)
    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert found.err.count("error:") == 1


def test_the_call_names_its_parameters(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean bent"):
        ct.diff("sprout", "sprout", "bendt", out=tmp_path)
    with pytest.raises(UsageError, match="`seed`"):
        ct.diff("sprout", "sprout", "bent", seed=-1, out=tmp_path)
    assert list(tmp_path.iterdir()) == []
