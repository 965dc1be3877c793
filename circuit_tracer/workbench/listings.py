"""A graph's tokens, heads and parts of edges as results that print their tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Group, RenderableType

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import Edges, PrunedGraph
from circuit_tracer.graphs.files.records import totals_table
from circuit_tracer.graphs.graph import GraphInfo
from circuit_tracer.graphs.head_loadings import (
    HeadLoadings,
    edge_record,
    leading_heads,
    leading_record,
)
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.render.attention import edge_heads, leading_table
from circuit_tracer.render.tables import effects
from circuit_tracer.workbench.results import Listing

MOST_TOKENS = 40
"""Tokens of a target that are printed, those with most."""


def totals_page(info: GraphInfo) -> list[RenderableType]:
    """A table for each target."""
    return [Group(*effects(info, i, limit=MOST_TOKENS)) for i in range(len(info.totals))]


def totals_listed(info: GraphInfo) -> Listing[TokenTotals]:
    """An item for each target, in their order."""
    return Listing(info.totals, totals_page(info), lambda: totals_table(info))


def check_top(top: int) -> None:
    """Raise UsageError for a number of things to list that is none, or below 1."""
    if not isinstance(top, int | np.integer) or top < 1:
        raise UsageError(f"`top` {top} must be a whole number of at least 1")


def heads_listed(
    pruned: PrunedGraph, loadings: HeadLoadings, top: int, edges: Edges | None = None
) -> Listing[Any]:
    """The heads that most influence passes through; of some `edges` their parts by head."""
    check_top(top)
    if edges is None:
        leading = leading_heads(pruned, loadings, most=top)
        page = [leading_table(pruned, leading)]
        return Listing(leading, page, lambda: leading_record(pruned, leading))
    ends = list(zip(*(column.tolist() for column in edges.columns), strict=True))
    rows = [(*end, loadings.of_edge(end[0], end[1])) for end in ends]
    return Listing(
        [part for *_, part in rows],
        [part for row in rows for part in edge_heads(pruned.graph, *row, most=top)],
        lambda: [edge_record(pruned.graph, *row) for row in rows],
    )
