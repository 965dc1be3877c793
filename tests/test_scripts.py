"""Scripts that pages and docstrings name are there, import, and have the options they are named
with. What they measure or train takes minutes to hours and is not run here."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.steps_smollm2 import table

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("*.md", "Makefile", "*/*.md", "*/*.py", "transcoders/**/*.md", "transcoders/**/*.py")
COMMAND = re.compile(
    r"python -m ((?:benchmarks|transcoders|tests)(?:\.[\w-]+)+)"  # the module
    r"((?:\\+\n|\n {20,}\[|[^\n`#])*)"  # to the end of the line, and of those that go on with it
)


def named() -> dict[str, set[str]]:
    """By module, every option that some command or synopsis gives to it."""
    options: dict[str, set[str]] = {}
    for path in {path for place in PLACES for path in ROOT.glob(place)}:
        if path.name == "CHANGELOG.md" or ROOT / "outputs" in path.parents:
            continue
        for module, words in COMMAND.findall(path.read_text(encoding="utf-8")):
            options.setdefault(module, set()).update(re.findall(r"--[a-z][a-z0-9-]*", words))
    return options


class ParsingError(Exception):
    """Raised in place of parsing, with the parser."""


def parser_of(module: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser | None:
    """The script's parser, made by its own `main`; None where it parses nothing."""
    script = importlib.import_module(module)
    if not re.search("parse_args|parse_training|grow_from_", inspect.getsource(script)):
        return None

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise ParsingError(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    with pytest.raises(ParsingError) as asked:
        script.main()
    (parser,) = asked.value.args
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def wrong_defaults(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Defaults that are no choice: argparse looks at what is given alone."""
    for action in parser._actions:
        values = action.default if isinstance(action.default, list) else [action.default]
        known = action.choices if action.choices is not None else values
        yield from (f"{action.dest}={one}" for one in values if one not in (None, *known))


NAMED = named()


def test_scripts_are_found() -> None:
    assert {"--sets", "--every", "--write"} <= NAMED["benchmarks.jacobian"]
    assert {"--transcoders", "--partial", "--write"} <= NAMED["benchmarks.steps"]
    assert {"--parent", "--distinct", "--rank"} <= NAMED["transcoders.sprout-bent.grow"]
    assert NAMED["transcoders.sprout.skills"] == set()


@pytest.mark.parametrize("module", sorted(NAMED))
def test_a_named_script_imports_and_has_the_options_it_is_named_with(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = parser_of(module, monkeypatch)
    known = set() if parser is None else set(parser._option_string_actions)
    assert NAMED[module] - {"--help"} <= known
    assert parser is None or list(wrong_defaults(parser)) == []


def test_few_cities_of_which_none_is_clear_make_a_table_of_counts() -> None:
    lines = table([{"answers": True, "template": "hint"}, {"answers": False, "template": "flight"}])
    assert "| 2; 1; 0 |" in lines[2]
    assert lines[-1] == ""


@pytest.mark.parametrize(
    ("ends", "said"),
    [("KeyboardInterrupt", "^interrupted; .*\n$"), ("ValueError('x')", "Traceback(?s:.*): x\n$")],
)
def test_a_script_that_ctrl_c_stops_says_so_in_a_line(tmp_path: Path, ends: str, said: str) -> None:
    (tmp_path / "some").mkdir()
    package = (ROOT / "transcoders" / "__init__.py").read_text("utf-8")
    (tmp_path / "some" / "__init__.py").write_text(package, "utf-8")
    (tmp_path / "some" / "script.py").write_text(f"raise {ends}", "utf-8")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    command = [sys.executable, "-m", "some.script"]
    ended = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert ended.returncode != 0
    assert re.match(said, ended.stderr), ended.stderr
