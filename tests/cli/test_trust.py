"""`trust`, `trace --trust` and what `show` and `prune` do with a report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from circuit_tracer.experiments.trust import run as trust_run
from circuit_tracer.experiments.trust.results_file import rests_on_more
from tests.cli.conftest import Outcome, Run


@pytest.fixture
def traced(banana: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A copy of the traced folder that a test may change."""
    folder = tmp_path / "a-banana-is"
    shutil.copytree(banana[0], folder)
    return folder


def test_a_trace_of_the_bundled_model_is_tested_briefly(banana: tuple[Path, Outcome]) -> None:
    folder, outcome = banana
    assert "Trust (brief test): " in outcome.out
    record = json.loads((folder / "trust.json").read_text())
    assert record["settings"]["quick"] is True
    figure = (folder / "graph.svg").read_text()
    assert 'class="trust"' in figure
    assert "Trust, tested briefly: Believe" in figure
    assert record["verdict"]["headline"].startswith("Believe")
    assert not (folder / "trust.svg").exists()


def test_a_trace_can_go_untested(run: Run, tmp_path: Path) -> None:
    outcome = run("trace", "a lemon is", "--out", "o", "--no-trust", "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["trust"] is None
    assert not (tmp_path / "o" / "a-lemon-is" / "trust.json").exists()


def test_the_full_report_is_printed_and_written(run: Run, traced: Path) -> None:
    outcome = run(
        "trust", str(traced), "--features", "10", "--random-sets", "2", "--draws", "1", "--device",
        "cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Trust: ")
    assert "interventions, about" in outcome.err
    record = json.loads((traced / "trust.json").read_text())
    assert record["settings"]["features"] == 10
    assert (traced / "trust.svg").read_text().startswith("<?xml")
    assert "trust.svg, graph.svg" in outcome.out.replace("\n", " ")
    figure = (traced / "graph.svg").read_text()
    for words in ("Trust: ", "influence against ablation", "target, by kept features"):
        assert words in figure
    shown = run("show", str(traced))
    assert shown.out.replace("\n", " ").startswith(f"Trust: {record['verdict']['headline']}")


def test_the_report_as_json_is_estimated_where_somebody_reads_the_notes(
    run: Run, traced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimated: list[object] = []
    expected = trust_run.expected
    monkeypatch.setattr(
        trust_run,
        "expected",
        lambda *given, **more: estimated.append(1) or expected(*given, **more),
    )
    asked = ("trust", str(traced), "--quick", "--json", "--device", "cpu")
    assert run(*asked, "-q").code == 0
    assert estimated == []
    outcome = run(*asked)
    assert outcome.code == 0, outcome.err
    assert estimated == [1]
    record = json.loads(outcome.out)
    assert record["verdict"]["level"] in ("sound", "care")
    assert record["measured"]["conservation"]["residual"] < 1e-4
    assert record == json.loads((traced / "trust.json").read_text())


def test_a_report_that_rests_on_more_stays(run: Run, traced: Path) -> None:
    """After a full report: a brief one and a smaller one are printed, and not written."""
    brief = json.loads((traced / "trust.json").read_text())
    full = brief | {"settings": brief["settings"] | {"quick": False, "features": 10}}
    (traced / "trust.json").write_text(json.dumps(full))
    before = {path: path.read_bytes() for path in traced.iterdir()}
    outcome = run("trust", str(traced), "--quick", "--json", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["settings"]["quick"] is True
    assert "rests on more and stays; --overwrite replaces it" in outcome.err
    assert {path: path.read_bytes() for path in traced.iterdir()} == before
    refused = run("prune", str(traced), "--node-threshold", "0.6")
    assert refused.code == 1
    assert "the full trust report" in refused.err
    assert {path: path.read_bytes() for path in traced.iterdir()} == before
    assert run("prune", str(traced)).code == 0  # the same thresholds
    assert json.loads((traced / "trust.json").read_text()) == full
    assert run("render", str(traced), "--routes", "1", "--overwrite").code == 0
    figure = (traced / "graph.svg").read_bytes()
    assert run("trust", str(traced), "--quick", "--overwrite", "--device", "cpu").code == 0
    assert json.loads((traced / "trust.json").read_text())["settings"]["quick"] is True
    assert (traced / "graph.svg").read_bytes() != figure


@pytest.mark.parametrize(
    ("stored", "fresh", "more"),
    [
        ({"quick": True}, {"quick": False}, False),
        ({"quick": False}, {"quick": True}, True),
        ({"quick": False, "features": 41}, {"quick": False}, True),
        ({"quick": False, "features": 39}, {"quick": False}, False),
        ({"quick": False, "draws": 9}, {"quick": False, "features": 60}, True),
        ({"quick": True, "features": 10}, {"quick": True}, False),
    ],
)
def test_which_report_rests_on_more(
    stored: dict[str, int], fresh: dict[str, int], more: bool
) -> None:
    usual = {"features": 40, "random_sets": 20, "draws": 4}
    reports = [{"settings": usual | one, "measured": {}} for one in (stored, fresh)]
    assert rests_on_more(*reports) is more


def test_a_report_without_the_other_dictionary_rests_on_less() -> None:
    settings = {"quick": False, "features": 40, "random_sets": 20, "draws": 4}
    stored = {"settings": settings, "measured": {"agreement": {"other": "clt"}}}
    fresh = {"settings": settings, "measured": {"agreement": None}}
    assert rests_on_more(stored, fresh)
    assert not rests_on_more(fresh, stored)


def test_a_figure_that_was_drawn_otherwise_stays(run: Run, traced: Path) -> None:
    assert run("render", str(traced), "--routes", "1", "--overwrite").code == 0
    figure = (traced / "graph.svg").read_bytes()
    outcome = run("trust", str(traced), "--quick", "--device", "cpu")
    assert "graph.svg was drawn otherwise and stays" in outcome.err
    assert (traced / "graph.svg").read_bytes() == figure


def test_another_graph_s_report_is_not_shown(run: Run, traced: Path) -> None:
    path = traced / "trust.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"fingerprint": "0" * 16}))
    assert "Trust" not in run("show", str(traced)).out
    drawn = run("render", str(traced), "--out", "again.svg")
    assert drawn.code == 0
    assert 'class="trust"' not in Path("again.svg").read_text()
    path.write_text('{"verdict": 3}')
    assert "Trust" not in run("show", str(traced)).out
    path.write_text("no json")
    outcome = run("show", str(traced))
    assert outcome.code == 0
    assert "trust.json cannot be read (Expecting value" in outcome.err


def test_pruning_again_drops_the_report(run: Run, traced: Path) -> None:
    outcome = run("prune", str(traced), "--node-threshold", "0.6")
    assert outcome.code == 0, outcome.err
    assert "trust report is of other thresholds" in outcome.err
    assert not (traced / "trust.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--features", "1"], "--features 1 must be at least 2"),
        (["--random-sets", "0"], "--random-sets 0 must be at least 1"),
        (["--other", "plt"], "is the graph's own dictionary"),
        (["--other", "nowhere"], "nowhere"),
        (["--transcoders", "clt"], "traced with another dictionary"),
        (["--model", "nowhere/at-all"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run: Run, traced: Path, arguments: list[str], words: str
) -> None:
    outcome = run("trust", str(traced), *arguments, "--device", "cpu")
    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.count("error:") == 1


def test_an_exchanged_graph_is_refused(run: Run, traced: Path) -> None:
    outcome = run("trust", str(traced / "graph.json"))
    assert outcome.code == 2
    assert "give a folder that `circuit-tracer trace` wrote" in outcome.err


def test_a_missing_graph_is_refused(run: Run) -> None:
    outcome = run("trust", "nowhere")
    assert outcome.code == 2
    assert "nowhere" in outcome.err
