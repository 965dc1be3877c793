"""The process that makes rows: the same rows as here, and no harm done when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from circuit_tracer.attribution import trace
from circuit_tracer.batch import row_maker
from circuit_tracer.batch.row_maker import RowMaker
from circuit_tracer.batch.run_file import settle_run
from circuit_tracer.batch.tables import Traced
from circuit_tracer.graphs.edges.store import UnorderedGraph
from circuit_tracer.graphs.pruning import prune
from tests.batch.runs import PROMPTS, entries, opened, run_info
from tests.batch.store_checks import differ, wait_for


@cache
def whole() -> UnorderedGraph:
    return trace(*opened(), PROMPTS[2]).unordered


def traced() -> Traced:
    return Traced(entries()[2], whole(), 0.0)


def same(one: pa.Table, other: pa.Table) -> bool:
    """To the last bit."""
    names = one.column_names
    return names == other.column_names and not any(differ(one, other, name) for name in names)


@pytest.fixture
def maker() -> Iterator[RowMaker]:
    """One whose process has answered."""
    found = RowMaker(run_info())
    wait_for(lambda: found.ready)
    yield found
    found.close()


def test_rows_of_the_other_process_are_the_rows_made_here(maker: RowMaker) -> None:
    here = traced().rows(run_info())
    for count in (1, 3):
        for there in maker.rows([traced()] * count):
            assert there is not None
            assert same(there.nodes, here.nodes)
            assert same(there.edges, here.edges)
            assert (there.paths, there.heads, there.graph) == (here.paths, here.heads, here.graph)


def test_a_pruned_graph_is_taken_as_it_is(maker: RowMaker) -> None:
    pruned = prune(whole().ordered(), node_threshold=0.5)
    (rows,) = maker.rows([replace(traced(), graph=pruned)])
    assert rows is not None
    assert len(rows.nodes) == pruned.node_kept.sum() < len(traced().rows(run_info()).nodes)


def test_more_than_a_pipe_holds(maker: RowMaker) -> None:
    rows = maker.rows([traced()] * 40)
    assert all(one is not None and one.key == traced().entry.key for one in rows)


def test_when_it_is_killed_nobody_waits_for_it(maker: RowMaker) -> None:
    assert maker._process is not None
    pid = maker._process.pid
    os.kill(pid, signal.SIGKILL)
    for _ in range(2):
        assert maker.rows([traced(), traced()]) == [None, None]
    assert not maker.ready


def test_what_it_cannot_make_does_not_touch_the_others(maker: RowMaker) -> None:
    broken = replace(whole(), nodes=whole().nodes.take(np.arange(3)))
    first, second, third = maker.rows([traced(), replace(traced(), graph=broken), traced()])
    assert second is None
    assert first is not None
    assert third is not None
    assert same(first.nodes, third.nodes)


def test_large_graphs_are_not_sent(maker: RowMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_maker, "MOST_EDGES", traced().n_edges - 1)
    monkeypatch.setattr(RowMaker, "_exchange", lambda *_: pytest.fail("sent"))
    assert maker.rows([traced()]) == [None]


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    settle_run(tmp_path, run_info())
    program = (
        "import os, pathlib, signal, sys\n"
        "from circuit_tracer.batch.row_maker import RowMaker\n"
        "from circuit_tracer.batch.run_file import RunInfo, read_run\n"
        "from tests.batch.store_checks import wait_for\n"
        "maker = RowMaker(read_run(pathlib.Path(sys.argv[1]), RunInfo))\n"
        "wait_for(lambda: maker.ready)\n"
        "print(maker._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    call = [sys.executable, "-c", program, tmp_path]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    wait_for(lambda: not _alive(pid), seconds=10)
    assert done.stderr == ""


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
