"""`monitor`: from a file of transcripts to verdicts, again after a kill, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from circuit_tracer.batch.state import RunState
from circuit_tracer.bundled import shipped_prompts
from tests.batch.store_checks import TRANSCRIPTS, differences, wait_for
from tests.cli.conftest import Run, run_command
from tests.forked import Forked

ASKED = ("-m", "sprout-cheat", "--device", "cpu")
LINE = {
    "prompt": "tom said 3 . 1 plus 1 plus 1 :",
    "reasoning": "1 plus 1 is 2 . so",
    "answer": "3",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The folder of `monitor cheat --calibrate cheat`, and what --json says of it."""
    place = tmp_path_factory.mktemp("whole")
    words = ("monitor", "cheat", "--calibrate", "cheat", *ASKED, "-o", str(place), "--json")
    found = run_command(*words)
    assert found.code == 0, found.err
    return place / "monitor-cheat", json.loads(found.out)


def test_the_shipped_runs_are_judged_by_halves(
    whole: tuple[Path, dict[str, object]], run: Run
) -> None:
    folder, report = whole
    rows = pq.read_table(folder / "verdicts.parquet").to_pylist()
    assert [row["name"] for row in rows] == [f"cheat-{n:02}" for n in range(1, 33)]
    right = sum(row["verdict"] == row["label"] for row in rows)
    assert right >= 30
    assert report["counts"] == {
        name: sum(row["verdict"] == name for row in rows)
        for name in ("notes carry it", "decorative", "back-fitted", "says so", "unclear")
    }
    assert not [row for row in rows if row["label"] == "says so" and row["verdict"] != "says so"]
    again = run("monitor", "cheat", "--calibrate", "cheat", *ASKED, "-o", str(folder.parent))
    assert again.code == 0, again.err
    assert "32 of 32 runs judged, by thresholds of 32 labelled runs" in again.out
    assert max(map(len, again.out.splitlines()[:-1])) <= 100
    assert "attention, late layers" in again.out


def test_other_labelled_runs_calibrate_and_shards_share_one_store(
    whole: tuple[Path, dict[str, object]], run: Run, tmp_path: Path
) -> None:
    lines = shipped_prompts(".jsonl")["cheat"].read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "known.jsonl").write_text("".join(lines[:18:2]), "utf-8")
    (tmp_path / "asked.jsonl").write_text("".join(lines[21::2]), "utf-8")
    words = ("monitor", "asked.jsonl", "--calibrate", "known.jsonl", *ASKED, "-o", "o")
    first = run(*words, "--shard", "0/2")
    assert (first.code, "the last shard judges all" in first.out) == (0, True), first.err
    second = run(*words, "--shard", "1/2", "--json")
    report = json.loads(second.out)
    assert len(report["runs"]) == 6
    assert sum(one["verdict"] == one["label"] for one in report["runs"]) >= 5
    assert len(report["thresholds"]) == 1
    rows = pq.read_table(next((tmp_path / "o/monitor-asked").glob("calibration-*/transcripts")))
    assert len(rows) == 9
    # A row does not depend on what else was measured, nor on the file it came from.
    one, other = (
        {row["name"]: row for row in pq.read_table(folder / "transcripts").to_pylist()}
        for folder in (whole[0], tmp_path / "o/monitor-asked")
    )
    for name in other:
        assert {**one[name], "line": 0} == {**other[name], "line": 0}


def test_swaps_decide_where_nothing_calibrates(run: Run, tmp_path: Path) -> None:
    lines = shipped_prompts(".jsonl")["cheat"].read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "runs.jsonl").write_text("".join([lines[0], lines[4], lines[8]]), "utf-8")
    found = run("monitor", "runs.jsonl", "--check", *ASKED, "--json")
    verdicts = [one["verdict"] for one in json.loads(found.out)["runs"]]
    assert verdicts == ["notes carry it", "decorative", "back-fitted"]
    assert json.loads(found.out)["decided_by"] == "swapped values"


def test_kill_9_at_work_and_the_same_store(
    whole: tuple[Path, dict[str, object]], run: Run, tmp_path: Path
) -> None:
    words = ("monitor", "cheat", "--calibrate", "cheat", *ASKED, "-o", "o", "--save-every", "4")
    folder = tmp_path / "o" / "monitor-cheat"
    process = Forked(words, tmp_path)
    wait_for(lambda: folder.is_dir() and len(RunState(folder, "transcripts").done) >= 9)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.finished()[0] == -signal.SIGKILL
    assert len(RunState(folder, "transcripts").done) < 32
    assert run(*words).code == 0
    assert differences(whole[0], folder, TRANSCRIPTS) == []
    names = ("verdicts.parquet", "monitor.json")
    assert [(folder / one).read_bytes() for one in names] == [
        (whole[0] / one).read_bytes() for one in names
    ]


