"""Write docs/commands.md from the commands' own help, so that it cannot rot.

python docs/generate.py --write     after changing a command
python docs/generate.py --check     what `make test` runs; fails when the page is not current
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from circuit_tracer.cli.main import app

PAGE = Path(__file__).resolve().parent / "commands.md"
HEAD = """# Commands

Written by `python docs/generate.py --write` from the commands' own help; do not edit by hand.

Every option can also be set by its environment variable (`--max-n-logits` is
`CIRCUIT_TRACER_MAX_N_LOGITS`) or in `circuit-tracer.toml` in the working directory: keys at the top
hold for every command, a table such as `[trace]` for one. A flag wins over the environment, the
environment over the file. A name that no option has is refused, and so is an option on the command
line that has no effect there. Exit codes: 0 done, 1 failed, 2 usage, 3 some prompts of a batch
failed, 130 interrupted.

`-q` (`--quiet`), `-v` (`--verbose`) and `--debug` may stand before every command and after it:
errors alone on stderr; versions, settings and the time of every stage; tracebacks. `-h` is
`--help`. `circuit-tracer --install-completion` teaches the shell to complete commands and options.
"""


def page() -> str:
    """The whole page."""
    root: Any = typer.main.get_command(app)
    parts = [HEAD]
    for name, command in root.commands.items():
        for full, one in _flat(name, command):
            parts.append(_section(full, one))
    return "\n".join(parts)


def _flat(name: str, command: Any) -> list[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(name, command)]
    return [(f"{name} {child}", one) for child, one in inner.items()]


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([name, *((p.metavar or p.name.upper()) for p in arguments), "[OPTIONS]"])
    lines = [f"## `{usage}`", "", command.help.strip(), "", "| | | default |", "|---|---|---|"]
    for parameter in arguments:
        lines.append(f"| `{parameter.metavar or parameter.name.upper()}` | {parameter.help} | |")
    for parameter in options:
        names = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
        lines.append(f"| {names} | {parameter.help} | {_default(parameter)} |")
    return "\n".join([*lines, ""])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, False, ()):
        return ""
    return "on" if parameter.default is True else f"`{parameter.default}`"


def main(arguments: list[str]) -> int:
    """Write or check the page; the exit code."""
    current = page()
    if arguments == ["--write"]:
        PAGE.write_text(current, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == current:
        return 0
    print("docs/commands.md is not current: run `make docs` and commit it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
