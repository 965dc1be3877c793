"""The k best signed routes from the tokens to a target (method.md 6).

A path's strength is the product of its edges' shares, an edge's share being its signed weight
divided by the absolute sum of its target's row (the N of influence.py, with signs). The k best
paths into a node are among the k best into each of its sources, extended by one edge, so walking
the nodes in topological order and keeping k per node is exact. Summing instead of keeping the
best gives the total mass of all paths, against which a path's share is measured.

The k best that push a target up, or down, are not among the k best of all, so they have a walk of
their own: over (node, sign) instead of nodes, where a negative edge leads to the other sign. That
is a graph of twice the size and as exact. The masses of both signs follow from two sums, of the
strengths and of their absolute values.

Rows are whole rows, so strengths do not depend on which edges a trace kept. Of the paths through
edges it did not keep, only those that enter by such an edge from a token are known, in sum; the
others are missing from the total mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Bools, Edges, Floats, Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.influence import chunks, totals
from circuit_tracer.graphs.pruning import PrunedGraph

Sign = Literal["any", "+", "-"]
"""Which paths are asked for: all, those that push the target up, or those that push it down."""


@dataclass(frozen=True)
class Path:
    """One route through the graph."""

    rows: tuple[int, ...]
    """Rows of the node table from the source to the target, both included."""
    strength: float
    """Signed product of the edges' shares of their targets' rows; in -1..1."""
    sign: int
    """+1 if the route pushes the target up, -1 if down (the product of the edges' signs)."""
    share: float
    """|strength| over the summed |strength| of all paths of the whole graph from the same
    sources to this target. Pruned or not, the share of one path is the same. Where the trace left
    out edges between features, at most by the paths through those too high."""


@dataclass(frozen=True)
class _Best:
    """The best paths into every node: columns (n, k), strongest first, 0 where there are fewer."""

    size: Floats
    """Absolute strength."""
    sign: NDArray[np.int8]
    source: Ints
    """Row the path comes from; -1 where it starts."""
    rank: Ints
    """Which of the source's best paths it extends."""


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
        total: Floats = self.up + self.down + self.unsigned
        return total


class _Step(NamedTuple):
    """A path's last edge: the columns of one cell of `_Best`."""

    size: float
    sign: int
    source: int
    rank: int


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
    by source row. Raises UsageError for k < 1, another sign, or a row that is not in the graph or
    was pruned.
    """
    graph = pruned.graph if isinstance(pruned, PrunedGraph) else pruned
    if isinstance(pruned, PrunedGraph):
        node_kept, which = pruned.node_kept, np.flatnonzero(pruned.edge_kept)
    else:
        node_kept, which = np.ones(len(graph.nodes), dtype=np.bool_), np.arange(len(graph.edges))
    if k < 1:
        raise UsageError(f"The number of paths is {k}: ask for at least 1.")
    embeddings = graph.nodes.of_kind(NodeKind.EMBEDDING)
    if sign not in get_args(Sign):
        raise UsageError(f'The sign of paths is "{sign}": give one of {", ".join(get_args(Sign))}.')
    starts = _checked(graph, embeddings if sources is None else sources, node_kept, "source")
    rows = graph.target_rows if targets is None else targets
    ends = _checked(graph, rows, node_kept, "target")
    steps = graph.edges.take(which)
    shares = _signed_shares(steps, totals(graph))
    mass = path_mass(graph, sources=starts.tolist())
    states = 1 if sign == "any" else 2
    if states == 2:
        steps, shares = _by_sign(steps, shares)
    best = _k_best(states * len(graph.nodes), steps, shares, states * starts, k)
    found = []
    for end in ends.tolist():
        state = states * end + (sign == "-")
        into = steps.into(state, state + 1)
        last_step = _extended(best, steps.source[into], shares[into], k, direct=direct)
        paths = [_trace_back(best, state, step, float(mass[end])) for step in last_step]
        found += [replace(path, rows=tuple(at // states for at in path.rows)) for path in paths]
    return found


def _by_sign(steps: Edges, shares: Floats) -> tuple[Edges, Floats]:
    """The edges between (node, sign), which are numbered 2 node + (0 for up, 1 for down).

    A positive edge keeps the sign of what it extends, a negative one turns it. Sorted by target.
    """
    turns = shares < 0
    source = np.concatenate([2 * steps.source + turns, 2 * steps.source + ~turns])
    target = np.concatenate([2 * steps.target, 2 * steps.target + 1])
    order = np.argsort(target, kind="stable")  # within a target the sources stay sorted
    doubled = Edges(source[order], target[order], np.tile(steps.weight, 2)[order])
    return doubled, np.tile(shares, 2)[order]


def path_mass(graph: Graph, *, sources: Sequence[int]) -> Floats:
    """(n,) summed absolute strength of all paths from the sources to each node.

    Every path of the whole graph counts, 1 for the empty path at a source itself. With all
    embeddings among the sources the edges from them that were not kept count, too; those from
    other nodes never do.
    """
    start = np.zeros(len(graph.nodes))
    start[np.asarray(sources, dtype=np.int64)] = 1.0
    return _carried(graph, start + _from_dropped(graph, sources))


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
    start = np.zeros(len(graph.nodes))
    start[np.asarray(sources, dtype=np.int64)] = 1.0
    absolute, signed = _carried(graph, start), _carried(graph, start, signed=True)
    from_dropped = _from_dropped(graph, sources)
    return SignedMass(
        up=np.maximum(absolute + signed, 0.0) / 2,
        down=np.maximum(absolute - signed, 0.0) / 2,
        unsigned=_carried(graph, from_dropped) if from_dropped.any() else from_dropped,
    )


def _from_dropped(graph: Graph, sources: Sequence[int]) -> Floats:
    """(n,) share of each row that came in by edges from tokens that were not kept.

    0 unless all tokens are among the sources: it is not known which of them the edges are from.
    """
    nodes = graph.nodes
    if not np.isin(nodes.of_kind(NodeKind.EMBEDDING), np.asarray(sources, dtype=np.int64)).all():
        return np.zeros(len(nodes))
    return _over(nodes.dropped_embeddings, totals(graph))


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
            shares = _signed_shares(some, whole)
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
    direct = _over(nodes.dropped_embeddings, whole)[targets]
    for i, row in enumerate(targets.tolist()):
        steps = edges.take(edges.into(row, row + 1))
        from_token = nodes.kind[steps.source] == NodeKind.EMBEDDING
        direct[i] += np.abs(_signed_shares(steps, whole)[from_token]).sum()
    mass = path_mass(graph, sources=nodes.of_kind(NodeKind.EMBEDDING).tolist())[targets]
    return _over(direct, mass)


def _checked(graph: Graph, rows: Sequence[int] | Ints, node_kept: Bools, role: str) -> Ints:
    checked = np.asarray(rows, dtype=np.int64)
    for row in checked:
        if not 0 <= row < len(node_kept):
            raise UsageError(f"the path {role} {row} is no row of this graph's node table")
        if not node_kept[row]:
            raise UsageError(
                f"the path {role} {node_name(graph, int(row))} was pruned away; raise the node or "
                "edge threshold (--node-threshold, --edge-threshold) or choose another node"
            )
    return checked


def _signed_shares(edges: Edges, whole: Floats) -> Floats:
    """Each edge's weight / absolute sum of its target's whole row; `whole` (n,) of all nodes."""
    return _over(edges.weight, whole[edges.target])


def _over(part: NDArray[np.floating[Any]], whole: Floats) -> Floats:
    """part / whole, 0 where there is no whole."""
    ratio: Floats = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
    return ratio


def _k_best(n: int, steps: Edges, shares: Floats, starts: Ints, k: int) -> _Best:
    """Fill in the best paths node by node, in row order (which is topological)."""
    best = _Best(
        size=np.zeros((n, k)),
        sign=np.zeros((n, k), dtype=np.int8),
        source=np.full((n, k), -1, dtype=np.int64),
        rank=np.zeros((n, k), dtype=np.int64),
    )
    is_start = np.zeros(n, dtype=np.bool_)
    is_start[starts] = True
    best.size[starts, 0] = 1.0
    best.sign[starts, 0] = 1
    nodes, first = np.unique(steps.target, return_index=True)
    last = np.append(first, len(steps))[1:]
    for node, start, end in zip(nodes.tolist(), first.tolist(), last.tolist(), strict=True):
        _fill(best, node, steps.source[start:end], shares[start:end], bool(is_start[node]))
    return best


def _fill(best: _Best, node: int, source: NDArray[np.int32], share: Floats, start: bool) -> None:
    """Enter the best paths into one node; at a source the empty path stays the first."""
    first = 1 if start else 0
    for column, step in enumerate(_extended(best, source, share, best.size.shape[1] - first)):
        best.size[node, column + first] = step.size
        best.sign[node, column + first] = step.sign
        best.source[node, column + first] = step.source
        best.rank[node, column + first] = step.rank


def _extended(
    best: _Best, source: NDArray[np.int32], share: Floats, k: int, *, direct: bool = True
) -> list[_Step]:
    """The k best of all paths into the sources, each extended by its edge; strongest first."""
    sizes = np.abs(share)[:, None] * best.size[source]
    if not direct:
        sizes[best.source[source] < 0] = 0.0
    edge, rank = np.divmod(_largest(sizes.ravel(), k), best.size.shape[1])
    signs = np.sign(share[edge]) * best.sign[source[edge], rank]
    columns = (sizes[edge, rank], signs.astype(np.int64), source[edge], rank)
    return [_Step(*step) for step in zip(*(c.tolist() for c in columns), strict=True)]


def _largest(values: Floats, k: int) -> Ints:
    """Indices of the k largest positive values, descending, ties by index."""
    if k < 1:
        return np.empty(0, dtype=np.int64)
    candidates = np.flatnonzero(values > 0)
    if len(candidates) > k:
        least = np.partition(values[candidates], len(candidates) - k)[len(candidates) - k]
        candidates = candidates[values[candidates] >= least]
    return candidates[np.argsort(-values[candidates], kind="stable")][:k]


def _trace_back(best: _Best, end: int, step: _Step, mass: float) -> Path:
    rows = [end]
    node, rank = step.source, step.rank
    while node >= 0:
        rows.append(node)
        node, rank = int(best.source[node, rank]), int(best.rank[node, rank])
    return Path(
        rows=tuple(reversed(rows)),
        strength=step.sign * step.size,
        sign=step.sign,
        share=step.size / mass,
    )
