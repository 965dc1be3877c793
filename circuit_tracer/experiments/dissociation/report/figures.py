"""The figures of a `dissociate` report, by file name."""

from __future__ import annotations

from collections.abc import Callable

from circuit_tracer.experiments.dissociation.report.charts import (
    ablation_svg,
    heads_svg,
    overlap_svg,
    swap_svg,
)
from circuit_tracer.experiments.dissociation.report.routes.picture import routes_svg
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.experiments.dissociation.report.truth import truth_svg
from circuit_tracer.experiments.dissociation.results import Report

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


def figures(report: Report, routes: TwoRoutes | None = None) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {} if routes is None else {ROUTES: routes_svg(report, routes)}
    for file, step, draw in OF_STEP.values():
        found = getattr(report, step)
        svg = None if found is None else draw(report, found)
        if svg is not None:
            drawn[file] = svg
    return drawn
