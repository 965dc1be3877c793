"""`circuit-tracer` in a fork of this process: a real one without the seconds of importing torch.

It is killed, stopped and interrupted like any other. What a command does before torch is imported
is tested with a new interpreter instead (tests/cli/test_manners.py, tests/cli/test_reading.py).
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import torch

from circuit_tracer.__main__ import main


class Forked:
    """A command at work."""

    def __init__(self, arguments: Sequence[str], cwd: Path) -> None:
        """Begin it in that folder, with two files beside the folder for what it prints."""
        self._printed = tuple(
            cwd.with_name(f"{cwd.name}.{os.getpid()}.{name}") for name in ("out", "err")
        )
        context = get_context("fork")
        self._process = context.Process(target=_run, args=(arguments, cwd, self._printed))
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
        out, err = (path.read_text("utf-8") for path in self._printed)
        return self._process.exitcode, out, err


def _run(arguments: Sequence[str], cwd: Path, printed: tuple[Path, Path]) -> None:
    """In the fork: what a new interpreter would begin with, as far as tests have changed it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    torch.set_num_threads(1)
    os.chdir(cwd)
    for descriptor, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(n, "w", closefd=False), encoding="utf-8") for n in (1, 2)
    )
    sys.argv = ["circuit-tracer", *arguments]
    main()
