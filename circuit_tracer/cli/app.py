"""The command line's frame: errors become one line and an exit code."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import typer

from circuit_tracer import interrupts
from circuit_tracer.cli import invocation
from circuit_tracer.cli.streams import as_typed
from circuit_tracer.cli.wording import in_options
from circuit_tracer.errors import CircuitTracerError, UsageError, reason
from circuit_tracer.processes import is_first
from circuit_tracer.render.text import printable

P = ParamSpec("P")
R = TypeVar("R")

ENVIRONMENT = "CIRCUIT_TRACER_"
UNLOADABLE = r"shared object|undefined symbol|dlopen|DLL load|[Ii]mporting (the )?numpy"
"""How compiled libraries say that they are not all there."""
_unfinished: list[Callable[[], str]] = []
"""What becomes of the work under way when Ctrl-C stops it, the innermost last."""


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then exit; what was asked wrongly is wrong in every process."""
    if is_first() or code != UsageError.exit_code:
        print(f"error: {printable(message)}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def if_interrupted(what: str | Callable[[], str]) -> Iterator[None]:
    """Say what becomes of the work inside, and how to go on, when Ctrl-C stops it."""
    words = what if callable(what) else lambda: what
    _unfinished.append(words)
    yield
    _unfinished.remove(words)


def goes_on(folder: Path, overwrite: bool) -> str:
    """For `if_interrupted`: of work that is stored as it is done."""
    same = "the same command without --overwrite" if overwrite else "the same command"
    return f"what is done is in {folder}, and {same} goes on there"


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Turn every exception of a command into one line and an exit code."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        _unfinished.clear()
        try:
            for name, value in kwargs.items():
                kwargs[name] = as_typed(value)
            invocation.start(kwargs)
            return function(*args, **kwargs)
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if invocation.debug():
                raise
            _explain(error)
        finally:
            invocation.finish()

    return wrapper


def _explain(error: BaseException) -> NoReturn:
    """Say in one sentence why a command ends, and end it."""
    if isinstance(error, KeyboardInterrupt) or interrupts.came():
        words = [what() for what in _unfinished[-1:]]
        fail("; ".join(["interrupted", *words]), interrupts.INTERRUPTED)
    if isinstance(error, CircuitTracerError):
        fail(in_options(str(error)), error.exit_code)
    if isinstance(error, ImportError | OSError) and re.search(UNLOADABLE, str(error)):
        fail(
            f"a library that this needs is broken here ({reason(error)}); install torch and numpy "
            "again, by `pip install --force-reinstall torch numpy`",
            1,
        )
    if isinstance(error, OSError):
        fail(f"{reason(error)}{f': {error.filename}' if error.filename else ''}", 1)
    fail(
        f"something unforeseen happened ({type(error).__name__}: {reason(error)}); "
        "`circuit-tracer --debug ...` shows where, and a report is welcome",
        1,
    )


def environment_name(option: str) -> str:
    """The variable that sets an option: `--max-n-logits` is CIRCUIT_TRACER_MAX_N_LOGITS."""
    return ENVIRONMENT + option.removeprefix("--").replace("-", "_").upper()
