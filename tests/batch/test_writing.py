"""The writer: what may wait for it, and what it hands back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.attribution import trace
from circuit_tracer.batch import writing
from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.batch.tables import Traced
from circuit_tracer.batch.writing import GroupDone, Writer
from circuit_tracer.errors import OutputError
from tests.batch.runs import PROMPTS, entries, opened, run_info, tracer


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """One that has nothing to do yet."""
    info = run_info()
    kind = Graphs(info, tracer(info))
    kind.open()
    yield Writer(tmp_path, kind, Claims(tmp_path / "claims"), {})
    kind.close()


def test_large_graphs_wait_one_at_a_time(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is not taken while the first is being digested, the third not before that."""
    graph = trace(*opened(), PROMPTS[0]).unordered
    monkeypatch.setattr(writing, "AHEAD_EDGES", graph.n_edges)
    go_on, most = threading.Semaphore(0), []
    digest = writer._digest

    def slow(*given: Any) -> None:
        go_on.acquire()
        most.append(writer._waiting_edges)
        digest(*given)

    monkeypatch.setattr(writer, "_digest", slow)
    threading.Timer(0.2, lambda: go_on.release(3)).start()
    for entry in entries()[:3]:
        writer.take(Traced(entry, graph, 0.0))
    writer.close()
    assert most == [graph.n_edges] * 3
    assert writer.traced == 3


def test_what_the_writer_meets_comes_back_and_nothing_hangs(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(writing, "write_part", full)
    monkeypatch.setattr(writing, "PART_SECONDS", 0.0)
    item = Traced(entries()[0], trace(*opened(), PROMPTS[0]).unordered, 0.0)

    def hand_over_many() -> None:
        for _ in range(100):
            writer.take(item)
            writer.take(GroupDone("it"))

    with pytest.raises(OutputError):
        hand_over_many()
    with pytest.raises(OutputError):
        writer.close()
