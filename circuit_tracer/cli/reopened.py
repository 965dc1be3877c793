"""The model and dictionary of a stored graph, opened with a line on stderr that says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from circuit_tracer.cli import invocation
from circuit_tracer.cli.output import progress_line
from circuit_tracer.workbench import opening

if TYPE_CHECKING:
    from circuit_tracer.graphs import PrunedGraph
    from circuit_tracer.workbench.opening import Opened


@contextmanager
def reopened(pruned: PrunedGraph, stage: str, *, instead: tuple[str, ...] = ()) -> Iterator[Opened]:
    """What a graph was traced with, or what the running command's options say, for work that the
    live line calls `stage`; a dictionary of a kind in `instead` may stand in its dictionary's
    place."""
    options = invocation.values()
    given = {name: options[name] for name in ("model", "transcoders", "device", "threads")}
    with progress_line() as report:
        report("opening the model", 0, 0)
        opened, _ = opening.reopen(pruned, **given, instead=instead)
        report(stage, 0, 0)
        yield opened
