"""Graphs become rows in a process of its own, beside the one that traces.

Within one process the two would take turns at the interpreter: a sweep of a small model is
thousands of short calls, and each has to wait for its turn again. What makes rows knows neither
the model nor torch, so that its process starts in a quarter of a second.

It is a help and nothing else: rows are made here until it is ready, when it has died, when it
could not make some (so that the reason is met here), and of graphs too large to be sent. It ends
by itself when this process does, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.tables import PromptRows, rows_of
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.pruning import PrunedGraph, prune

if TYPE_CHECKING:
    from circuit_tracer.batch.run_file import RunInfo
    from circuit_tracer.graphs.heads import LeadingHead

MOST_EDGES = 4_000_000
"""Edges of a graph that is sent (48 MB): with more of them, a sweep takes so long that it does not
matter."""
_BUFFER = 1 << 18
_PROTOCOL = 5
"""Large arrays go through as they lie in memory."""


@dataclass(frozen=True)
class Job:
    """A prompt's graph, from which its rows are made."""

    entry: Entry
    graph: Graph | PrunedGraph
    """Pruned as the run asks for if it is not yet."""
    heads: tuple[LeadingHead, ...] = ()

    @property
    def n_edges(self) -> int:
        """Edges that would have to be sent."""
        graph = self.graph.graph if isinstance(self.graph, PrunedGraph) else self.graph
        return len(graph.edges)

    def rows(self, run: RunInfo) -> PromptRows:
        """Prune and make rows, in this process."""
        pruned = self.graph
        if isinstance(pruned, Graph):
            pruned = prune(
                pruned, node_threshold=run.node_threshold, edge_threshold=run.edge_threshold
            )
        return rows_of(self.entry, pruned, run, self.heads)


class RowMaker:
    """Starts the process; used by one thread at a time."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run
        self._ready = threading.Event()
        self._process = _started()
        if self._process is not None:
            threading.Thread(target=self._greet, name="row maker", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the process has answered and not been lost since."""
        return self._ready.is_set()

    def rows(self, job: Job) -> PromptRows:
        """A prompt's rows; raises what making them here does."""
        found = None
        if self.ready and job.n_edges <= MOST_EDGES:
            found = self._ask(job)
        return job.rows(self.run) if found is None else found

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        self._ready.clear()
        if process is not None:
            process.kill()  # it holds nothing that could be lost
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def _greet(self) -> None:
        """Wait until it answers for the first time."""
        if self._exchange(self.run) is not None:
            self._ready.set()

    def _ask(self, job: Job) -> PromptRows | None:
        found = self._exchange(job)
        if not isinstance(found, PromptRows):
            if found is None:
                self.close()
            return None
        return found

    def _exchange(self, message: object) -> object:
        """Its answer; None if it is no more."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            pickle.dump(message, process.stdin, _PROTOCOL)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            return None


def _started() -> subprocess.Popen[bytes] | None:
    """The process; None where none can be started."""
    path = os.pathsep.join(place for place in sys.path if place)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "circuit_tracer.batch.row_maker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=_BUFFER,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError:
        return None


def serve() -> None:
    """What the process does: a job in, its rows out, until nobody asks any more.

    Both ends are one program, so that what goes through the pipe is as safe as the program itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that traces
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    with suppress(EOFError, BrokenPipeError):
        run: RunInfo = pickle.load(asked)
        answer: PromptRows | bool = True
        while True:
            pickle.dump(answer, answers, _PROTOCOL)
            answers.flush()
            job: Job = pickle.load(asked)
            try:
                answer = job.rows(run)
            except Exception:  # it will be met where it can be told
                answer = False


if __name__ == "__main__":
    # By its own name: as __main__ the classes that come through the pipe would be others.
    from circuit_tracer.batch import row_maker

    row_maker.serve()
