"""The parts that every experiment's report.md is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from circuit_tracer.experiments.kit.results import Finding, SpecReport, Verdict
from circuit_tracer.experiments.kit.tables import Table, cell, markdown_table
from circuit_tracer.graphs.graph import Identity
from circuit_tracer.render.text import printable

MEASUREMENTS_FILE = "measurements.parquet"
_HOLDS = {"yes": "yes", "no": "no", "unclear": "open"}


def report_page(
    report: SpecReport,
    verdict: Verdict,
    tables: Iterable[Table],
    figures: Mapping[str, str],
    settings: Sequence[tuple[str, str]],
    *,
    of: str,
    command: str,
    file: str,
    lead: Iterable[str] = (),
) -> str:
    """The whole page: the verdict and what follows it at once, tables, findings, and what makes it
    again.

    `figures` are files by the number of their step, `settings` the experiment's own, `of` is what
    was resampled, `command` what reproduces it; `file` has all figures.
    """
    blocks = [
        f"# {cell(report.name)}",
        cell(report.question),
        f"**{cell(verdict.headline)}**",
        *lead,
        *_step_blocks(tables, figures),
        *finding_blocks(verdict.findings, report.notes),
        *_reproducing_blocks(report, settings, of, command, file),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _step_blocks(tables: Iterable[Table], figures: Mapping[str, str]) -> Iterator[str]:
    """Tables under their headings."""
    last = ""
    for table in tables:
        if table.step != last:
            yield f"## {table.step}"
            number, _, title = table.step.partition(". ")
            if figure := figures.get(number):
                yield f"![{cell(title)}]({figure})"
        last = table.step
        if table.title:
            yield f"### {cell(table.title)}"
        yield markdown_table(table.columns, table.rows)
        yield cell(table.note)


def finding_blocks(findings: Iterable[Finding], notes: Iterable[str]) -> Iterator[str]:
    """Findings as name, whether it holds and its sentence; then notes."""
    yield "## What the figures support"
    rows = [(one.name, _HOLDS[one.holds], one.sentence) for one in findings]
    yield markdown_table(("finding", "shown", "in words"), rows)
    if lines := [f"- {cell(note)}" for note in notes]:
        yield "\n".join(lines)


def _reproducing_blocks(
    report: SpecReport, rows: Iterable[tuple[str, str]], of: str, command: str, file: str
) -> Iterator[str]:
    """A command, settings, the versions of what ran it."""
    yield "## How to reproduce it"
    if command:
        yield f"```sh\n{printable(command)}\n```"
    settings = [
        *rows,
        ("seed", str(report.seed)),
        ("bootstrap", f"{report.resamples:,} resamples of the {of}"),
        ("quick", "yes: fewer items and controls" if report.quick else "no"),
        ("time", f"{sum(report.seconds.values()):.0f} s"),
    ]
    yield markdown_table(("setting", "value"), [*settings, *sorted(report.versions.items())])
    yield f"All figures are in `{file}`, every single measurement in `{MEASUREMENTS_FILE}`."


def identity_words(identity: Identity) -> str:
    """A model or dictionary by its name and the beginning of its hash."""
    name, sha256 = identity.name, identity.sha256
    return f"{name} (sha256 {sha256[:12]})" if sha256 else name
