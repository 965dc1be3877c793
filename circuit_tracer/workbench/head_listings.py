"""Heads of a graph and parts of its edges as results."""

from __future__ import annotations

from circuit_tracer.graphs import Edges, PrunedGraph
from circuit_tracer.graphs.head_loadings import (
    HeadLoadings,
    LeadingHead,
    edge_record,
    leading_heads,
    leading_record,
)
from circuit_tracer.render.attention import edges_by_head, leading_table
from circuit_tracer.workbench.results import Listing


def heads_listed(pruned: PrunedGraph, loadings: HeadLoadings, top: int) -> Listing[LeadingHead]:
    """The heads that most influence passes through."""
    leading = leading_heads(pruned, loadings, most=top)
    page = [leading_table(pruned, leading)]
    return Listing(leading, page, lambda: leading_record(pruned, leading))


def edges_listed(
    pruned: PrunedGraph, edges: Edges, loadings: HeadLoadings, top: int
) -> Listing[HeadLoadings]:
    """The parts of edges by head, an item each."""
    ends = list(zip(*(column.tolist() for column in edges.columns), strict=True))
    parts = [loadings.of_edge(source, target) for source, target, _ in ends]
    rows = [(*end, part) for end, part in zip(ends, parts, strict=True)]
    return Listing(
        parts,
        edges_by_head(pruned.graph, rows, most=top),
        lambda: [edge_record(pruned.graph, *row) for row in rows],
    )
