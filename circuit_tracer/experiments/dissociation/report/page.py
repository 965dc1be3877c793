"""report.md, the whole experiment in one page of Markdown, and the figures under its steps."""

from __future__ import annotations

from collections.abc import Callable, Collection

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
from circuit_tracer.experiments.dissociation.results import DISSOCIATION_FILE, Report
from circuit_tracer.experiments.kit.page import identity_words, report_page
from circuit_tracer.experiments.kit.tables import cell

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


def report_markdown(report: Report, figures: Collection[str] = (), *, command: str = "") -> str:
    """The page; `figures` are the files in its folder, `command` is what reproduces it."""
    routes = f"![The two routes]({ROUTES})" if ROUTES in figures else ""
    drawn = {step: name for step, (name, *_) in OF_STEP.items() if name in figures}
    settings = [
        ("model", identity_words(report.model)),
        ("dictionary", identity_words(report.dictionary)),
        ("early layers", f"{report.early_layers} of {report.n_layers}"),
    ]
    return report_page(
        *(report, report.verdict, tables(report), drawn, settings),
        of="objects",
        command=command,
        file=DISSOCIATION_FILE,
        lead=(cell(report.verdict.paragraph), routes),
    )


def figures(report: Report, routes: TwoRoutes | None = None) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {} if routes is None else {ROUTES: routes_svg(report, routes)}
    for file, step, draw in OF_STEP.values():
        found = getattr(report, step)
        svg = None if found is None else draw(report, found)
        if svg is not None:
            drawn[file] = svg
    return drawn
