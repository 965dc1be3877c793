"""The parts that every experiment's report.md is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from circuit_tracer.experiments.kit.tables import Table, cell, markdown_table
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.render.text import printable

MEASUREMENTS_FILE = "measurements.parquet"
_HOLDS = {"yes": "yes", "no": "no", "unclear": "open"}


def step_blocks(tables: Iterable[Table], figure_of: Callable[[str], str | None]) -> Iterator[str]:
    """Tables under their headings; `figure_of` a heading's number is its figure's file."""
    last = ""
    for table in tables:
        if table.step != last:
            yield f"## {table.step}"
            number, _, title = table.step.partition(". ")
            if figure := figure_of(number):
                yield f"![{cell(title)}]({figure})"
        last = table.step
        if table.title:
            yield f"### {cell(table.title)}"
        yield markdown_table(table.columns, table.rows)
        yield cell(table.note)


def finding_blocks(findings: Iterable[tuple[str, str, str]], notes: Iterable[str]) -> Iterator[str]:
    """Findings as name, whether it holds and its sentence; then notes."""
    yield "## What the figures support"
    rows = [(name, _HOLDS[holds], sentence) for name, holds, sentence in findings]
    yield markdown_table(("finding", "shown", "in words"), rows)
    if lines := [f"- {cell(note)}" for note in notes]:
        yield "\n".join(lines)


def reproducing_blocks(
    command: str,
    rows: Sequence[tuple[str, str]],
    versions: Mapping[str, str],
    files: tuple[str, str],
) -> Iterator[str]:
    """What makes the report again: a command, and settings with the versions of what ran it.

    `files` are that of all figures and that of all measurements.
    """
    yield "## How to reproduce it"
    if command:
        yield f"```sh\n{printable(command)}\n```"
    yield markdown_table(("setting", "value"), [*rows, *sorted(versions.items())])
    yield f"All figures are in `{files[0]}`, every single measurement in `{files[1]}`."


def identity_words(identity: Identity) -> str:
    """A model or dictionary by its name and the beginning of its hash."""
    name, sha256 = identity.name, identity.sha256
    return f"{name} (sha256 {sha256[:12]})" if sha256 else name
