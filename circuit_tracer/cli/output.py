"""Results on stdout, progress on stderr; progress vanishes when stderr is no terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from circuit_tracer.cli.streams import is_unicode
from circuit_tracer.processes import is_first

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_COLUMNS = 100


def print_json(record: Any) -> None:
    """One JSON object on stdout; NaN becomes null. Escaped ASCII where stdout is not UTF-8."""
    from circuit_tracer.graphs.plain import to_json

    print(to_json(record, indent=2, ascii_only=not is_unicode(sys.stdout)))


def print_rich(*renderables: RenderableType) -> None:
    """Text and tables on stdout, a blank line between them, at most 100 columns wide.

    Coloured on a terminal; elsewhere plain lines without trailing blanks.
    """
    from rich.console import Console

    from circuit_tracer.render.terminal import as_text

    console = Console(highlight=False)
    width = min(console.width, MOST_COLUMNS) if console.is_terminal else MOST_COLUMNS
    color = console.is_terminal and not console.no_color
    texts = [as_text(one, width=width, color=color).rstrip("\n") for one in renderables]
    print("\n\n".join(texts))


def say(line: str) -> None:
    """A line for the person at the terminal, on stderr; once, however many processes run."""
    if is_first():
        print(line, file=sys.stderr)


def set_threads(threads: int | None) -> None:
    """How many threads torch uses, at most one a core; torch's own choice for None."""
    if threads is not None:
        import torch

        torch.set_num_threads(min(max(1, threads), os.cpu_count() or 1))


@contextmanager
def progress_line() -> Iterator[Callable[[str, int, int], None]]:
    """A live line `report(text, done, total)` on stderr with the time left; gone at the end."""
    if not sys.stderr.isatty() or not is_first():
        yield lambda text, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
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
