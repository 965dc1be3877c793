"""Results on stdout, progress and notes on stderr; progress vanishes when stderr is no terminal."""

from __future__ import annotations

import enum
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, RenderableType

from circuit_tracer.cli.streams import is_unicode
from circuit_tracer.graphs.files import json_values
from circuit_tracer.processes import is_first
from circuit_tracer.progress import OnStage
from circuit_tracer.render import terminal

if TYPE_CHECKING:
    from circuit_tracer.workbench.results import Report

MOST_COLUMNS = 100
LEAST_COLUMNS = 20
MINUTE = 60.0
"""Seconds between what --verbose says of a stage that goes on."""


class Loudness(enum.Enum):
    """How much is printed on stderr."""

    QUIET = "errors alone"
    NORMAL = "progress and notes"
    VERBOSE = "versions, settings and times, too"


_loudness = Loudness.NORMAL


def set_loudness(asked: Loudness) -> None:
    """Say so much on stderr from now on."""
    global _loudness
    _loudness = asked


def loudness() -> Loudness:
    """How much is printed on stderr."""
    return _loudness


def columns() -> int:
    """How wide text is set: as COLUMNS says, else as the terminal is, at most 100 columns.

    A pipe or a file has no width of its own and takes 100.
    """
    asked = os.environ.get("COLUMNS", "")
    if not asked.isdecimal() and not sys.stdout.isatty():
        return MOST_COLUMNS
    wide = get_terminal_size((MOST_COLUMNS, 25)).columns
    return max(LEAST_COLUMNS, min(wide, MOST_COLUMNS))


def print_json(record: Any) -> None:
    """One JSON object on stdout; NaN becomes null. Escaped ASCII where stdout is not UTF-8."""
    print(json_values.to_json(record, indent=2, ascii_only=not is_unicode(sys.stdout)))


def print_rich(*renderables: RenderableType) -> None:
    """Text and tables on stdout, a blank line between them, as wide as `columns` says.

    Coloured on a terminal; elsewhere plain lines without trailing blanks.
    """
    console = Console(highlight=False)
    color = console.is_terminal and not console.no_color
    texts = [
        terminal.as_text(one, width=columns(), color=color).rstrip("\n") for one in renderables
    ]
    print("\n\n".join(texts))


def print_report(report: Report[Any], *, json: bool) -> None:
    """A result on stdout: its tables, or with --json its record."""
    if json:
        print_json(report.record())
    else:
        print_rich(*report.page)


def print_row(words: str, *, name: str = "") -> None:
    """A line of words on stdout, under one another after its name where it does not fit.

    In a pipe or a file it stays one line, unless COLUMNS says how wide that is.
    """
    lines = [words]
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        room = max(LEAST_COLUMNS, columns() - cell_len(name))
        lines = textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False)
    print(name + ("\n" + " " * cell_len(name)).join(lines))


def say(line: str) -> None:
    """A line for the person at the terminal, on stderr; once, however many processes run."""
    if is_first() and _loudness is not Loudness.QUIET:
        print(line, file=sys.stderr)


@contextmanager
def progress_line() -> Iterator[OnStage]:
    """A live line `report(text, done, total)` on stderr with the time left; gone at the end.

    What stands before a colon names the stage; with --verbose a line says what each has taken.
    """
    if _loudness is Loudness.VERBOSE:
        stages = _Stages()
        yield stages.report
        stages.close()
        return
    if not sys.stderr.isatty() or not is_first() or _loudness is Loudness.QUIET:
        yield lambda text, done, total: None
        return
    from rich.progress import (  # --help has no use for it
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def report(text: str, done: int, total: int) -> None:
            progress.update(task, description=text, completed=done, total=total or None)

        yield report


class _Stages:
    """The seconds that each stage of a command takes, each said when it is over; of a long one once
    a minute how far it is, for those who read it in a log."""

    def __init__(self) -> None:
        self.stage, self.since = "", time.perf_counter()
        self.said = self.since

    def report(self, text: str, done: int, total: int) -> None:
        """A stage that goes on, or the next one."""
        stage, now = text.partition(":")[0], time.perf_counter()
        if stage != self.stage:
            self.close()
            self.stage, self.since, self.said = stage, now, now
        elif now - self.said >= MINUTE:
            far = f", {done:,} of {total:,}" if total else ""
            say(f"{now - self.since:8.2f} s  {text}{far}")
            self.said = now

    def close(self) -> None:
        """The last stage is over."""
        if self.stage:
            say(f"{time.perf_counter() - self.since:8.2f} s  {self.stage}")
