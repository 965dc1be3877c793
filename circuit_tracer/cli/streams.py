"""The standard streams of a command, in any encoding, read to their end or not.

Nothing printed becomes a "?". A stream of UTF-8 gets text as it is. On any other one JSON is
escaped ASCII (`print_json`), and a character that the encoding lacks is written in ASCII: arrows
and rules as what looks like them, everything else as its escape ("\\u9ec4"). Files are always
UTF-8, whatever the streams are.

A reader may leave (`circuit-tracer ... | head -1`): what is written after that is dropped, and the
command ends as it would have ended, its files written and its exit code its own.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any, TypeVar

Value = TypeVar("Value")

_HANDLER = "circuit-tracer"
_ALIKE = {
    **dict.fromkeys("─━═╌┄‐‑–—−", "-"),
    **dict.fromkeys("│┃║╎┆", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈╋", "+"),
    **dict.fromkeys("█▇▆▅▄▃▂▁", "#"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "\u00a0": " ",
    "→": "->",
    "⟹": "=>",
    "←": "<-",
    "›": ">",
    "…": "...",
    "·": ".",
    "•": "*",
    "×": "x",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "±": "+/-",
    "↵": "\\n",
    "⇥": "\\t",
    "␍": "\\r",
}
"""What the tool itself draws and says; no letter is among them, so that no two words get alike."""


def is_unicode(stream: Any) -> bool:
    """Whether a stream takes every character; one without an encoding, such as StringIO, does."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name.startswith("utf")


def prepare_streams() -> None:
    """Let stdout and stderr take every text; called once, before a command runs."""
    codecs.register_error(_HANDLER, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def as_typed(value: Value) -> Value:
    """A text of the command line, or several, as the caller typed it.

    Where the locale is ASCII, Python keeps the bytes of other characters as lone surrogates. What
    is a path that exists stays so; what is no UTF-8 does, too, and is refused where it is used.
    """
    if isinstance(value, list):
        return type(value)([as_typed(one) for one in value])
    if isinstance(value, str) and not value.isascii() and not os.path.exists(value):
        with suppress(UnicodeError):
            return type(value)(os.fsencode(value).decode("utf-8"))
    return value


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    some = error.object[error.start : error.end]
    return "".join(_ALIKE.get(one) or _escape(one) for one in some), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")


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
        # python -u and PYTHONUNBUFFERED, as containers have it, write through.
        line_buffering=stream.line_buffering or stream.write_through or stream.isatty(),
    )
