"""`circuit-tracer` in a fork of a process that has imported what it needs: a real one without the
seconds of importing torch.

It is killed, stopped and interrupted like any other. What is forked is a process that
multiprocessing keeps for that, not this one, which has threads and what tests have changed. What a
command does before torch is imported is tested with a new interpreter instead
(tests/cli/test_manners.py, tests/cli/test_reading.py).
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import torch

from circuit_tracer.__main__ import main
from circuit_tracer.batch.kinds import Graphs

FORKS = get_context("forkserver")
IMPORTED = (
    "nnsight",
    "transformers.models.llama.modeling_llama",  # the bundled models' own; brings torch.distributed
    "circuit_tracer.workbench.batch_job",
    "circuit_tracer.batch.stored_run",
    __name__,
)
"""What commands import that is slow: a fork that has not got it takes three seconds for it."""
FORKS.set_forkserver_preload([*IMPORTED])
NUMBERS = itertools.count()


def without_row_makers() -> None:
    """A command that starts no process for rows, as small runs need none."""
    Graphs.open = lambda kind: None  # type: ignore[method-assign]
    main()


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
        beside = f"{cwd.name}-{next(NUMBERS)}"
        self._printed = tuple(cwd.parent / f"{beside}-{name}.txt" for name in ("out", "err"))
        given = (arguments, cwd, work, {**os.environ, **environment}, self._printed)
        self._process = FORKS.Process(target=_run, args=given)
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
        out, err = (file.read_text(encoding="utf-8") for file in self._printed)
        return self._process.exitcode, out, err


def _run(
    arguments: Sequence[str],
    cwd: Path,
    work: Callable[[], None],
    environment: dict[str, str],
    printed: tuple[Path, ...],
) -> None:
    """In the fork: what a new interpreter would begin with."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.update({"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})
    torch.set_num_threads(1)
    os.chdir(cwd)
    for descriptor, path in enumerate(printed, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    sys.argv = ["circuit-tracer", *arguments]
    work()
