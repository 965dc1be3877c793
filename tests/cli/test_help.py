"""Help: headings over many options, and examples at the end that work as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.cli import examples, panels
from circuit_tracer.cli.main import tree
from tests.cli.conftest import Outcome, Run

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = re.compile(
    r" -m [A-Za-z]+/| smollm2|/pythia|/transcoder-|page\.toml"
    r"| diff | dissociate | transcoders (train|evaluate|cards) | trust | monitor | circuit | doctor"
    r"| features find yellow$| steps \"sam| trace \".*banana"
)
"""Examples that need the hub, another package or the reader's own file; that take many seconds; or
whose like is run elsewhere: by the README, the gallery, test_monitor.py, test_circuit.py,
test_labels.py, test_reading.py or test_steps.py."""

LESS = """
[trace]
trust = false
[edits]
graphs = 0
"""
"""What else is set for examples: reports, references and graphs that commands of the README and
tests of their own have made."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(tree()))


def headings(text: str) -> list[str]:
    return re.findall(r"^╭─ (.*?) ─", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_names_the_options_of_all_commands_and_ends_with_examples(
    name: str, run: Run
) -> None:
    outcome = run(*name.split(), "-h")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(f" {flag} " in outcome.out for flag in ("-h", "-q", "-v"))
    _, _, end = outcome.out.partition("Examples:")
    words = " ".join(end.split())
    assert words == " ".join(examples.lines_of(name))
    assert f"circuit-tracer {name}" in words


def test_no_example_is_of_a_command_that_is_none() -> None:
    assert set(examples.EXAMPLES) == set(COMMANDS)


def test_the_options_of_trace_stand_under_headings(run: Run) -> None:
    text = run("trace", "--help").out
    assert headings(text) == ["Arguments", *panels.PANELS]
    assert headings(run("batch", "--help").out)[2:] == list(panels.PANELS)
    assert headings(run("doctor", "--help").out) == ["Options"]
    run_panel = text.partition("─ Run ─")[2]
    assert text.count("--help") == run_panel.count("--help") == 1
    assert "--device " in run_panel


def test_no_option_stands_under_two_headings_and_none_is_of_no_command() -> None:
    listed = [name for names in panels.PANELS.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    known = {one.name for command in COMMANDS.values() for one in command.params}
    assert set(listed) - known <= {"help", "legend", "caption"}


def test_the_examples_work_and_say_nothing_on_stderr_when_quiet(
    banana: tuple[Path, Outcome], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(banana[0], "outputs/a-banana-is")
    pages: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda page: pages.append(page) or True)
    monkeypatch.setenv("CIRCUIT_TRACER_DEVICE", "cpu")
    Path("circuit-tracer.toml").write_text(LESS)
    Path("corpus.txt").write_text("a banana is yellow\nthe sky is blue\n" * 20)
    lines = [line for name in COMMANDS for line in examples.lines_of(name)]
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()  # tests/test_docs.py runs those
    for line in [line for line in lines if not ELSEWHERE.search(line) and line not in readme]:
        piped, _, call = line.rpartition(" | ")
        program, *arguments = shlex.split(call)
        assert program == "circuit-tracer"
        monkeypatch.setattr(sys, "stdin", StringIO(" ".join(shlex.split(piped)[1:])))
        outcome = run(*arguments, "-q")
        assert (outcome.code, outcome.err) == (0, ""), line
        assert outcome.out, line
    assert pages == [Path("outputs/a-banana-is/graph.html").resolve().as_uri()]
