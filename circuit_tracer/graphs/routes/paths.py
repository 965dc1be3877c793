"""The k best signed routes from the tokens to a target (method.md 6).

A path's strength is the product of its edges' shares, an edge's share being its signed weight
divided by the absolute sum of its target's row (the N of influence.py, signed). k_best.py finds
the strongest, of all or of one sign. The total mass of all paths, against which a path's share is
measured, is one sum up the layers; the masses of positive and of negative paths follow from two,
of the strengths and of their absolute values.

Rows are whole rows, so strengths do not depend on which edges a trace kept. Of the paths through
edges it did not keep, only those that enter by such an edge from a token are known, in sum; the
others are missing from the total mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Bools, Edges, Floats, Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.influence import chunks, ratio, signed_shares, totals
from circuit_tracer.graphs.pruning import PrunedGraph, check_pruned
from circuit_tracer.graphs.routes.k_best import Route, Sign, best_routes


@dataclass(frozen=True)
class Path:
    """One route through the graph."""

    rows: tuple[int, ...]
    """Rows of the node table from the source to the target, both included."""
    strength: float
    """Signed product of the edges' shares of their targets' rows; in -1..1."""
    share: float
    """|strength| over the summed |strength| of all paths of the whole graph from the same
    sources to this target. Pruned or not, the share of one path is the same. Where the trace left
    out edges between features, at most by the paths through those too high."""

    @property
    def sign(self) -> int:
        """+1 if the route pushes the target up, -1 if down."""
        return 1 if self.strength > 0 else -1


class SignedMass(NamedTuple):
    """Summed absolute strength of all paths to each node, by sign; (n,) each."""

    up: Floats
    """Paths of positive strength; 1 for the empty path at a source itself."""
    down: Floats
    """Paths of negative strength."""
    unsigned: Floats
    """Paths that start with an edge from a token that was not kept: those are known in absolute
    sum alone. 0 where a trace kept every edge."""

    @property
    def total(self) -> Floats:
        """(n,) all of them: `path_mass`."""
        return self.up + self.down + self.unsigned


def best_paths(
    pruned: PrunedGraph | Graph,
    *,
    k: int = 10,
    sources: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
    direct: bool = True,
    sign: Sign = "any",
) -> list[Path]:
    """The k strongest paths into each target: targets in the given order, strongest first.

    `sign` "+" gives the k strongest of those that push the target up, "-" of those that push it
    down: what suppressed it.

    Walks the kept nodes and edges of a `PrunedGraph`, everything of a `Graph`; shares are of the
    whole graph's rows either way, so strengths do not depend on the pruning. `sources` and
    `targets` are rows, by default all embeddings and all targets; any kind of node may be either.
    A path may pass through another source. `direct=False` leaves out routes of a single edge, so
    that every route passes through a feature (shares are still of all paths). Equal strengths go
    by source row. Raises UsageError for k < 1 or above `k_best.MOST_ROUTES`, another sign, or a row
    that is not in the graph or was pruned.
    """
    if not isinstance(pruned, Graph):
        check_pruned(pruned)
    if isinstance(pruned, PrunedGraph):
        graph, node_kept, steps = pruned.graph, pruned.node_kept, pruned.kept_edges
    else:
        graph, node_kept, steps = pruned, np.ones(len(pruned.nodes), dtype=np.bool_), pruned.edges
    ranked = ranked_routes(
        graph, steps, node_kept, k=k, sources=sources, targets=targets, direct=direct, sign=sign
    )
    return [Path(route.rows, route.strength, share) for route, share in ranked]


def ranked_routes(
    graph: Graph,
    steps: Edges,
    node_kept: Bools,
    *,
    k: int,
    sources: Sequence[int] | None,
    targets: Sequence[int] | None,
    direct: bool,
    sign: Sign,
) -> list[tuple[Route, float]]:
    """The k best routes into each target along `steps`, each with its share of all paths.

    The other parameters, the order and what is raised are those of `best_paths`.
    """
    starts = _checked_rows(graph, sources, node_kept, "source")
    ends = _checked_rows(graph, targets, node_kept, "target")
    is_start = np.zeros(len(graph.nodes), dtype=np.bool_)
    is_start[starts] = True
    shares = signed_shares(steps, totals(graph))
    routes = best_routes(steps, shares, is_start, ends, k=k, sign=sign, direct=direct)
    mass = path_mass(graph, sources=starts.tolist())[ends].tolist()
    return [
        (route, abs(route.strength) / whole)
        for into, whole in zip(routes, mass, strict=True)
        for route in into
    ]


def nth_path(pruned: PrunedGraph, number: int) -> Path:
    """The n-th best path through features to the graph's first target, 1 being the best.

    Raises UsageError where there are not so many.
    """
    target = int(pruned.graph.target_rows[0])
    paths = best_paths(pruned, k=max(1, number), targets=[target], direct=False)
    if not 1 <= number <= len(paths):
        raise UsageError(
            f"`route` {number}: the kept graph has {len(paths)} route(s) through features to its "
            "first target; choose one of them, from 1"
        )
    return paths[number - 1]


def path_mass(graph: Graph, *, sources: Sequence[int] | None = None) -> Floats:
    """(n,) summed absolute strength of all paths from the sources (all tokens) to each node.

    Every path of the whole graph counts, 1 for the empty path at a source itself. With all
    embeddings among the sources the edges from them that were not kept count, too; those from
    other nodes never do.
    """
    start, from_dropped = _starts(graph, sources)
    return _carried(graph, start + from_dropped)


def restricted(graph: Graph, which: Ints) -> Graph:
    """The graph with some of its edges alone, its rows still as whole as before.

    What is left out goes to `dropped_features`, so that every other share stays and nothing of
    what is left out counts as a path from a token.
    """
    nodes, edges = graph.nodes.with_nothing_dropped(), graph.edges.take(which)
    inner = replace(graph, nodes=nodes, edges=edges)
    missing = np.maximum(totals(graph) - totals(inner), 0.0)
    return replace(inner, nodes=replace(nodes, dropped_features=missing))


def signed_mass(graph: Graph, *, sources: Sequence[int]) -> SignedMass:
    """`path_mass` by sign: what pushes each node up, and what pushes it down."""
    start, from_dropped = _starts(graph, sources)
    absolute, signed = _carried(graph, start), _carried(graph, start, signed=True)
    return SignedMass(
        up=np.maximum(absolute + signed, 0.0) / 2,
        down=np.maximum(absolute - signed, 0.0) / 2,
        unsigned=_carried(graph, from_dropped) if from_dropped.any() else from_dropped,
    )


def _starts(graph: Graph, sources: Sequence[int] | None) -> tuple[Floats, Floats]:
    """(n,) 1 at the sources; (n,) share of each row from tokens by edges that were not kept.

    The second is 0 unless all tokens are among the sources: whose edges they are is not known.
    """
    nodes = graph.nodes
    tokens = nodes.of_kind(NodeKind.EMBEDDING)
    start = np.zeros(len(nodes))
    start[tokens if sources is None else np.asarray(sources, dtype=np.int64)] = 1.0
    if not start[tokens].all():
        return start, np.zeros(len(nodes))
    return start, ratio(nodes.dropped_embeddings, totals(graph))


def _carried(graph: Graph, start: Floats, *, signed: bool = False) -> Floats:
    """(n,) what starts at the nodes, (n,), with all that comes to each by way of the edges."""
    nodes, edges = graph.nodes, graph.edges
    n, whole, mass = len(nodes), totals(graph), start.copy()
    for layer in np.unique(nodes.layer):
        rows = np.flatnonzero(nodes.layer == layer)
        into = edges.into(int(rows[0]), int(rows[-1]) + 1)  # rows of a layer lie together
        arrived = np.zeros(n)
        for part in chunks(into.start, into.stop):
            some = edges.take(part)
            shares = signed_shares(some, whole)
            arriving = (shares if signed else np.abs(shares)) * mass[some.source]
            arrived += np.bincount(some.target, weights=arriving, minlength=n)
        mass += arrived
    return mass


def direct_shares(graph: Graph) -> Floats:
    """(t,) for each target: the share of all paths from tokens to it that are a single edge.

    Such a path goes through attention alone and meets no feature.
    """
    nodes, edges, targets = graph.nodes, graph.edges, graph.target_rows
    whole = totals(graph)
    direct = ratio(nodes.dropped_embeddings, whole)[targets]
    for i, row in enumerate(targets.tolist()):
        steps = edges.take(edges.into(row, row + 1))
        from_token = nodes.kind[steps.source] == NodeKind.EMBEDDING
        direct[i] += np.abs(signed_shares(steps, whole)[from_token]).sum()
    return ratio(direct, path_mass(graph)[targets])


def _checked_rows(
    graph: Graph, rows: Sequence[int] | None, node_kept: Bools, role: Literal["source", "target"]
) -> Ints:
    """Rows of sources or targets, by default all embeddings or all targets.

    Raises UsageError for a row that is not in the graph or was pruned.
    """
    own = NodeKind.EMBEDDING if role == "source" else NodeKind.LOGIT
    checked = graph.nodes.of_kind(own) if rows is None else np.asarray(rows, dtype=np.int64)
    for row in checked:
        if not 0 <= row < len(node_kept):
            raise UsageError(f"the path {role} {row} is no row of this graph's node table")
        if not node_kept[row]:
            raise UsageError(
                f"the path {role} {node_name(graph, int(row))} was pruned away; raise the node or "
                "edge threshold (`node_threshold`, `edge_threshold`) or choose another node"
            )
    return checked
