"""Standing settings: what options are where no flag says it, and names that are no option's.

The environment sets an option for all commands, `circuit-tracer.toml` in the working directory for
all or for one; the environment wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from circuit_tracer.errors import UsageError
from circuit_tracer.reading import read_toml

CONFIG_FILE = "circuit-tracer.toml"
PREFIX = "CIRCUIT_TRACER_"
NO_OPTIONS = ("CIRCUIT_TRACER_CACHE", "CIRCUIT_TRACER_CHROMIUM")
"""Variables of ours that set no option."""
OF_TESTS = "CIRCUIT_TRACER_TEST_"
"""How variables of the test suite begin."""


def check_environment(command: Any, environment: Mapping[str, str]) -> None:
    """Refuse a variable that looks like an option's and is none; raises UsageError."""
    known = {*_variables(command), *NO_OPTIONS}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name.startswith(OF_TESTS) or name in known:
            continue
        words = {one.removeprefix(PREFIX) for one in known}
        near = get_close_matches(name.removeprefix(PREFIX), words, n=1)
        advice = f"did you mean {PREFIX}{near[0]}?" if near else "unset it"
        raise UsageError(f"the variable {name} sets no option; {advice}")


def _variables(command: Any) -> Iterator[str]:
    """The environment names of all options in a tree of commands."""
    for parameter in command.params:
        name = getattr(parameter, "envvar", None)
        if name is not None:
            yield name
    for inner in getattr(command, "commands", {}).values():
        yield from _variables(inner)


def file_defaults(command: Any) -> dict[str, Any]:
    """Defaults from `circuit-tracer.toml` in the working directory, as a Click default map.

    Keys at the top hold for every command that has the option, a table `[trace]` for one command.
    Raises UsageError for a file that is not TOML or names an option no command has.
    """
    path = Path(CONFIG_FILE)
    if not path.is_file():
        return {}
    content = read_toml(path, UsageError, "fix or remove it")
    general = {k: v for k, v in content.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in content.items() if isinstance(v, dict)}
    unused = {key.replace("-", "_") for key in general}
    found = _defaults_of(command, general, tables, unused)
    if unused:
        raise UsageError(
            f'{CONFIG_FILE} sets "{min(unused)}" for all commands, which is no option that they '
            "share; check the name, or move it below a command's name such as [trace]"
        )
    return found


def _defaults_of(
    group: Any, general: dict[str, Any], tables: dict[str, Any], unused: set[str], inside: str = ""
) -> dict[str, Any]:
    """The default map of a group of commands; keys that some command has are struck off."""
    for name in tables:
        if name not in group.commands:
            raise UsageError(
                f"{CONFIG_FILE} has a table [{inside}{name}], and no command has that name"
                f"{_meant(name, group.commands)}"
            )
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        own = tables.get(name, {})
        if hasattr(command, "commands"):
            for key in (key for key, value in own.items() if not isinstance(value, dict)):
                first = next(iter(command.commands))
                raise UsageError(
                    f'{CONFIG_FILE} sets "{key}" in [{name}], which has several commands; write it '
                    f"below one of them, such as [{name}.{first}]"
                )
            found[name] = _defaults_of(command, general, own, unused, f"{name}.")
            continue
        options = {parameter.name: parameter for parameter in command.params}
        # What has no environment name means something else in every command: own table only.
        shared = {k: v for k, v in general.items() if _is_shared(options, k)}
        merged = {k.replace("-", "_"): v for k, v in {**shared, **own}.items()}
        for key in own:
            if key.replace("-", "_") not in options:
                raise UsageError(
                    f'{CONFIG_FILE} sets "{key}" in [{inside}{name}], which has no such option'
                    f"{_meant(key.replace('-', '_'), options)}"
                )
        unused -= {key.replace("-", "_") for key in shared}
        found[name] = {k: _as_given(options[k], v) for k, v in merged.items()}
    return found


def _meant(name: str, known: Iterable[str]) -> str:
    """The known name that is most alike, as the end of a sentence."""
    near = get_close_matches(name, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else "; check the name"


def _is_shared(options: dict[str, Any], key: str) -> bool:
    parameter = options.get(key.replace("-", "_"))
    return parameter is not None and getattr(parameter, "envvar", None) is not None


def _as_given(parameter: Any, value: Any) -> Any:
    """A value as Click takes it: a repeatable option may be set to one value."""
    repeatable = getattr(parameter, "multiple", False)
    takes_list = repeatable or parameter.nargs != 1
    values = value if takes_list and isinstance(value, list) else [value]
    if any(isinstance(one, (dict, list)) for one in values):
        raise UsageError(f'"{parameter.name}" in {CONFIG_FILE} must be one value')
    return [str(one) for one in values] if repeatable else value
