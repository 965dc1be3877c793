"""Ctrl-C, from the first line of the program to its last. Imports nothing heavy.

An interrupt in an import can come out as anything: some libraries swallow it, some turn it into an
ImportError, and in a destructor Python prints it and goes on. So that it came is remembered, where
it was lost it is raised again, and the second one ends the process at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""Exit code of what Ctrl-C stopped, as in shells."""

_came = False


def came() -> bool:
    """Whether Ctrl-C was pressed: what fails from then on fails because of it."""
    return _came


def answer() -> None:
    """Let Ctrl-C unwind this process like an exception, wherever it arrives."""
    global _came
    _came = False
    signal.signal(signal.SIGINT, _on_signal)
    sys.unraisablehook = _on_unraisable


def say_in_a_line() -> None:
    """Let a script that Ctrl-C ends say so in a line in place of a traceback. For the first lines
    of a package whose modules are run (`python -m package.module`); imported ones are left alone.
    """
    if sys.argv[:1] != ["-m"]:  # what Python has there while it looks for the module
        return
    others = sys.excepthook

    def said(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted; the same command goes on or begins again", file=sys.stderr)
        else:
            others(kind, error, trace)

    sys.excepthook = said


def closing() -> None:
    """From here on Ctrl-C changes nothing: all is done but freeing memory, and the code is set."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An interrupt that left a text being executed (as in the making of a dataclass) makes Python
    # end as if killed, whatever the exit code; executing another text takes that back.
    exec("")


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _came
    if _came:
        os._exit(INTERRUPTED)
    _came = True
    raise KeyboardInterrupt


def _on_unraisable(lost: Any) -> None:
    """What is raised in a destructor goes nowhere: an interrupt is raised again outside it."""
    global _came
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    _came = False
    # Later, because in here it would be lost again.
    again = threading.Timer(0.02, _thread.interrupt_main)
    again.daemon = True
    again.start()
