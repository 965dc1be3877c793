"""The k best signed routes through features and attention heads (method.md section 6).

An edge between two nodes is a sum over all ways that attention offers between them: at every layer
on its way it stays in the residual stream, or a head fetches it from one position and brings it to
another. Each of these ways is a product of matrices and so a signed number; together they are the
edge (attribution/head_ways.py finds them). A route through features and heads takes one way along
each of its edges, and its strength is the product of the ways' shares of their targets' rows. The
rows are those of whole edges: so the strengths of all ways along one path of features sum to the
signed strength of that path, and k_best.py finds the k best of them exactly, with the ways of an
edge as so many edges between the same two nodes.

Ways that carry next to nothing of their edge are not followed to their end: they are one part with
no heads named, which closes the sum but is no way of its own, and no route takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import Edges, Floats, Ints
from circuit_tracer.graphs.influence import edge_flows, handed_down, signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import Path, ranked_routes


class Hop(NamedTuple):
    """One head on the way of an edge."""

    layer: int
    head: int
    key: int
    """Position it fetches from."""
    query: int
    """Position it brings that to."""

    @property
    def name(self) -> str:
        """ "L3.H2"."""
        return f"L{self.layer}.H{self.head}"


Way = tuple[Hop, ...]
"""Heads from the source of an edge to its target; () where all stays in the residual stream."""


@dataclass(frozen=True)
class HeadParts:
    """Edges by the ways through attention; columns of length p, sorted by (target, source)."""

    source: NDArray[np.int32]
    """Row of the edge's source in the graph's node table."""
    target: NDArray[np.int32]
    weight: Floats
    """Signed part of the edge; those of one edge sum to it."""
    ways: tuple[Way | None, ...]
    """None for the sum of all ways that were not followed."""

    def __len__(self) -> int:
        return len(self.source)

    @property
    def is_followed(self) -> NDArray[np.bool_]:
        """(p,) False for the sums of ways that were not followed."""
        return np.array([way is not None for way in self.ways], dtype=np.bool_)


@dataclass(frozen=True)
class HeadPath(Path):
    """One route through features and heads.

    Its strength is the product of the ways' shares of their targets' rows. Ways of one edge may
    cancel, so one can be stronger than the edge.
    """

    ways: tuple[Way, ...]
    """The heads along each of its edges."""
    path_share: float
    """Signed `strength` over that of the path through the same nodes, all its ways together."""


def best_head_paths(
    pruned: PrunedGraph,
    parts: HeadParts,
    *,
    k: int = 10,
    sources: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    direct: bool = True,
    sign: Sign = "any",
) -> list[HeadPath]:
    """The k strongest into each target: targets in the given order, strongest first.

    Only edges that `parts` has take part. All else is as `paths.best_paths` has it.
    """
    followed = np.flatnonzero(parts.is_followed)
    steps = Edges(parts.source[followed], parts.target[followed], parts.weight[followed])
    ranked = ranked_routes(
        pruned.graph,
        steps,
        pruned.node_kept,
        k=k,
        sources=sources,
        targets=targets,
        direct=direct,
        sign=sign,
    )
    edge_shares = _edge_shares(parts, totals(pruned.graph))
    return [
        HeadPath(
            rows=route.rows,
            strength=route.strength,
            share=share,
            ways=tuple(parts.ways[int(followed[edge])] or () for edge in route.edges),
            path_share=route.strength
            / float(np.prod([edge_shares[pair] for pair in pairwise(route.rows)])),
        )
        for route, share in ranked
    ]


def _edge_shares(parts: HeadParts, whole: Floats) -> dict[tuple[int, int], float]:
    """The signed share of each edge of its target's row, by (source, target)."""
    start = _first_of_edges(parts)
    weight = np.add.reduceat(parts.weight, start) if len(parts) else np.zeros(0)
    source, target = parts.source[start], parts.target[start]
    shares = signed_shares(Edges(source, target, weight), whole)
    pairs = zip(source.tolist(), target.tolist(), strict=True)
    return dict(zip(pairs, shares.tolist(), strict=True))


def _first_of_edges(parts: HeadParts) -> Ints:
    """Where the parts of each edge begin."""
    changes = (np.diff(parts.target) != 0) | (np.diff(parts.source) != 0)
    return np.flatnonzero(np.concatenate([np.ones(min(len(parts), 1), dtype=np.bool_), changes]))


def unfollowed_share(pruned: PrunedGraph, parts: HeadParts) -> float:
    """How much of the influence along the kept edges goes along ways that were not followed.

    Absolute sums of what was left of each edge, edges that are not in `parts` with all they have.
    """
    passed_on = handed_down(pruned.graph, pruned.influence)
    all_ = float(edge_flows(pruned.kept_edges, passed_on).sum())
    start = _first_of_edges(parts)
    if all_ == 0 or not len(parts):
        return 0.0 if all_ == 0 else 1.0
    weight = np.abs(np.add.reduceat(parts.weight, start))
    left = np.abs(np.where(parts.is_followed, 0.0, parts.weight))
    missing = np.add.reduceat(left, start) - weight
    unfollowed = float((passed_on[parts.target[start]] * missing).sum()) + all_
    return min(max(unfollowed / all_, 0.0), 1.0)
