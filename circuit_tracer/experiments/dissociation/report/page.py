"""report.md, the whole experiment in one page of Markdown, and the figures under its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from circuit_tracer.experiments.dissociation.report.charts import (
    ablation_svg,
    heads_svg,
    overlap_svg,
    swap_svg,
)
from circuit_tracer.experiments.dissociation.report.routes.picture import routes_svg
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.experiments.dissociation.report.tables import tables
from circuit_tracer.experiments.dissociation.report.truth import truth_svg
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.kit.tables import cell, markdown_table
from circuit_tracer.render.text import printable

ROUTES = "routes.svg"
OF_STEP: dict[str, tuple[str, str, Callable[..., str | None]]] = {
    "2": ("overlap.svg", "overlap", overlap_svg),
    "4": ("ablation.svg", "ablation", ablation_svg),
    "5": ("heads.svg", "heads", heads_svg),
    "6": ("swap.svg", "swap", swap_svg),
    "7": ("truth-direction.svg", "truth", truth_svg),
}
"""By the step's number: its figure's file, its field in the report, and what draws it."""
FILES = (ROUTES, *(file for file, _, _ in OF_STEP.values()))
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


def figures(report: Report, routes: TwoRoutes | None = None) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {} if routes is None else {ROUTES: routes_svg(report, routes)}
    for file, step, draw in OF_STEP.values():
        found = getattr(report, step)
        svg = None if found is None else draw(report, found)
        if svg is not None:
            drawn[file] = svg
    return drawn