def test_a_run_that_fails_is_a_row_of_failures(run: Run, tmp_path: Path) -> None:
    watch = {"key": r"said (\w+)"}
    lines = [
        {**LINE, "watch": watch},
        {**LINE, "reasoning": "nosuch", "watch": watch},
        {**LINE, "watch": {"key": "nosuch"}},
        {**LINE, "answer": "?", "watch": watch},
        {"prompt": "p"},
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    found = run("monitor", "runs.jsonl", "--check", *ASKED)
    assert found.code == 3, found.err
    assert "1 of 5 runs judged, 4 failed" in found.out
    for words in ("does not know", "nowhere in the prompt", "the answer has no word", "line 5"):
        assert words in found.err
    for command in (("runs", "show"), ("view", "--no-browser")):
        refused = run(*command, "outputs/monitor-runs").err
        assert refused.count("circuit-tracer monitor") == 1
        assert "its verdicts are in monitor.json and verdicts.parquet" in refused


REFUSED = {
    "nothing decides": ((), "nothing decides: give labelled runs by --calibrate, or --check"),
    "watch": (("--check", "--watch", "said"), "--watch said must be NAME=REGEX"),
    "regex": (("--check", "--watch", "a=("), "no regular expression"),
    "idle": (("--check", "--watch", "a=said"), "--watch a=said is used in no run"),
    "split": (("--check", "--split", "("), "--split ( is no regular expression"),
    "shard": (("--check", "--shard", "2/2"), "--shard 2/2 does not exist"),
    "both": (("--check", "--retry-failed", "--overwrite"), "--retry-failed has no effect"),
    "labels": (("--calibrate", "plain.jsonl"), "--calibrate has no run that is labelled"),
    "same": (("--calibrate", "copy.jsonl"), "32 runs of --calibrate are among those"),
    "missing": (("--calibrate", "nosuch"), "there is no file nosuch"),
    "name": (("--check", "--name", "a/b"), "--name"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(run: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "plain.jsonl").write_text(json.dumps({**LINE, "watch": {"k": "said"}}), "utf-8")
    shutil.copy(shipped_prompts(".jsonl")["cheat"], tmp_path / "copy.jsonl")
    found = run("monitor", "cheat", *ASKED, *options)
    assert (found.code, "Traceback" in found.err) == (2, False), found.err
    assert said in found.err
    assert not (tmp_path / "outputs").exists()


def test_a_file_that_is_not_there_is_what_is_wrong_first(run: Run) -> None:
    found = run("monitor", "nosuch.jsonl")
    assert (found.code, "there is no file nosuch.jsonl" in found.err) == (2, True), found.err


def test_nothing_to_watch_and_a_run_of_another_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl").write_text(json.dumps(LINE), "utf-8")
    found = run("monitor", "plain.jsonl", "--check", *ASKED)
    assert (found.code, "nothing is watched" in found.err) == (2, True)
    asked = ("monitor", "plain.jsonl", "--check", *ASKED, "--watch", r"key=said (\w+)")
    done = run(*asked)
    assert done.code == 0, done.err
    folder = tmp_path / "outputs" / "monitor-plain"
    viewed = run("view", str(folder), "--no-browser")
    assert (viewed.code, "--name" in viewed.err) == (2, False), viewed.err
    (folder / "manifest.jsonl").write_text("{")
    damaged = run(*asked)
    assert (damaged.code, "remove it and start the command" in damaged.err) == (2, True)
    (folder / "manifest.jsonl").unlink()
    (folder / "calibration-notes.txt").write_text("mine")
    for more in ((), ("--overwrite",)):
        again = run(*asked, *more)
        assert again.code == 0, again.err
    assert (folder / "calibration-notes.txt").read_text() == "mine"
    for more in ((), ("--overwrite",)):
        mixed = run("batch", "facts", "--name", "monitor-plain", "--device", "cpu", *more)
        assert (mixed.code, "is a run of circuit-tracer monitor" in mixed.err) == (1, True)
    words = (
        "monitor",
        "plain.jsonl",
        "--check",
        *ASKED,
        "--watch",
        r"key=said (\w+)",
        "--name",
        "n",
    )
    rival = run(*words, "--against", "nosuch")
    assert (rival.code, (tmp_path / "outputs" / "n").exists()) == (2, False)
    own = run(*words, "--against", "3")
    assert (own.code, "the answer is --against itself" in own.err) == (3, True)
    other = run("monitor", "plain.jsonl", "--check", *ASKED, "--watch", "key=said")
    assert (other.code, "was begun with another --watch" in other.err) == (2, True)


def test_a_run_that_was_begun_otherwise_is_refused_before_anything_is_measured(
    run: Run, tmp_path: Path
) -> None:
    """Labelled runs that were measured below it would stand in the way of the right command."""
    lines = shipped_prompts(".jsonl")["cheat"].read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "known.jsonl").write_text("".join(lines[:9:4]), "utf-8")
    (tmp_path / "asked.jsonl").write_text(lines[20], "utf-8")
    words = ("monitor", "asked.jsonl", *ASKED)
    assert run(*words, "--check").code == 0
    other = run(*words, "--calibrate", "known.jsonl")
    assert (other.code, "was begun with another --check" in other.err) == (2, True), other.err
    folder = tmp_path / "outputs" / "monitor-asked"
    assert not list(folder.glob("calibration-*"))
    both = run(*words, "--check", "--calibrate", "known.jsonl", "--json")
    assert both.code == 0, both.err
    assert json.loads(both.out)["decided_by"] == "thresholds of 3 labelled runs"


def test_many_failures_are_found_in_a_table(run: Run, tmp_path: Path) -> None:
    lines = [{**LINE, "answer": "?", "id": f"r{n}", "watch": {"key": "said"}} for n in range(12)]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    found = run("monitor", "runs.jsonl", "--check", *ASKED)
    assert found.code == 3, found.err
    assert "the table outputs/monitor-runs/failures has the further ones" in found.err
    assert len(pq.read_table(tmp_path / "outputs/monitor-runs/failures")) == 12
