"""What a wrong command line is answered with: one sentence instead of typer's box.

typer tells its own errors by box, usage and hint. Here the words of the command line are walked
down the tree of commands, which says what was meant, and the error says what went wrong there. Of
typer only what its versions share is used: the tree, and which fields an error has.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import typer

from circuit_tracer.cli.config_file import CONFIG_FILE

Refused: type[Exception] = typer.BadParameter.__mro__[1]
"""The base of all that typer says of a wrong command line; only this child of it is public."""
PROGRAM = "circuit-tracer"
CLOSE = 0.7
"""How alike a name must be to be offered, of 1."""
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
}


class _Place(NamedTuple):
    """How far the words of a command line go down the tree of commands."""

    path: str
    """The words that are commands."""
    command: Any
    """The innermost one."""
    groups: list[Any]
    """Those around it, outermost first."""
    rest: list[str]
    """The words after them, but for the options before the command."""


def refusal(error: Any, root: Any, arguments: Sequence[str]) -> str:
    """One sentence: what is wrong and what to do; "" where the answer is the help itself."""
    place = _place(root, arguments)
    is_group = hasattr(place.command, "commands")
    if hasattr(error, "possibilities"):
        return _unknown_option(error.option_name, place, arguments)
    if hasattr(error, "option_name"):
        return _value_or_none(error.option_name, place)
    if hasattr(error, "param_type"):
        return f"{_name(error.param)} is missing; write {_usage(place)}"
    if isinstance(error, typer.BadParameter):
        return _wrong_value(error)
    if is_group and not place.rest:
        only_flags = bool(arguments) and arguments[-1].startswith("-")
        return f"a command is missing; {place.path} --help lists them" if only_flags else ""
    if is_group:
        return _unknown_command(place.rest[0], place)
    takes = ", ".join(_name(one) for one in _arguments(place.command))
    advice = "; put quotes round a text with spaces" if takes else ""
    return f"{place.path} takes {f'only {takes}' if takes else 'no arguments'}{advice}"


def _place(root: Any, arguments: Sequence[str]) -> _Place:
    path, command, groups, rest = PROGRAM, root, [], list(arguments)
    while rest and hasattr(command, "commands"):
        if rest[0].startswith("-"):
            rest = rest[1:]  # a flag of the program; it takes no value
        elif rest[0] in command.commands:
            groups.append(command)
            path, command = f"{path} {rest[0]}", command.commands[rest[0]]
            rest = rest[1:]
        else:
            break
    return _Place(path, command, groups, rest)


def _unknown_option(flag: str, place: _Place, arguments: Sequence[str]) -> str:
    known = _flags(place.command)
    if any(flag in _flags(group) for group in place.groups):
        return f"{flag} stands before the command; write {PROGRAM} {flag} {_rest(place)}"
    if not flag.startswith("--"):  # typer says the first letter of -json alone
        flag = next((one for one in arguments if one.startswith(flag)), flag)
    if " " in flag:
        return f'"{flag}" begins like an option; write -- before a text with a leading dash'
    near = [one for one in known if len(flag) > 3 and one.startswith(flag)][:1]
    near = near or get_close_matches(f"--{flag.lstrip('-')}", known, n=1, cutoff=CLOSE)
    if near:
        return f"{place.path} has no option {flag}; did you mean {near[0]}?"
    inner = getattr(place.command, "commands", {})
    if any(flag in _flags(one) for one in inner.values()):
        return f"{flag} stands after the command; write {place.path} COMMAND {flag} ..."
    return f"{place.path} has no option {flag}; {place.path} --help lists those it has"


def _rest(place: _Place) -> str:
    return f"{place.path.removeprefix(PROGRAM).strip()} ..."


def _value_or_none(flag: str, place: _Place) -> str:
    option = next((one for one in place.command.params if flag in one.opts), None)
    if option is None or option.is_flag:
        return f"{flag} takes no value; write {flag} alone"
    return f"{flag} needs a value after it ({option.help.split('. ')[0].rstrip('.')})"


def _wrong_value(error: Any) -> str:
    """A value of the wrong kind or out of bounds, and where it was given."""
    kind, bounds = _kind(error.ctx.command, error.param)
    name = _name(error.param)
    source = getattr(error.ctx.get_parameter_source(error.param.name), "name", "")
    if source == "ENVIRONMENT":
        name = f"the variable {error.param.envvar}"
    elif source == "DEFAULT_MAP":
        name = f'"{error.param.name}" in {CONFIG_FILE}'
    details: list[Any] = getattr(error.__cause__, "errors", list)()
    given = f', not "{details[0].get("input")}"' if details else ""
    return f"{name} must be {kind}{bounds}{given}"


def _kind(command: Any, parameter: Any) -> tuple[str, str]:
    """What a parameter takes and its bounds, in words, from the command's own annotations."""
    annotated = get_type_hints(command.callback, include_extras=True)[parameter.name]
    wanted, allowed = get_args(annotated)[:2]
    kinds = (wanted, *get_args(wanted))
    kind = next((KINDS[one] for one in kinds if one in KINDS), "another value")
    least = "" if allowed.min is None else f" of at least {allowed.min}"
    most = "" if allowed.max is None else f"{' and' if least else ' of'} at most {allowed.max}"
    return kind, least + most


def _unknown_command(word: str, place: _Place) -> str:
    known = place.command.commands
    near = [f"{n} {word}" for n, one in known.items() if word in getattr(one, "commands", {})]
    near = near or get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f'{place.path} has no command "{word}"; did you mean {place.path} {near[0]}?'
    if not place.groups and len(word.split()) > 1:
        return f"a prompt stands after the command trace; write {PROGRAM} trace {shlex.quote(word)}"
    return f'{place.path} has no command "{word}"; choose one of {", ".join(known)}'


def _usage(place: _Place) -> str:
    """The shortest call that has all it needs."""
    needed = [
        f"{max(one.opts, key=len)} {one.name.upper()}"
        for one in place.command.params
        if one.param_type_name == "option" and one.required
    ]
    return " ".join([place.path, *map(_name, _arguments(place.command)), *needed])


def _arguments(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "argument"]


def _name(parameter: Any) -> str:
    """As the caller writes it: --max-nodes/--top-n, or PROMPT."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return "/".join(one for one in parameter.opts if one.startswith("--"))


def _flags(command: Any) -> list[str]:
    """All options of a command."""
    own = [flag for one in command.params for flag in (*one.opts, *one.secondary_opts)]
    return [flag for flag in own if flag.startswith("-")] + ["--help", "-h"]
