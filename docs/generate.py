"""Write docs/commands.md from the commands' own help and the reference of docs/python.md from
docstrings, so that neither can rot.

python docs/generate.py --write     after changing a command or a public docstring
python docs/generate.py --check     tests/test_docs.py runs it; fails when a page is not current
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import circuit_tracer as ct
from circuit_tracer.cli.examples import lines_of
from circuit_tracer.cli.main import tree

PAGE = Path(__file__).resolve().parent / "commands.md"
PYTHON_PAGE = PAGE.with_name("python.md")
MARK = "<!-- Below: written by `python docs/generate.py --write` from docstrings. -->"
CALLS = (
    *("trace", "totals", "load", "compare", "steer", "dissociate"),
    *("diff", "steps", "monitor", "circuit", "edits"),
)
HEAD = """# Commands

Written by `python docs/generate.py --write` from the commands' own help; do not edit by hand.

Every option can also be set by its environment variable (`--max-n-logits` is
`CIRCUIT_TRACER_MAX_N_LOGITS`) or in `circuit-tracer.toml` in the working directory: keys at the top
hold for every command, a table such as `[trace]` for one. A flag wins over the environment, the
environment over the file. A name that no option has is refused, and so is an option on the command
line that has no effect there. Exit codes: 0 done, 1 failed, 2 usage, 3 some prompts of a batch
failed, 130 interrupted.

`-q` (`--quiet`), `-v` (`--verbose`), `--debug` and `--version` may stand before every command and
after it: errors alone on stderr; versions, settings and the time of every stage; tracebacks; the
version alone. `-h` is `--help`; it ends with the examples below. `circuit-tracer
--install-completion` teaches the shell to complete commands and options.
"""


def page() -> str:
    """The whole page."""
    root = tree()
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
    options = [p for p in command.params if p.param_type_name == "option" and p.expose_value]
    usage = " ".join([name, *((p.metavar or p.name.upper()) for p in arguments), "[OPTIONS]"])
    lines = [f"## `{usage}`", "", command.help.strip(), "", "| | | default |", "|---|---|---|"]
    for parameter in arguments:
        lines.append(f"| `{parameter.metavar or parameter.name.upper()}` | {parameter.help} | |")
    for parameter in options:
        names = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
        lines.append(f"| {names} | {parameter.help} | {_default(parameter)} |")
    return "\n".join([*lines, "", "```sh no-run", *lines_of(name), "```", ""])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, False, ()):
        return ""
    return "on" if parameter.default is True else f"`{parameter.default}`"


def python_page() -> str:
    """The page on Python: what is written by hand, then the reference."""
    by_hand = PYTHON_PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return "\n".join([by_hand + MARK, "", "## Reference", "", *_reference()])


def _reference() -> Iterator[str]:
    """Every call and every method of a traced graph: signature and docstring."""
    for name in CALLS:
        yield from _documented(f"ct.{name}", getattr(ct, name))
    own = {name for owner in ct.TracedGraph.__mro__[:-1] for name in vars(owner)}
    for name in sorted(name for name in own if not name.startswith("_")):
        yield from _documented(f"g.{name}", getattr(ct.TracedGraph, name))


def _documented(name: str, value: Any) -> Iterator[str]:
    """A heading with the parameters, the docstring's text, its example."""
    parameters = ""
    if callable(value):
        given = inspect.signature(value)
        bare = [p.replace(annotation=p.empty) for p in given.parameters.values()]
        bare = [p for p in bare if p.name != "self"]
        parameters = str(given.replace(parameters=bare, return_annotation=given.empty))
    text, _, example = (inspect.getdoc(value) or "").partition(">>>")
    yield f"### {name}\n\n```text\n{name}{parameters}\n```\n\n{text.strip()}\n"
    if example:
        yield f"```pycon\n>>>{example.rstrip()}\n```\n"


def main(arguments: list[str]) -> int:
    """Write or check the pages; the exit code."""
    pages = {PAGE: page(), PYTHON_PAGE: python_page()}
    if arguments == ["--write"]:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            message = f"docs/{path.name} is not current: run `make docs` and commit it"
            print(message, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
