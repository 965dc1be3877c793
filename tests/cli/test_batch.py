"""`batch` and `runs` as a user meets them, with the bundled model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from circuit_tracer.batch import ray_cluster
from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.batch.row_maker import RowMaker
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.stored_run import open_run
from circuit_tracer.batch.tables import PromptRows, Traced
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import load_graph
from tests.batch.store_checks import differences, prompt_file, wait_for
from tests.cli.conftest import Outcome, Run, run_command
from tests.forked import Forked, without_row_makers

OPEN = Graphs.open
"""As it is where no fixture has replaced it."""
PROMPTS = (
    {"id": "b1", "prompt": "a banana is", "tags": ["fact"], "roles": {"object": "banana"}},
    {"id": "b2", "prompt": "is a banana yellow ?", "contrast": "yes,no", "tags": ["truth"]},
    {"id": "b3", "prompt": "is a banana red ?", "targets": ["no"], "tags": ["truth"]},
    {"id": "b4", "prompt": "a zzyx is"},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run of three prompts, one unknown word and one bad line."""
    folder = tmp_path_factory.mktemp("batch")
    file = folder / "bananas.jsonl"
    file.write_text("\n".join(map(json.dumps, PROMPTS)) + "\n{\n", encoding="utf-8")
    outcome = run_command(
        *("batch", str(file), "--out", str(folder), "--device", "cpu", "--heads", "--json")
    )
    return folder / "bananas", outcome


def test_some_failed_is_exit_3_and_all_others_are_there(made: tuple[Path, Outcome]) -> None:
    folder, outcome = made
    assert outcome.code == 3, outcome.err
    record = json.loads(outcome.out)
    assert (record["traced"], record["done"], record["failed"], record["total"]) == (3, 3, 2, 5)
    assert "line 5 of" in outcome.err
    assert 'failed: line 4: the tokenizer of sprout does not know "zzyx"' in outcome.err
    graphs = open_run(folder).graphs.to_pylist()
    assert [(row["name"], row["tags"], row["targets"]) for row in graphs] == [
        ("b1", ["fact"], ["yellow", "a"]),
        ("b2", ["truth"], ["yes - no"]),
        ("b3", ["truth"], [" no"] if graphs[2]["targets"][0].startswith(" ") else ["no"]),
    ]
    assert json.loads(graphs[0]["roles"]) == {"object": "banana"}


def test_runs_show_tells_it_all(run: Run, made: tuple[Path, Outcome]) -> None:
    outcome = run("runs", "show", str(made[0]), "--tag", "truth", "--top", "3")
    assert outcome.code == 0, outcome.err
    for text in ("3 of 5 prompts traced, 2 failed, 0 left", "zzyx", "completeness", '"truth"', "L"):
        assert text in outcome.out
    record = json.loads(run("runs", "show", str(made[0]), "--json").out)
    assert record["progress"]["done"] == 3
    assert record["tags"] == {"truth": 2, "fact": 1}
    wrong = run("runs", "show", str(made[0]), "--tag", "lies", "--json")
    assert (wrong.code, wrong.out) == (2, "")
    assert '--tag "lies" is none; choose one of truth, fact' in wrong.err
    assert {line["tag"] for line in record["features"]} == {"", "truth", "fact"}
    assert record["heads"][0]["share"]["low"] <= record["heads"][0]["share"]["value"]
    assert [one["class"] for one in record["failures"]] == ["PromptError", "BadLine"]


def test_a_prompt_comes_out_as_a_folder_that_other_commands_read(
    run: Run, made: tuple[Path, Outcome]
) -> None:
    outcome = run("runs", "export", str(made[0]), "b2", "--out", "one", "--format", "json")
    assert outcome.code == 0, outcome.err
    pruned = load_graph("one")
    stored = open_run(made[0]).graph("b2")
    assert pruned.graph.info == stored.graph.info
    assert pruned.graph.nodes.label == stored.graph.nodes.label
    assert pruned.graph.edges.weight.tobytes() == stored.graph.edges.weight.tobytes()
    assert pruned.influence.tobytes() == stored.influence.tobytes()
    assert run("show", "one").code == 0
    assert run("paths", "one", "--from", "banana").code == 0
    assert run("render", "one").code == 0


