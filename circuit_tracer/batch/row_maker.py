"""Graphs become rows in a process of its own, beside the one that traces.

Within one process the two would take turns at the interpreter: a sweep of a small model is
thousands of short calls, and each has to wait for its turn again. What makes rows knows neither
the model nor torch, so that its process starts in a quarter of a second.

It only helps: whoever asks makes the rows until it is ready, when it has died, when it could not
make some (so that the reason is met where it can be reported), and of graphs too large to be sent.
It ends by itself when the process that asks does, however that ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.tables import PromptRows, Traced
from circuit_tracer.processes import reuse_memory

MOST_EDGES = 4_000_000
"""Edges of a graph that is sent (48 MB): with more of them, a sweep takes so long that it does not
matter."""


class RowMaker:
    """Starts the process; used by one thread at a time."""

    def __init__(self, run: RunInfo) -> None:
        self.run = run
        self._ready = threading.Event()
        self._pipe, self._process = _started()
        if self._process is not None:
            threading.Thread(target=self._greet, name="row maker", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the process has answered and not been lost since."""
        return self._ready.is_set()

    def rows(self, graphs: Sequence[Traced]) -> list[PromptRows | None]:
        """Rows of many prompts at once; None for those that it has not made.

        Every message makes the sweep wait for its turn again, so that one for many is worth it.
        """
        rows: list[PromptRows | None] = [None] * len(graphs)
        sent = [i for i, traced in enumerate(graphs) if traced.n_edges <= MOST_EDGES]
        if not self.ready or not sent:
            return rows
        answer = self._exchange([graphs[i] for i in sent])
        if answer is None:
            self.close()
        else:
            for i, made in zip(sent, answer, strict=True):
                rows[i] = made
        return rows

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        self._ready.clear()
        if process is not None:
            process.kill()  # it holds nothing that could be lost
            process.wait()
            self._pipe.close()

    def _greet(self) -> None:
        """Wait until it answers for the first time."""
        if self._exchange(self.run) is not None:
            self._ready.set()

    def _exchange(self, message: object) -> Any:
        """Its answer; None if it is no more."""
        try:
            self._pipe.send(message)
            return self._pipe.recv()
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            return None


def _started() -> tuple[Connection, subprocess.Popen[bytes] | None]:
    """Our end of a pipe and the process at the other; None where none can be started."""
    ours, theirs = Pipe()
    try:
        if os.name != "posix":  # a pipe cannot be handed to a process that is no fork
            return ours, None
        return ours, subprocess.Popen(
            [sys.executable, "-m", "circuit_tracer.batch.row_maker", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)},
        )
    except OSError:
        return ours, None
    finally:
        theirs.close()


def serve(pipe: Connection) -> None:
    """What the process does: graphs in, their rows out, until nobody asks any more.

    Both ends are one program, so that what goes through the pipe is as safe as the program itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that traces
    reuse_memory()
    with suppress(EOFError, OSError):
        run: RunInfo = pipe.recv()
        pipe.send(True)
        while True:
            pipe.send([_made(traced, run) for traced in pipe.recv()])


def _made(traced: Traced, run: RunInfo) -> PromptRows | None:
    try:
        return traced.rows(run)
    except Exception:  # whoever asked meets it, too, and can report it
        return None


if __name__ == "__main__":
    # By its own name: as __main__ the classes that come through the pipe would be others.
    from circuit_tracer.batch import row_maker

    row_maker.serve(Connection(int(sys.argv[1])))
