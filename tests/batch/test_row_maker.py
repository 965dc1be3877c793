"""The process that makes rows: the same rows as here, and no harm done when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pyarrow as pa
import pytest

from circuit_tracer.attribution import trace
from circuit_tracer.batch import row_maker
from circuit_tracer.batch.row_maker import Job, RowMaker
from circuit_tracer.graphs.graph import Graph
from tests.batch.runs import PROMPTS, entries, opened, run_info
from tests.batch.stores import differ, wait_for


@cache
def job() -> Job:
    return Job(entries()[2], trace(*opened(), PROMPTS[2]).graph)


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


def test_rows_of_the_other_process_are_the_rows_made_here(
    maker: RowMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = job().rows(run_info())
    monkeypatch.setattr(Job, "rows", lambda *_: pytest.fail("made here"))
    for _ in range(2):
        there = maker.rows(job())
        assert same(there.nodes, here.nodes)
        assert same(there.edges, here.edges)
        assert (there.paths, there.heads, there.graph) == (here.paths, here.heads, here.graph)


def test_when_it_is_killed_rows_are_made_here(maker: RowMaker) -> None:
    assert maker._process is not None
    pid = maker._process.pid
    os.kill(pid, signal.SIGKILL)
    for _ in range(2):
        assert same(maker.rows(job()).edges, job().rows(run_info()).edges)
    assert not maker.ready


def test_what_it_cannot_make_is_met_here_and_it_goes_on(maker: RowMaker) -> None:
    whole = job().graph
    assert isinstance(whole, Graph)
    broken = replace(whole, edges=replace(whole.edges, source=whole.edges.source[:-1]))
    with pytest.raises((ValueError, IndexError)):
        maker.rows(replace(job(), graph=broken))
    assert maker.ready
    assert same(maker.rows(job()).nodes, job().rows(run_info()).nodes)


def test_large_graphs_stay_here(maker: RowMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_maker, "MOST_EDGES", job().n_edges - 1)
    monkeypatch.setattr(RowMaker, "_ask", lambda *_: pytest.fail("sent"))
    assert maker.rows(job()).key == job().entry.key


def test_it_ends_with_the_process_that_started_it() -> None:
    program = (
        "import os, signal\n"
        "from circuit_tracer.batch.row_maker import RowMaker\n"
        "from tests.batch.runs import run_info\n"
        "from tests.batch.stores import wait_for\n"
        "maker = RowMaker(run_info())\n"
        "wait_for(lambda: maker.ready)\n"
        "print(maker._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
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
