"""The command that is running: what stands on its command line, and the options all commands take.

An option that is given and has no effect is refused, in one sentence that names it and what makes
it idle. Only what stands on the command line counts as given: the environment and
circuit-tracer.toml set options for many commands and apply where they mean something.
"""

from __future__ import annotations

import copy
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any, TypeVar

from circuit_tracer import __version__
from circuit_tracer.cli.config_file import CONFIG_FILE
from circuit_tracer.cli.output import Loudness, loudness, say, set_loudness
from circuit_tracer.errors import CircuitTracerError, UsageError
from circuit_tracer.versions import versions

Made = TypeVar("Made")
LIBRARIES = ("torch", "transformers", "nnsight", "numpy", "safetensors", "pyarrow")
"""Whose versions --verbose reports."""


class _Running:
    """What this process runs."""

    context: Any = None
    """Of the innermost command."""
    problem: CircuitTracerError | None = None
    """What is wrong with the standing settings; it stops a command, but no help."""
    values: Mapping[str, Any] = {}
    debug = False
    started = 0.0


def begin(problem: CircuitTracerError | None) -> None:
    """Forget an earlier command of this process."""
    _Running.context, _Running.problem, _Running.debug = None, problem, False
    _Running.started = time.perf_counter()
    set_loudness(Loudness.NORMAL)


def debug() -> bool:
    """Whether tracebacks are shown instead of one sentence."""
    return _Running.debug


def on_debug(context: Any, asked: bool) -> bool:
    """What `--debug` does; it is there in every command, which is how the context is known."""
    _Running.context = context
    _Running.debug = _Running.debug or asked
    return asked


def on_quiet(asked: bool) -> bool:
    """What `--quiet` does: notes are not even made, as some take a trial of the work."""
    if asked:
        logging.getLogger("circuit_tracer").setLevel(logging.WARNING)
    return asked and _loud(Loudness.QUIET)


def on_verbose(asked: bool) -> bool:
    """What `--verbose` does."""
    return asked and _loud(Loudness.VERBOSE)


def _loud(asked: Loudness) -> bool:
    if loudness() not in (Loudness.NORMAL, asked):
        raise UsageError("--quiet and --verbose exclude each other; give one of them")
    set_loudness(asked)
    return True


def everywhere(root: Any, names: tuple[str, ...]) -> Any:
    """The tree of commands, each of which takes these options of its root as well."""
    shared = [one for one in root.params if one.name in names]
    for _, command in leaves(root):
        for one in shared:
            again = copy.copy(one)
            again.expose_value, again.envvar = False, None
            again.hidden = one.name == "version"
            command.params.append(again)
    return root


def leaves(root: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The commands of a tree by their words."""
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{above}{name} ")
        else:
            yield above + name, command


def values() -> Mapping[str, Any]:
    """The options and arguments of the command that runs, by parameter."""
    return _Running.values


def as_asked(function: Callable[..., Made], *given: Any, **other: Any) -> Made:
    """What a function, or a class of settings, makes of the running command's options.

    After what is `given`, each of its parameters takes the option of its name; `other` are those
    that options say otherwise or not at all.
    """
    options = values()
    names = list(signature(function).parameters)[len(given) :]
    return function(*given, **{name: options[name] for name in names if name in options} | other)


def start(values: dict[str, Any]) -> None:
    """Called when a command is about to run: raises what is wrong with the standing settings.

    A system turn of the environment or circuit-tracer.toml is left out where there is no chat.
    """
    _Running.values = values
    if _Running.problem is not None:
        raise _Running.problem
    refuse_with("--device", other="--device-map", there=values.get("device_map"))
    neurons = values.get("transcoders") == "neurons"
    refuse_with("--transcoders-format", other="--transcoders neurons", there=neurons)
    if "system" in values and not values["chat"]:
        refuse_without("--system", needed="--chat", there=False)
        values["system"] = None
    if loudness() is Loudness.VERBOSE:
        say(f"versions: {', '.join(_versions())}")
        for line in _settings():
            say(line)


def finish() -> None:
    """Called when a command has run."""
    if loudness() is Loudness.VERBOSE:
        say(f"{time.perf_counter() - _Running.started:.2f} s in all")


def _versions() -> Iterator[str]:
    yield f"circuit-tracer {__version__}"
    yield f"Python {platform.python_version()}"
    for name, installed in versions(*LIBRARIES).items():
        yield f"{name} {installed}"


def _settings() -> Iterator[str]:
    """The options of the command by where their values come from."""
    found: dict[str, list[str]] = {}
    for one in _parameters():
        if one.expose_value and one.name in _Running.context.params:
            words = f"{one.name.replace('_', '-')}={_Running.context.params[one.name]}"
            found.setdefault(_source(one), []).append(words)
    names = {
        "COMMANDLINE": "given",
        "ENVIRONMENT": "from the environment",
        "DEFAULT_MAP": f"from {CONFIG_FILE}",
        "DEFAULT": "by default",
    }
    for source, name in names.items():
        if source in found:
            yield f"{name}: {', '.join(found[source])}"


def _parameters() -> list[Any]:
    return [] if _Running.context is None else list(_Running.context.command.params)


def options_by_parameter() -> dict[str, str]:
    """How the options of all commands are written, by the names of their parameters.

    Those of the command that is running come first where names are the same.
    """
    if _Running.context is None:
        return {}
    commands = [one for _, one in leaves(_Running.context.find_root().command)]
    return {
        one.name: next(name for name in one.opts if name.startswith("--"))
        for command in (*commands, _Running.context.command)
        for one in command.params
        if any(name.startswith("--") for name in one.opts)
    }


def _source(parameter: Any) -> str:
    return str(getattr(_Running.context.get_parameter_source(parameter.name), "name", ""))


def given(flags: tuple[str, ...]) -> str | None:
    """The first of these options that stands on the command line, as it is written there."""
    for flag in flags:
        for one in _parameters():
            if flag in (*one.opts, *one.secondary_opts) and _source(one) == "COMMANDLINE":
                return flag
    return None


def refuse(*flags: str, idle: object, why: str) -> None:
    """Refuse options on the command line that are `idle`, and say why; raises UsageError."""
    if idle and (flag := given(flags)):
        raise UsageError(f"{flag} has no effect {why}")


def refuse_without(*flags: str, needed: str, there: object) -> None:
    """Refuse options that mean something only together with another one that is not there."""
    refuse(*flags, idle=not there, why=f"without {needed}; add {needed}, or leave it out")


def refuse_with(*flags: str, other: str, there: object) -> None:
    """Refuse options that have no effect together with another one."""
    refuse(*flags, idle=there, why=f"with {other}; leave one of them out")
