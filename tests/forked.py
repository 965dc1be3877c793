"""`circuit-tracer` in a fork of this process: a real one without the seconds of importing torch.

It is killed, stopped and interrupted like any other. What a command does before torch is imported
is tested with a new interpreter instead (tests/cli/test_manners.py, tests/cli/test_reading.py).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import torch

from circuit_tracer.__main__ import main


class Forked:
    """A command at work, or another function that finds what it is asked in `sys.argv`."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path,
        work: Callable[[], None] = main,
        **environment: str,
    ) -> None:
        """Begin it in that folder."""
        self._printed = tuple(TemporaryFile() for _ in range(2))  # noqa: SIM115 - read at the end
        given = (arguments, cwd, work, environment, self._printed)
        self._process = get_context("fork").Process(target=_run, args=given)
        self._process.start()

    def poll(self) -> int | None:
        """Its exit code, None while it works; of a signal its number, negative."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """As `kill` does."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def finished(self) -> tuple[int, str, str]:
        """Wait for it: exit code, stdout, stderr."""
        self._process.join(timeout=600)
        assert self._process.exitcode is not None
        texts = []
        for file in self._printed:
            file.seek(0)
            texts.append(file.read().decode("utf-8"))
            file.close()
        return self._process.exitcode, texts[0], texts[1]


def _run(
    arguments: Sequence[str],
    cwd: Path,
    work: Callable[[], None],
    environment: dict[str, str],
    printed: tuple[IO[bytes], IO[bytes]],
) -> None:
    """In the fork: what a new interpreter would begin with, as far as tests have changed it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update({"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **environment})
    torch.set_num_threads(1)
    os.chdir(cwd)
    for descriptor, file in enumerate(printed, start=1):
        os.dup2(file.fileno(), descriptor)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(n, "w", closefd=False), encoding="utf-8") for n in (1, 2)
    )
    sys.argv = ["circuit-tracer", *arguments]
    work()
