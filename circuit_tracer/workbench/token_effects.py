"""What every token does to the targets, as a result that prints its tables."""

from __future__ import annotations

from rich.console import Group, RenderableType

from circuit_tracer.graphs.files.records import totals_table
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.render.totals import effects
from circuit_tracer.workbench.results import Listing

MOST_TOKENS = 40
"""Tokens of a target that are printed, those with most."""


def totals_page(info: GraphInfo) -> list[RenderableType]:
    """A table for each target."""
    return [Group(*effects(info, i, limit=MOST_TOKENS)) for i in range(len(info.totals))]


def totals_listed(info: GraphInfo) -> Listing[TokenTotals]:
    """An item for each target, in their order."""
    return Listing(info.totals, totals_page(info), lambda: totals_table(info))
