"""From Python: a prompt traced into a folder, opened again, with nothing printed."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.attribution import TraceSettings
from circuit_tracer.batch.shards import Shard
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.graphs import load_graph
from circuit_tracer.workbench import batch_job, folders
from circuit_tracer.workbench.opening import Opened, open_pair, reopen
from circuit_tracer.workbench.tracing import FolderSettings, TracedFolder, trace_into

PROMPT = "a lemon is"


@pytest.fixture(scope="module")
def opened() -> Opened:
    return open_pair("sprout", device="cpu")


@pytest.fixture(scope="module")
def traced(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> TracedFolder:
    folder = tmp_path_factory.mktemp("traces") / "lemon"
    output = FolderSettings(formats=("json",), heads=True)
    done = trace_into(folder, opened, PROMPT, TraceSettings(max_n_logits=2), output)
    assert done is not None
    return done


def test_the_folder_holds_what_was_asked_for(traced: TracedFolder) -> None:
    names = {path.name for path in traced.folder.iterdir()}
    expected = {"trace.json", "nodes.parquet", "edges.parquet", "heads.parquet"}
    assert names == expected | {"trust.json", "graph.json"}
    assert {Path(file).name for file in traced.files.values()} == names
    assert load_graph(traced.folder).scores == traced.pruned.scores


def test_the_record_says_what_was_traced(traced: TracedFolder) -> None:
    record = traced.record()
    assert record["prompt"] == PROMPT
    assert record["targets"][0]["token"] == "yellow"
    assert record["counts"]["kept_nodes"] == int(traced.pruned.node_kept.sum())
    assert traced.trust is not None
    assert record["trust"] == asdict(traced.trust.verdict)


def test_stages_are_reported_and_nothing_is_printed(
    opened: Opened,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stages: list[str] = []
    with caplog.at_level(logging.INFO, logger="circuit_tracer"):
        trace_into(
            tmp_path / "x",
            opened,
            PROMPT,
            TraceSettings(targets=("yellow",)),
            FolderSettings(formats=(), trust=False),
            on_progress=lambda stage, done, total: stages.append(stage),
        )
    assert capsys.readouterr() == ("", "")
    order = list(dict.fromkeys(stage.partition(":")[0] for stage in stages))
    assert order == ["forward", "encode", "sweep", "pruning", "writing"]
    assert all(record.name.startswith("circuit_tracer.") for record in caplog.records)


def test_errors_name_parameters(opened: Opened, traced: TracedFolder) -> None:
    with pytest.raises(OutputError, match="`overwrite`"):
        trace_into(traced.folder, opened, PROMPT)
    with pytest.raises(UsageError, match="threshold"):
        FolderSettings(node_threshold=2).check(traced.folder / "new", PROMPT)


def test_what_takes_several_processes_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    for output in (FolderSettings(heads=True), FolderSettings(trust=True)):
        with pytest.raises(UsageError, match="torchrun"):
            output.check(tmp_path / "x", PROMPT)


def test_a_graph_finds_its_model_again(traced: TracedFolder, opened: Opened) -> None:
    again, ids = reopen(load_graph(traced.folder), device="cpu")
    assert again.model.identity == opened.model.identity
    assert again.dictionary.identity.sha256 == opened.dictionary.identity.sha256
    assert ids == list(traced.pruned.graph.info.token_ids)


@pytest.mark.parametrize("check", [folders.check_place, batch_job.check_place])
def test_places_that_can_be_none_are_refused_before_the_trace(tmp_path: Path, check: Any) -> None:
    (tmp_path / "circle").symlink_to("circle")
    arguments = (False, "a banana is") if check is folders.check_place else (False, Shard(0, 1))
    for place, why in (("circle", "links lead in a circle"), ("n" * 300, "name is too long")):
        with pytest.raises(OutputError, match=why):
            check(tmp_path / place / "a-banana-is", *arguments)
