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
OF_STEP: dict[str, tuple[str, Callable[[Report], str | None]]] = {
    "2": ("overlap.svg", overlap_svg),
    "4": ("ablation.svg", ablation_svg),
    "5": ("heads.svg", heads_svg),
    "6": ("swap.svg", swap_svg),
    "7": ("truth-direction.svg", truth_svg),
}
"""By the step's number: its figure's file, and what draws it."""
FILES = (ROUTES, *(name for name, _ in OF_STEP.values()))


def figures(report: Report, routes: TwoRoutes | None = None) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {} if routes is None else {ROUTES: routes_svg(report, routes)}
    made = {name: draw(report) for name, draw in OF_STEP.values()}
    return drawn | {name: svg for name, svg in made.items() if svg is not None}