def test_failures_are_listed_with_options_and_stored_with_parameters(run: Run) -> None:
    Path("short.txt").write_text("a banana is\na\n")
    outcome = run("batch", "short.txt", "--position", "3", "--device", "cpu", "--threads", "1")
    assert outcome.code == 3, outcome.err
    assert "--position 3 is outside the prompt" in outcome.err
    assert "--position 3 is outside the prompt" in run("runs", "show", "outputs/short").out
    (failed,) = json.loads(run("runs", "show", "outputs/short", "--json").out)["failures"]
    assert failed["message"].startswith("`position` 3 is outside the prompt")


def test_the_same_command_again_has_nothing_to_do(run: Run, made: tuple[Path, Outcome]) -> None:
    again = run(
        *("batch", str(made[0].parent / "bananas.jsonl"), "--out", str(made[0].parent)),
        *("--device", "cpu", "--heads"),
    )
    assert again.code == 3
    assert "3 of 5 prompts have a graph" in again.out
    assert "traced now" not in again.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none.txt"], 2, "there is no file none.txt"),
        (["p.txt", "--store", "half"], 2, "choose one of kept, whole"),
        (["p.txt", "--engine", "spark"], 2, "choose one of local, ray"),
        (["p.txt", "--shard", "2/2"], 2, "go from 0 to 1"),
        (["p.txt", "--shard", "0/2", "--overwrite"], 2, "--overwrite would remove"),
        (["p.txt", "--engine", "ray", "--shard", "0/2"], 2, "exclude each other"),
        (["p.txt", "--name", "a/b"], 2, '--name "a/b" must be letters'),
        (["p.txt", "--name", "taken"], 1, "holds something that is no run"),
        (["p.txt", "--model", "nonesuch"], 2, "nonesuch"),
        (["p.txt", "--node-threshold", "0"], 2, "node-threshold"),
        (["p.txt", "--target", "a", "--contrast", "a,b"], 2, "exclude each other"),
        (["p.txt", "--file-format", "xml"], 2, "choose one of txt, jsonl, csv, parquet"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    run: Run, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    Path("p.txt").write_text("a banana is\n")
    Path("outputs/taken").mkdir(parents=True)
    Path("outputs/taken/mine").write_text("x")
    outcome = run("batch", *arguments, "--device", "cpu")
    assert outcome.code == code
    assert said in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert {path.name for path in Path("outputs").iterdir()} == {"taken"}


def test_rows_are_made_beside_the_trace(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the process that is there for it: otherwise a run takes half as long again."""
    begin, made = RowMaker.__init__, RowMaker.rows
    found: list[PromptRows | None] = []

    def ready(maker: RowMaker, info: RunInfo) -> None:
        begin(maker, info)
        wait_for(lambda: maker.ready)

    def counted(maker: RowMaker, jobs: Sequence[Traced]) -> list[PromptRows | None]:
        found.extend(rows := made(maker, jobs))
        return rows

    monkeypatch.setattr(Graphs, "open", OPEN)
    monkeypatch.setattr(RowMaker, "__init__", ready)
    monkeypatch.setattr(RowMaker, "rows", counted)
    file = prompt_file(tmp_path / "p.jsonl", 6)
    outcome = run("batch", str(file), "--out", str(tmp_path), "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert len(found) == 6
    assert None not in found


def test_overwrite_begins_again_and_keeps_what_is_not_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_be_reached() -> None:
        raise UsageError("no Ray cluster can be reached")

    Path("p.txt").write_text("a banana is\nbananas are\n")
    more = ("--device", "cpu", "--save-every", "1")
    assert run("batch", "p.txt", *more, "--limit", "1").code == 0
    Path("outputs/p/notes.md").write_text("mine")
    refused = run("batch", "p.txt", *more, "--routes", "2")
    assert refused.code == 2
    assert "another --routes" in refused.err
    Path("labels.csv").write_text("layer,feature,label\n0,1,mine\n")
    relabelled = run("batch", "p.txt", *more, "--labels", "labels.csv")
    assert relabelled.code == 2
    assert "another --labels (none before" in relabelled.err
    monkeypatch.setattr(ray_cluster, "_connected", cannot_be_reached)
    for wrong in (("-m", "./nosuch"), ("--engine", "ray")):
        assert run("batch", "p.txt", *wrong, "--overwrite").code == 2
    assert open_run("outputs/p").graphs.num_rows == 1  # what cannot be opened costs nothing
    assert run("batch", "p.txt", *more, "--routes", "2", "--overwrite").code == 0
    assert open_run("outputs/p").graphs.num_rows == 2
    assert Path("outputs/p/notes.md").read_text() == "mine"


def test_two_processes_on_one_store_share_the_work(tmp_path: Path) -> None:
    """At once, without shards: the store is that of one process, and both have done something.

    The first is stopped until the second has written, so that it cannot do everything alone.
    """
    file = prompt_file(tmp_path / "prompts.jsonl", 8)
    arguments = ["batch", str(file), "--device", "cpu", "--threads", "1", "--save-every", "1"]
    assert run_command(*arguments, "--name", "one").code == 0
    first = Forked([*arguments, "--name", "two"], tmp_path, without_row_makers)
    wait_for(lambda: writers(tmp_path / "outputs/two") or first.poll() is not None)
    first.send_signal(signal.SIGSTOP)
    second = Forked([*arguments, "--name", "two"], tmp_path, without_row_makers)
    wait_for(lambda: len(writers(tmp_path / "outputs/two")) == 2 or second.poll() is not None)
    first.send_signal(signal.SIGCONT)
    for code, _, err in (first.finished(), second.finished()):
        assert code == 0, err
    assert differences(tmp_path / "outputs/one", tmp_path / "outputs/two") == []
    assert len(writers(tmp_path / "outputs/two")) == 2


def writers(run: Path) -> set[str]:
    """The processes that have written parts of a run, if there is one yet."""
    if not (run / "run.toml").is_file():
        return set()
    return {part["writer"] for part in open_run(run).made()}


def test_an_interrupt_saves_what_is_done(tmp_path: Path) -> None:
    file = prompt_file(tmp_path / "prompts.jsonl", 400)
    arguments = ["batch", str(file), "--device", "cpu", "--threads", "1", "--save-every", "8"]
    process = Forked(arguments, tmp_path)
    wait_for(lambda: list(tmp_path.glob("outputs/prompts/graphs/part-*.parquet")))
    process.send_signal(signal.SIGINT)
    code, _, err = process.finished()
    assert code == 130
    assert err.startswith("error: interrupted; what is done is in")
    done = open_run("outputs/prompts").graphs.num_rows
    assert 8 <= done < 400
    assert not list(Path("outputs").rglob("*.partial"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 KiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_in_a_sentence_and_the_store_goes_on_later(
    run: Run, small_disk: Path, tmp_path: Path
) -> None:
    file = prompt_file(tmp_path / "prompts.jsonl", 10)
    arguments = ["batch", str(file), "--device", "cpu", "--save-every", "2", "--name", "p"]
    outcome = run(*arguments, "--out", str(small_disk))
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "the disk is full; what is done is safe" in outcome.err
    there = open_run(small_disk / "p")
    done = there.graphs.num_rows
    assert done % 2 == 0
    assert not list(small_disk.rglob("*.partial"))
    subprocess.run(
        ["mount", "-o", "remount,size=20m", str(small_disk)], check=True, capture_output=True
    )
    assert run(*arguments, "--out", str(small_disk)).code == 0
    assert run(*arguments, "--out", str(tmp_path / "large")).code == 0
    assert differences(tmp_path / "large/p", small_disk / "p") == []


def test_torchrun_processes_are_shards(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("p.txt").write_text("a banana is\nbananas are\nis a banana red ?\n")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    outcome = run("batch", "p.txt", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "1 of 1 prompts of shard 1/2 have a graph" in outcome.out


def test_prompts_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a banana is\n")))
    assert run("batch", "-", "--device", "cpu").code == 0
    assert open_run("outputs/stdin").graphs.column("answer").to_pylist() == ["yellow"]
