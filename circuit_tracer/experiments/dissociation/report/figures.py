"""The figures of a `dissociate` report, by file name."""

from __future__ import annotations

from collections.abc import Callable

from circuit_tracer.experiments.dissociation.report.ablation import ablation_svg
from circuit_tracer.experiments.dissociation.report.heads import heads_svg
from circuit_tracer.experiments.dissociation.report.overlap import overlap_svg
from circuit_tracer.experiments.dissociation.report.routes.picture import routes_svg
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes
from circuit_tracer.experiments.dissociation.report.swap import swap_svg
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
    "overlap.svg": overlap_svg,
    "ablation.svg": ablation_svg,
    "heads.svg": heads_svg,
    "swap.svg": swap_svg,
    "truth-direction.svg": truth_svg,
}


def figures(report: Report, routes: TwoRoutes | None = None) -> dict[str, str]:
    """File name -> SVG text; steps that were not measured have none."""
    drawn = {} if routes is None else {ROUTES: routes_svg(report, routes)}
    for name, make in _MAKERS.items():
        svg = make(report)
        if svg is not None:
            drawn[name] = svg
    return drawn
