"""The command line's frame: errors become one line, defaults come from flag, environment or file.

Every command's body imports what it calls inside the function, so that `--help` is instant.
"""

from __future__ import annotations

import functools
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer

from circuit_tracer.errors import CircuitTracerError, UsageError
from circuit_tracer.processes import is_first
from circuit_tracer.render.text import printable

P = ParamSpec("P")
R = TypeVar("R")

CONFIG_FILE = "circuit-tracer.toml"
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
        except (typer.Exit, typer.Abort, typer.BadParameter):
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


def file_defaults(command: Any) -> dict[str, Any]:
    """Defaults from `circuit-tracer.toml` in the working directory, as a Click default map.

    Keys at the top hold for every command that has the option, a table `[trace]` for one command.
    Raises UsageError for a file that is not TOML or names an option no command has.
    """
    path = Path(CONFIG_FILE)
    if not path.is_file():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{CONFIG_FILE} cannot be read: {error}") from error
    general = {k: v for k, v in content.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in content.items() if isinstance(v, dict)}
    unused = {key.replace("-", "_") for key in general}
    found = _defaults_of(command, general, tables, unused)
    left = [*tables, *sorted(unused)]
    if left:
        raise UsageError(f'{CONFIG_FILE} sets "{left[0]}", which no command has; check the name')
    return found


def _defaults_of(
    group: Any, general: dict[str, Any], tables: dict[str, Any], unused: set[str]
) -> dict[str, Any]:
    """The default map of a group of commands; used tables and keys are struck off."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        own = tables.pop(name, {})
        if hasattr(command, "commands"):
            inner = {k: v for k, v in own.items() if isinstance(v, dict)}
            found[name] = _defaults_of(command, general, inner, unused)
            continue
        options = {parameter.name: parameter for parameter in command.params}
        # What has no environment name means something else in every command: own table only.
        shared = {k: v for k, v in general.items() if _is_shared(options, k)}
        merged = {k.replace("-", "_"): v for k, v in {**shared, **own}.items()}
        for key in own:
            if key.replace("-", "_") not in options:
                raise UsageError(
                    f'{CONFIG_FILE} sets "{key}" in [{name}], which has no such option'
                )
        unused -= {key.replace("-", "_") for key in shared}
        found[name] = {k: _as_given(options[k], v) for k, v in merged.items()}
    return found


def _is_shared(options: dict[str, Any], key: str) -> bool:
    parameter = options.get(key.replace("-", "_"))
    return parameter is not None and getattr(parameter, "envvar", None) is not None


def _as_given(parameter: Any, value: Any) -> Any:
    """A repeatable option may be set to one value."""
    return [value] if getattr(parameter, "multiple", False) and isinstance(value, str) else value
