"""Graphs become rows in a process of its own, beside the one that traces.

Within one process the two would take turns at the interpreter: a sweep of a small model is
thousands of short calls, and each has to wait for its turn again. What makes rows knows neither
the model nor torch, so that its process starts in a quarter of a second.

It is a help and nothing else: rows are made by who asks until it is ready, when it has died, when
it could not make some (so that the reason is met where it can be told), and of graphs too large to
be sent. It ends by itself when the process that asks does, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.tables import PromptRows, rows_of
from circuit_tracer.graphs.edges.unordered import UnorderedGraph
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.processes import reuse_memory

if TYPE_CHECKING:
    from circuit_tracer.batch.run_file import RunInfo
    from circuit_tracer.graphs.head_loadings import LeadingHead

MOST_EDGES = 4_000_000
"""Edges of a graph that is sent (48 MB): with more of them, a sweep takes so long that it does not
matter."""
_APART = 1 << 14
"""Bytes of an array from which it is sent as it lies in memory, behind the rest."""
_AT_ONCE = 1000
"""Arrays in one call to the system."""
_SIZE = struct.Struct("<Q")


@dataclass(frozen=True)
class Job:
    """A prompt's graph, from which its rows are made."""

    entry: Entry
    graph: UnorderedGraph | PrunedGraph
    """Pruned as the run asks for if it is not yet."""
    n_edges: int
    """Edges that would have to be sent."""
    heads: tuple[LeadingHead, ...] = ()

    def rows(self, run: RunInfo) -> PromptRows:
        """Prune and make rows, in this process."""
        pruned = self.graph
        if isinstance(pruned, UnorderedGraph):
            pruned = prune(
                pruned.ordered(),
                node_threshold=run.node_threshold,
                edge_threshold=run.edge_threshold,
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

    def rows(self, jobs: Sequence[Job]) -> list[PromptRows | None]:
        """Rows of many prompts at once; None for those that it has not made.

        Every message makes the sweep wait for its turn again, so that one for many is worth it.
        """
        found: list[PromptRows | None] = [None] * len(jobs)
        sent = [i for i, job in enumerate(jobs) if job.n_edges <= MOST_EDGES]
        if not self.ready or not sent:
            return found
        answer = self._exchange([jobs[i] for i in sent])
        if answer is None:
            self.close()
        else:
            for i, rows in zip(sent, answer, strict=True):
                found[i] = rows
        return found

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

    def _exchange(self, message: object) -> Any:
        """Its answer; None if it is no more."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return None
        try:
            _send(message, process.stdin)
            return _received(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            return None


def _send(message: object, pipe: IO[bytes]) -> None:
    """Sizes, the message without its large arrays, and those as they lie in memory."""
    apart: list[memoryview] = []

    def stays(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes >= _APART:
            apart.append(raw)
        return raw.nbytes < _APART

    rest = memoryview(pickle.dumps(message, 5, buffer_callback=stays))
    sizes = [len(apart), *(part.nbytes for part in (rest, *apart))]
    parts = [memoryview(b"".join(map(_SIZE.pack, sizes))), rest, *apart]
    while parts:
        written = os.writev(pipe.fileno(), parts[:_AT_ONCE])
        while parts and written >= parts[0].nbytes:
            written -= parts.pop(0).nbytes
        if parts:
            parts[0] = parts[0][written:]


def _received(pipe: IO[bytes]) -> Any:
    """What was sent; EOFError at the end."""
    (n_apart,) = _SIZE.unpack(_exactly(pipe, _SIZE.size))
    sizes = [_SIZE.unpack(_exactly(pipe, _SIZE.size))[0] for _ in range(n_apart + 1)]
    rest, *apart = [_exactly(pipe, size) for size in sizes]
    return pickle.loads(rest, buffers=apart)


def _exactly(pipe: IO[bytes], size: int) -> bytearray:
    found = bytearray(size)
    left = memoryview(found)
    while left:
        n = os.readv(pipe.fileno(), [left])
        if not n:
            raise EOFError
        left = left[n:]
    return found


def _started() -> subprocess.Popen[bytes] | None:
    """The process; None where none can be started, or not be spoken with in this way."""
    if not hasattr(os, "writev"):
        return None
    path = os.pathsep.join(place for place in sys.path if place)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "circuit_tracer.batch.row_maker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path},
        )
    except OSError:
        return None


def serve() -> None:
    """What the process does: jobs in, their rows out, until nobody asks any more.

    Both ends are one program, so that what goes through the pipe is as safe as the program itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that traces
    reuse_memory()
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    with suppress(EOFError, BrokenPipeError):
        run: RunInfo = _received(asked)
        _send(True, answers)
        while True:
            _send([_made(job, run) for job in _received(asked)], answers)


def _made(job: Job, run: RunInfo) -> PromptRows | None:
    try:
        return job.rows(run)
    except Exception:  # whoever asked meets it, too, and can tell of it
        return None


if __name__ == "__main__":
    # By its own name: as __main__ the classes that come through the pipe would be others.
    from circuit_tracer.batch import row_maker

    row_maker.serve()
