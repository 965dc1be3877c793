"""`trace --total`: what every token does to the targets, in a fraction of a graph's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.graphs.files import records
from circuit_tracer.workbench import token_effects

if TYPE_CHECKING:
    from circuit_tracer.attribution.totals_tracing import TracedTotals

OF_A_GRAPH = (
    "--out",
    "--slug",
    "--overwrite",
    "--max-feature-nodes",
    "--coverage",
    "--node-threshold",
    "--edge-threshold",
    "--edge-floor",
    "--format",
    "--max-nodes",
    "--heads",
    "--routes",
    "--trust",
)
"""Options of `trace` that have no effect without a graph."""


def refuse_graphs_options(there: bool) -> None:
    """Refuse them where there is none."""
    refuse_with(*OF_A_GRAPH, other="--total, which makes no graph", there=there)


def refuse_cotangents(there: bool) -> None:
    """Refuse a --dtype of a graph's rows."""
    refuse_with("--dtype", other="--total, which computes as the model does", there=there)


def print_totals(traced: TracedTotals, *, json: bool) -> None:
    """The table of each target on stdout, or all of them as JSON."""
    info = traced.info
    if json:
        record = {
            "prompt": info.prompt,
            "tokens": info.tokens,
            "totals": records.totals_table(info),
            "conservation": {
                "max_relative_residual": info.conservation_residual,
                "tolerance": info.conservation_tolerance,
            },
            "seconds": {stage: round(value, 4) for stage, value in traced.seconds.items()},
        }
        print_json(record)
        return
    print_rich(*token_effects.totals_page(info))
    work = sum(traced.seconds.values())
    print(
        f"\n{work:.2f} s of tracing; tokens, errors and constants miss the values by a share of "
        f"{info.conservation_residual:.0e} at most"
    )
