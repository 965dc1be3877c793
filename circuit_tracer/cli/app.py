"""The command line's frame: errors become one line and an exit code.

Every command's body imports what it calls inside the function, so that `--help` is instant.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import typer

from circuit_tracer.cli.streams import as_typed
from circuit_tracer.errors import CircuitTracerError, UsageError
from circuit_tracer.processes import is_first
from circuit_tracer.render.text import printable

P = ParamSpec("P")
R = TypeVar("R")

ENVIRONMENT = "CIRCUIT_TRACER_"
_debug = False


def set_debug(on: bool) -> None:
    """Show tracebacks instead of one line."""
    global _debug
    _debug = on


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then exit; what was asked wrongly is wrong in every process."""
    if is_first() or code != UsageError.exit_code:
        print(f"error: {printable(message)}", file=sys.stderr)
    raise typer.Exit(code)


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Turn every exception of a command into one line and an exit code."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            for name, value in kwargs.items():
                kwargs[name] = as_typed(value)
            return function(*args, **kwargs)
        except CircuitTracerError as error:
            if _debug:
                raise
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted", 130)
        except BrokenPipeError:
            # The reader of our output (head, less) went away: not an error of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except typer.Exit:
            raise
        except OSError as error:
            if _debug:
                raise
            fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
        except Exception as error:
            if _debug:
                raise
            first_line = (str(error).strip().splitlines() or [""])[0]
            fail(
                f"something unforeseen happened ({type(error).__name__}: {first_line}); "
                "`circuit-tracer --debug ...` shows where, and a report is welcome",
                1,
            )

    return wrapper


def environment_name(option: str) -> str:
    """The variable that sets an option: `--max-n-logits` is CIRCUIT_TRACER_MAX_N_LOGITS."""
    return ENVIRONMENT + option.removeprefix("--").replace("-", "_").upper()
