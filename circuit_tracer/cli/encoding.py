"""The two streams of a command, in whatever encoding they have: nothing printed becomes a "?".

A stream of UTF-8 gets text as it is. On any other one JSON is escaped ASCII (`print_json`), and a
character that the encoding lacks is written in ASCII: arrows and rules as what looks like them,
everything else as its escape ("\\u9ec4"). Files are always UTF-8, whatever the streams are.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
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
        with contextlib.suppress(UnicodeError):
            return type(value)(os.fsencode(value).decode("utf-8"))
    return value


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    some = error.object[error.start : error.end]
    return "".join(_ALIKE.get(one) or _escape(one) for one in some), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode("ascii")
