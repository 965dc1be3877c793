"""Standard streams whose reader may leave: `circuit-tracer ... | head -1`.

What is written after the reader has gone is dropped, and the command ends as it would have ended:
its files are written and its exit code is its own.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


class _Pipe(io.FileIO):
    """A file descriptor that takes everything once nobody reads it any more."""

    def write(self, data: Any, /) -> int:
        """Write the bytes, or drop them where the pipe is broken."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            drop(self.fileno())
            return memoryview(data).nbytes


def drop(descriptor: int) -> None:
    """Let what is written there from now on go nowhere."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, descriptor)
    os.close(devnull)


def survive_broken_pipes() -> None:
    """Let stdout and stderr outlive their readers; streams that are no files stay as they are."""
    sys.stdout, sys.stderr = _surviving(sys.stdout), _surviving(sys.stderr)


def close() -> OSError | None:
    """Write what is still in stdout and stderr; why stdout could not be written, if it could not.

    Python would try it again when it ends, and complain.
    """
    problem = None
    for stream in (sys.stderr, sys.stdout):
        problem = None
        try:
            stream.flush()
        except OSError as error:
            problem = error
            with suppress(OSError, ValueError):
                drop(stream.fileno())
                stream.flush()
    return problem


def _surviving(stream: Any) -> Any:
    if stream is None:  # it was closed before this program started
        return open(os.devnull, "w", encoding="utf-8")
    is_pipe = isinstance(getattr(getattr(stream, "buffer", None), "raw", None), _Pipe)
    if is_pipe or not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        pipe = _Pipe(stream.fileno(), "wb", closefd=False)
    except (OSError, ValueError):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(pipe),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.isatty(),
    )
