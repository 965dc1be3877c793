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
OF_STEP = {
    "2": "overlap.svg",
    "4": "ablation.svg",
    "5": "heads.svg",
    "6": "swap.svg",
    "7": "truth-direction.svg",
}
"""File of each step's figure, by the step's number."""
_MAKERS: dict[str, Callable[[Report], str | None]] = {
    "2": overlap_svg,
    "4": ablation_svg,
    "5": heads_svg,
    "6": swap_svg,
    "7": truth_svg,
}


def figures(report: Report, routes: TwoRoutes | None = None) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {} if routes is None else {ROUTES: routes_svg(report, routes)}
    for step, make in _MAKERS.items():
        svg = make(report)
        if svg is not None:
            drawn[OF_STEP[step]] = svg
    return drawn
