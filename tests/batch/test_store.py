"""The run store against crashes at every write, full disks, other processes, and itself."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_tracer.attribution import trace
from circuit_tracer.batch import parts, tracing
from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.batch.manifest import entries_of
from circuit_tracer.batch.prompt_file import parse_prompts
from circuit_tracer.batch.run import OpenedBatch, begin
from circuit_tracer.batch.shards import Shard, Work
from circuit_tracer.batch.stored_run import open_run
from circuit_tracer.errors import GraphFileError, ModelError, OutputError, UsageError
from circuit_tracer.graphs import best_paths, prune
from tests.batch.runs import PROMPTS, make_run, opened, prompt_file, run_info
from tests.batch.store_checks import differences, raw_rows

SMALL = Work(part_prompts=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    outcome = make_run(folder)
    assert (outcome.traced, outcome.done, outcome.failed) == (len(PROMPTS), len(PROMPTS), 0)
    return folder


def test_a_graph_is_what_trace_makes_of_the_prompt(whole: Path) -> None:
    """The same nodes and edges kept; numbers to rounding, because prompts share a pass."""
    run = open_run(whole)
    assert run.graphs.column("prompt").to_pylist() == list(PROMPTS)
    for prompt in PROMPTS[:4]:
        alone = prune(trace(*opened(), prompt).graph)
        ours = run.graph(prompt)
        rows = alone.kept_rows
        for column in ("kind", "layer", "position", "feature"):
            there = getattr(alone.graph.nodes, column)[rows]
            np.testing.assert_array_equal(getattr(ours.graph.nodes, column), there)
        kept = alone.kept_graph()
        np.testing.assert_array_equal(ours.graph.edges.source, kept.edges.source)
        np.testing.assert_array_equal(ours.graph.edges.target, kept.edges.target)
        np.testing.assert_allclose(ours.graph.edges.weight, kept.edges.weight, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(ours.influence, alone.influence[rows], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(ours.cumulative, alone.cumulative[rows], rtol=1e-3, atol=1e-4)
        assert ours.scores.completeness == pytest.approx(alone.scores.completeness, rel=1e-4)
        assert ours.graph.info.tokens == alone.graph.info.tokens


def test_what_pruning_took_is_in_the_sums_of_a_stored_row(whole: Path) -> None:
    graph = open_run(whole).graph(PROMPTS[2]).graph
    nodes, edges, n = graph.nodes, graph.edges, len(graph.nodes)
    received = np.bincount(edges.target, weights=edges.weight, minlength=n)
    missed = received + nodes.dropped + nodes.constant - nodes.value
    assert nodes.expanded.sum() > 5
    assert np.nanmax(np.abs(missed)) < 1e-4
    whole_rows = prune(trace(*opened(), PROMPTS[2]).graph)
    strengths = [[p.strength for p in best_paths(g, k=5)] for g in (whole_rows, graph)]
    np.testing.assert_allclose(strengths[0], strengths[1], rtol=1e-3)


def test_whole_graphs_come_back_whole(tmp_path: Path) -> None:
    info = run_info(graphs="whole")
    make_run(tmp_path / "run", prompt_file(PROMPTS[:1]), info=info)
    stored = open_run(tmp_path / "run").graph(PROMPTS[0])
    alone = prune(trace(*opened(), PROMPTS[0]).graph)
    assert len(stored.graph.edges) == len(alone.graph.edges)
    np.testing.assert_array_equal(stored.edge_kept, alone.edge_kept)
    again = prune(stored.graph)
    np.testing.assert_array_equal(again.node_kept, stored.node_kept)
    np.testing.assert_array_equal(again.influence, stored.influence)


class Crashed(BaseException):
    """Stands for kill -9: nothing that is written afterwards counts."""


def _crashing(monkeypatch: pytest.MonkeyPatch, at: int, *, half: bool) -> list[str]:
    """The write number `at` does not happen, or leaves half a file under its dot-name."""
    written: list[str] = []
    real = parts._write

    def write(path: Path, table: Any) -> None:
        if len(written) >= at:
            if half:
                path.with_name(f".{path.stem}.01234567.partial").write_bytes(b"PAR1 half")
            raise Crashed
        written.append(path.parent.name)
        real(path, table)

    monkeypatch.setattr(parts, "_write", write)
    return written


@pytest.mark.parametrize("at", [0, 1, 2, 3, 6, 9])
def test_after_a_crash_at_any_write_the_same_call_goes_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        written = _crashing(patched, at, half=at % 2 == 0)
        with pytest.raises(Crashed):
            make_run(folder, work=SMALL)
    assert written == ["nodes", "edges", "paths", "graphs", *written[4:]][: len(written)]
    done = len(raw_rows(folder, "graphs")) if list((folder / "graphs").iterdir()) else 0
    assert done == 3 * (at // 4)
    assert open_run(folder).graphs.num_rows == done  # a reader in between is not misled
    outcome = make_run(folder, work=SMALL)
    assert outcome.traced == len(PROMPTS) - done
    assert differences(whole, folder) == []
    assert not list(folder.rglob("*.partial"))


def test_a_full_disk_ends_in_a_sentence_and_the_run_goes_on_later(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet

    def write_table(table: Any, file: Any, **_: Any) -> None:
        file.write(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pyarrow.parquet, "write_table", write_table)
        with pytest.raises(OutputError, match="the disk is full; what is done is safe"):
            make_run(tmp_path / "run", work=SMALL)
    assert not list((tmp_path / "run").rglob("*.partial"))
    make_run(tmp_path / "run", work=SMALL)
    assert differences(whole, tmp_path / "run") == []


def test_neither_shards_nor_limits_nor_parts_change_a_row(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert make_run(folder, work=Work(limit=3)).done == 3
    first = make_run(folder, work=Work(shard=Shard(1, 2), part_prompts=1))
    second = make_run(folder, work=Work(shard=Shard(0, 2)))
    assert first.total + second.total == len(PROMPTS)
    assert first.traced + second.traced == len(PROMPTS) - 3
    assert differences(whole, folder) == []
    assert make_run(folder).traced == 0


def test_failures_are_rows_and_are_tried_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lines = tmp_path / "run", b'{"prompt": "the banana is"}\n{\n{"prompt": "a zzyx is"}\n'
    lines += b'{"prompt": "a lemon is", "targets": ["two words"]}\n{"prompt": "sky is"}'
    file, real = parse_prompts(lines, "jsonl", "p.jsonl"), tracing.trace_frozen

    def broken(model: Any, frozen: Any, **named: Any) -> Any:
        if frozen.prepared.prompt == "sky is":
            raise ZeroDivisionError("by zero\nand more")
        return real(model, frozen, **named)

    with monkeypatch.context() as patched:
        patched.setattr(tracing, "trace_frozen", broken)
        outcome = make_run(folder, file)
    assert (outcome.done, outcome.failed, outcome.total) == (1, 4, 5)
    rows = open_run(folder).failures.to_pylist()
    assert [(row["line"], row["class"], row["attempt"]) for row in rows] == [
        (2, "BadLine", 1),
        (3, "PromptError", 1),
        (4, "PromptError", 1),
        (5, "ZeroDivisionError", 1),
    ]
    assert rows[0]["message"].startswith("line 2 of p.jsonl is no JSON")
    assert rows[3]["message"] == "by zero"
    assert make_run(folder, file).traced == 0  # not without being asked
    again = make_run(folder, file, Work(retry_failed=True))
    assert (again.traced, again.done, again.failed) == (1, 2, 3)
    rows = open_run(folder).failures.to_pylist()
    assert [(row["line"], row["attempt"]) for row in rows] == [(2, 1), (3, 2), (4, 2)]
    assert len(raw_rows(folder, "failures")) == 3  # no reader counts one twice


def test_what_is_wrong_with_the_model_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ModelError("this model is none")

    monkeypatch.setattr(tracing, "check_wiring", broken)
    with pytest.raises(ModelError):
        make_run(tmp_path / "run")
    assert open_run(tmp_path / "run").failures.num_rows == 0


def test_a_line_that_repeats_another_is_traced_once_and_adds_its_tags(tmp_path: Path) -> None:
    lines = b'{"prompt": "the banana is", "tags": ["a"]}\n{"prompt": "sky is"}\n'
    lines += b'{"prompt": "the banana is", "tags": ["b"], "id": "x", "roles": {"thing": 2}}'
    outcome = make_run(tmp_path / "run", parse_prompts(lines, "jsonl"))
    assert outcome.total == 2
    run = open_run(tmp_path / "run")
    assert run.graphs.column("tags").to_pylist() == [["a", "b"], []]
    assert run.graph("x").graph.info.prompt == "the banana is"
    assert json.loads(run.graphs.column("roles").to_pylist()[0]) == {"thing": 2}


def test_other_settings_or_prompts_are_another_run(whole: Path) -> None:
    file = prompt_file()
    for changes, said in (
        ({"node_threshold": 0.5}, "another `node_threshold`"),
        ({"settings": {**run_info().settings, "coverage": 0.9}}, "another `coverage`"),
    ):
        info = run_info(**changes)
        with pytest.raises(UsageError, match=said):
            begin(whole, info, entries_of(file, info.identity()))
    info = run_info()
    fewer = entries_of(prompt_file(PROMPTS[1:]), info.identity())
    with pytest.raises(UsageError, match="the one of line 1 is gone"):
        begin(whole, info, fewer)
    keys = {one.key for one in entries_of(file, info.identity())}
    other = replace(info, model=replace(info.model, sha256="other"))
    assert keys.isdisjoint(one.key for one in entries_of(file, other.identity()))


def test_prompts_can_be_added_to_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run", prompt_file(PROMPTS[:3]))
    assert make_run(tmp_path / "run", prompt_file(PROMPTS[:5])).traced == 2


def test_rows_go_by_the_prompt_file_as_it_is_now(tmp_path: Path) -> None:
    """Another line may come before a prompt whose row is there, and a tag be added to it."""
    first = b'{"id": "b1", "prompt": "the banana is"}\n{"prompt": "a lemon is"}\n'
    first += b'{"prompt": "a zzyx is"}\n'
    make_run(tmp_path / "run", parse_prompts(first, "jsonl"))
    tagged = first.replace(b'"b1",', b'"b2", "tags": ["a"], "roles": {"thing": 2},')
    again = make_run(tmp_path / "run", parse_prompts(b'{"prompt": "sky is"}\n' + tagged, "jsonl"))
    assert again.traced == 1
    run = open_run(tmp_path / "run")
    assert run.graphs.column("line").to_pylist() == [1, 2, 3]
    assert [run.graph(one).graph.info.prompt for one in ("1", "b2", "3")] == [
        "sky is", "the banana is", "a lemon is",
    ]  # fmt: skip
    assert run.failures.column("line").to_pylist() == [4]
    row = run.graphs.to_pylist()[1]
    assert (row["tags"], json.loads(row["roles"])) == (["a"], {"thing": 2})
    with pytest.raises(UsageError, match="has no graph of"):
        run.find("b1")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    make_run(tmp_path / "run", prompt_file(PROMPTS[:2]))
    (part,) = (tmp_path / "run" / "graphs").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(GraphFileError, match="remove it and start the command again that wrote"):
        make_run(tmp_path / "run", prompt_file(PROMPTS[:2]))
    part.unlink()
    make_run(tmp_path / "run", prompt_file(PROMPTS[:2]))
    assert len(raw_rows(tmp_path / "run", "nodes")) == sum(
        open_run(tmp_path / "run").graphs.column("n_nodes_stored").to_pylist()
    )


HOLDER = """
import sys
from pathlib import Path
from circuit_tracer.batch.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.take("a"), claims.take("b"), flush=True)
sys.stdin.read()
"""


def test_a_claim_lasts_as_long_as_its_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "claims")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True True\n"
    claims = Claims(tmp_path / "claims")
    assert claims.work
    assert not claims.take("a")
    assert claims.take("c")
    process.kill()
    process.communicate()
    assert claims.take("a")
    claims.close()


def test_a_group_that_another_process_holds_is_done_when_that_one_dies(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    make_run(folder, work=Work(limit=1))
    info = run_info()
    entries = entries_of(prompt_file(), info.identity())
    from tests.batch.runs import tracer

    kind = Graphs(info, tracer(info))
    group = kind.plan(entries).groups[0]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.replace('"a"', f'"{group.key}"'), str(folder / ".claims")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage.startswith("waiting"):
            process.kill()
        stages.append(stage)

    with OpenedBatch(folder, kind, entries) as opened:
        opened.go(Work(), on_progress=progress)
    process.communicate()
    assert "waiting for another process" in stages
    assert differences(whole, folder) == []


def test_without_locks_doubles_are_read_once(whole: Path, tmp_path: Path) -> None:
    """Two processes that cannot see each other's claims: what they both did counts once."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    once = open_run(folder).rows("nodes").num_rows
    for table in ("nodes", "edges", "paths", "graphs"):
        (part,) = (folder / table).glob("*.parquet")
        shutil.copy(part, part.with_name(f"part-{'0' * 16}.parquet"))
    run = open_run(folder)
    assert run.graphs.num_rows == len(PROMPTS)
    assert run.rows("nodes").num_rows == once
    assert run.graph(PROMPTS[0]).graph.info.prompt == PROMPTS[0]


def test_the_writer_is_one_thread_and_ends(tmp_path: Path) -> None:
    make_run(tmp_path / "run", prompt_file(PROMPTS[:1]))
    assert [one.name for one in threading.enumerate() if one.name == "writer"] == []


def test_a_prompt_is_found_by_what_people_know_it_by(tmp_path: Path) -> None:
    lines = b'{"id": "b1", "prompt": "the banana is"}\n{"id": "b2", "prompt": "a lemon is"}'
    make_run(tmp_path / "run", parse_prompts(lines, "jsonl"))
    run = open_run(tmp_path / "run")
    key = run.graphs.column("id")[1].as_py()
    assert {run.find(one) for one in ("b2", "2", "a lemon is", key, key[:8])} == {key}
    with pytest.raises(UsageError, match="has no graph of"):
        run.find("b3")
    with pytest.raises(GraphFileError, match="is missing; give a folder"):
        open_run(tmp_path)
