"""report.md: the whole experiment in one page of Markdown, tables and figures under their steps."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from circuit_tracer.experiments.dissociation.report.figures import OF_STEP, ROUTES
from circuit_tracer.experiments.dissociation.report.tables import tables
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.kit.tables import cell, markdown_table
from circuit_tracer.render.text import printable

_HOLDS = {"yes": "yes", "no": "no", "unclear": "open"}


def report_markdown(report: Report, figures: Collection[str] = (), *, command: str = "") -> str:
    """The page; `figures` are the files in its folder, `command` is what reproduces it."""
    blocks = [
        f"# {cell(report.name)}",
        cell(report.question),
        f"**{cell(report.verdict.headline)}**",
        cell(report.verdict.paragraph),
    ]
    if ROUTES in figures:
        blocks.append(f"![The two routes]({ROUTES})")
    blocks += _steps(report, figures)
    blocks += _findings(report)
    blocks += _reproduce(report, command)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _steps(report: Report, figures: Collection[str]) -> Iterator[str]:
    last = ""
    for table in tables(report):
        if table.step != last:
            yield f"## {table.step}"
            name, *_ = OF_STEP.get(table.step.partition(".")[0], ("",))
            if name in figures:
                yield f"![{cell(table.step.partition('. ')[2])}]({name})"
        last = table.step
        yield markdown_table(table.columns, table.rows)
        yield cell(table.note)


def _findings(report: Report) -> Iterator[str]:
    yield "## What the figures support"
    rows = [(one.name, _HOLDS[one.holds], one.sentence) for one in report.verdict.findings]
    yield markdown_table(("finding", "shown", "in words"), rows)
    if report.notes:
        yield "\n".join(f"- {cell(note)}" for note in report.notes)


def _reproduce(report: Report, command: str) -> Iterator[str]:
    yield "## How to reproduce it"
    if command:
        yield f"```sh\n{printable(command)}\n```"
    rows = [
        ("model", _identity(report.model.name, report.model.sha256)),
        ("dictionary", _identity(report.dictionary.name, report.dictionary.sha256)),
        ("seed", str(report.seed)),
        ("early layers", f"{report.early_layers} of {report.n_layers}"),
        ("bootstrap", f"{report.resamples:,} resamples of the objects"),
        ("quick", "yes: fewer items and controls" if report.quick else "no"),
        ("time", f"{sum(report.seconds.values()):.0f} s"),
        *sorted(report.versions.items()),
    ]
    yield markdown_table(("setting", "value"), rows)
    yield (
        "All figures are in `dissociation.json`, every single measurement in "
        "`measurements.parquet`."
    )


def _identity(name: str, sha256: str | None) -> str:
    return f"{name} (sha256 {sha256[:12]})" if sha256 else name
