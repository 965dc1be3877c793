"""Run the command line in this process, and trace one prompt of the bundled model for all tests."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.cli.main import main


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def run_command(*arguments: str) -> Outcome:
    """One call of `circuit-tracer`, its exit code and its two streams."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as stop:
            code = stop.code
    return Outcome(int(str(code or 0)), out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in an empty folder of its own, at 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def _no_row_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be ready when the runs here have ended; one test of `batch` waits for it."""
    monkeypatch.setattr(Graphs, "open", lambda kind: None)


@pytest.fixture
def run() -> Run:
    """The command line as a function."""
    return run_command


@pytest.fixture(scope="session")
def banana(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder and the terminal output of `trace "a banana is"`."""
    out = tmp_path_factory.mktemp("outputs")
    outcome = run_command("trace", "a banana is", "--out", str(out), "--device", "cpu")
    return out / "a-banana-is", outcome
