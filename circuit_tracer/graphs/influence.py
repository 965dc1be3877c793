"""Influence of nodes on the targets, and the scores that follow from it (method.md 5).

Let A be the (target, source) matrix of edge weights and N = |A| with each row divided by its sum.
The influence of all nodes on the targets is w (N + N^2 + ...), w the targets' weights. N is
nilpotent because edges only go up in layers, so the series is one back-substitution: walk the
levels from the top down, and let every node hand what it received on to its sources.
(*Circuit Tracing*, Anthropic 2025, appendix "Graph pruning".)

A row's sum is that of all its edges, also of those that were not kept (graph.py), so what flows
along a kept edge is never overstated. What flows into edges that were not kept ends there: for
embeddings and errors, whose influence goes no further, it is known in sum; for features it is not
known where it would have gone on to, and every result says by how much that matters (`Dropped`).

`flow` and `flow_in_parts` work on bare arrays, for graphs that are still growing; the other
functions on a `Graph`. Edges may lie on disk (`np.memmap`): nothing is read but in slices of
`CHUNK` edges, and edges that are sorted by target are sorted by level already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.graph import Bools, Edges, Floats, Graph, NodeKind

IntColumn = NDArray[np.integer[Any]]
FloatColumn = NDArray[np.floating[Any]]

CHUNK = 1 << 22
"""Edges looked at at a time: some 100 MiB of columns in float64."""


@dataclass(frozen=True)
class Scores:
    """How much of the graph is explained, computed on the unpruned graph. All in 0..1.

    The five `..._share` fields sum to 1: they say where the targets' influence finally ends when
    each constant is counted as one more source of its node.

    `hidden` = `dropped_share` + `unexpanded_share` bounds what is not known: had every edge been
    kept and every feature a row, `error_share`, `constant_share` and `embedding_share` would each
    be at least what they are and at most that plus `hidden`, and no feature's influence (constants
    counted) could be higher by more than `hidden`. `dropped_share` alone bounds what keeping every
    edge of the same rows would change. The two ranges bound the other two scores likewise.
    """

    replacement: float
    """Influence of embeddings / (embeddings + errors)."""
    completeness: float
    """Influence-weighted share of the nodes' (absolute) input that does not come from errors."""
    error_share: float
    """Share of the targets' influence that ends in errors, the constant counted as a source."""
    constant_share: float
    """Share that ends in the constant terms."""
    unexpanded_share: float
    """Share that ends in features without a row: what could still be hiding (0 if all have one)."""
    embedding_share: float = 0.0
    """Share that ends in embeddings: what is traced all the way down to the prompt."""
    dropped_share: float = 0.0
    """Share that ends in edges from features that were not kept (0 if all were)."""
    replacement_range: tuple[float, float] = (0.0, 1.0)
    """Between which `replacement` of the whole graph lies (no edge dropped, no feature without a
    row). With e and r the influence of embeddings and errors and h the hidden one, which ends in
    either or in nothing: e / (e + r + h) to (e + h) / (e + r + h)."""
    completeness_range: tuple[float, float] = (0.0, 1.0)
    """The same for `completeness`: hidden influence would weight each layer of features below the
    place where it is hidden at most once more, with a share of errors anywhere in 0..1."""


class Dropped(NamedTuple):
    """Influence that does not go into a stored edge's source; constants not counted as sources.

    The true influence of a node is at least the stored one. It is at most that plus `hidden` for a
    feature; for an embedding plus `hidden` and `embeddings`, for an error plus `hidden` and
    `errors`, because it is not known which of them the sums belong to.
    """

    embeddings: float
    """What goes into edges from embeddings that were not kept, and ends there."""
    errors: float
    """What goes into edges from errors that were not kept, and ends there."""
    features: float
    """What goes into edges from features that were not kept, and where it would go on from there is
    not known."""
    unexpanded: float
    """What arrives at features that have no row."""

    @property
    def hidden(self) -> float:
        """What could end anywhere."""
        return self.features + self.unexpanded


class Part(NamedTuple):
    """Some of a graph's edges, with whole rows or not: the columns of `Edges`."""

    source: IntColumn
    target: IntColumn
    weight: FloatColumn

    def take(self, which: slice | IntColumn | Bools) -> Part:
        """Some of them."""
        return Part(self.source[which], self.target[which], self.weight[which])


def row_totals(target: IntColumn, weight: FloatColumn, n: int) -> Floats:
    """(n,) sum of the absolute weights of the given edges that come into each node.

    Of a graph's rows as they were computed, `totals` has the sums.
    """
    totals = np.zeros(n)
    _add_totals(totals, target, weight)
    return totals


def _add_totals(totals: Floats, target: IntColumn, weight: FloatColumn) -> None:
    for part in chunks(0, len(target)):
        arriving = np.bincount(target[part], weights=np.abs(weight[part]))
        totals[: len(arriving)] += arriving


def chunks(start: int, end: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` that make up start:end, from the front."""
    return (slice(i, min(i + CHUNK, end)) for i in range(start, end, CHUNK))


def totals(graph: Graph) -> Floats:
    """(n,) absolute sum of all incoming edges of each node, kept or not."""
    edges = graph.edges
    kept = row_totals(edges.target, edges.weight, len(graph.nodes))
    return kept + graph.nodes.dropped_total


def _inverse(totals: Floats) -> Floats:
    """1 / totals, and 0 where the total is 0: such rows pass nothing on."""
    return np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)


def flow(
    source: IntColumn,
    target: IntColumn,
    weight: FloatColumn,
    *,
    level: IntColumn,
    target_weight: Floats,
    totals: Floats | None = None,
) -> Floats:
    """(n,) influence that each node receives from the targets through the given edges.

    `source`, `target`, `weight` are the (m,) edges in any order, weights signed or absolute;
    `level` (n,) rises strictly along every edge (the layer: -1 embeddings, L targets);
    `target_weight` (n,) is what starts at each node. `totals` (n,) divides each row and is its
    absolute sum if not given; larger totals let the difference end at the node.
    Nodes without incoming edges pass nothing on. Raises ValueError if an edge does not go up.
    """
    part = Part(source, target, weight)
    return flow_in_parts([part], level=level, target_weight=target_weight, totals=totals)


def flow_in_parts(
    parts: Sequence[Part],
    *,
    level: IntColumn,
    target_weight: Floats,
    totals: Floats | None = None,
    renumbered: IntColumn | None = None,
) -> Floats:
    """`flow` through edges that lie in several places, such as those of `EdgeStore.unsorted`.

    With `renumbered` the parts number the nodes in another way, and it gives the row (of n) of
    each number that occurs in them. A part whose targets rise in level is read where it lies; of
    another a sorted copy is made.
    """
    n = len(target_weight)
    rows = np.arange(n) if renumbered is None else renumbered
    if totals is None:
        of_numbers = np.zeros(len(rows))
        for part in parts:
            _add_totals(of_numbers, part.target, part.weight)
        totals = np.zeros(n)
        np.add.at(totals, rows, of_numbers)
    levels, rank = np.unique(level, return_inverse=True)
    rank_of = rank[rows]
    ordered = [_by_level(part, rank_of) for part in parts]
    bounds = [_bounds(part.target, rank_of, len(levels)) for part in ordered]
    inverse = _inverse(totals)
    received = np.zeros(n)
    for step in range(len(levels))[::-1]:
        passed_on = (received + target_weight) * inverse
        for part, bound in zip(ordered, bounds, strict=True):
            for piece in chunks(int(bound[step]), int(bound[step + 1])):
                some = part.take(piece)
                if renumbered is not None:
                    some = some._replace(source=rows[some.source], target=rows[some.target])
                _hand_down(received, passed_on, some)
    return received


def _hand_down(received: Floats, passed_on: Floats, part: Part) -> None:
    shares = passed_on[part.target]
    shares *= np.abs(part.weight)
    handed = np.bincount(part.source, weights=shares)
    received[: len(handed)] += handed


def _by_level(part: Part, level: IntColumn) -> Part:
    """The edges in the order of their targets' levels. ValueError if one does not go up."""
    in_order, highest = True, -1
    for piece in chunks(0, len(part.target)):
        reached = level[part.target[piece]]
        if np.any(level[part.source[piece]] >= reached):
            raise ValueError("every edge must go from a lower to a higher level")
        in_order &= bool(reached[0] >= highest) and not np.any(reached[1:] < reached[:-1])
        highest = int(reached[-1])
    return part if in_order else part.take(np.argsort(level[part.target], kind="stable"))


def _bounds(target: IntColumn, level: IntColumn, n_levels: int) -> NDArray[np.int64]:
    """(n_levels + 1,) where each level's edges begin in a part that is in their order."""
    counts = np.zeros(n_levels + 1, dtype=np.int64)
    for piece in chunks(0, len(target)):
        counts[1:] += np.bincount(level[target[piece]], minlength=n_levels)
    return np.cumsum(counts)


def influence(graph: Graph) -> Floats:
    """(n,) influence of each node on the targets, directly and through others; targets 0.

    The weights of the targets sum to 1, so an influence is the share of the targets' absolute
    input that passes through a node. Features without a row receive but pass nothing on, and
    edges that were not kept carry nothing to anyone: `dropped_influence` says how much that is.
    """
    edges = graph.edges
    return flow(
        edges.source,
        edges.target,
        edges.weight,
        level=graph.nodes.layer,
        target_weight=graph.nodes.weight,
        totals=totals(graph),
    )


def edge_influence(
    graph: Graph, node_influence: Floats | None = None, which: NDArray[np.int64] | None = None
) -> Floats:
    """(m,) influence that flows along each edge: its share of what its target hands down.

    The incoming flows of a node, those of edges not kept included, sum to its influence (plus its
    weight, for a target). `node_influence` is `influence(graph)`, computed if not given. With
    `which` the flows of those edges alone, in that order.
    """
    passed_on = handed_down(graph, node_influence)
    edges = graph.edges
    if which is not None:
        return edge_flows(edges, passed_on, which)
    flows = np.empty(len(edges))
    for part in chunks(0, len(edges)):
        flows[part] = edge_flows(edges, passed_on, part)
    return flows


def handed_down(graph: Graph, node_influence: Floats | None = None) -> Floats:
    """(n,) influence that each node hands to its sources for each unit of |weight|."""
    received = influence(graph) if node_influence is None else node_influence
    passed_on: Floats = (received + graph.nodes.weight) * _inverse(totals(graph))
    return passed_on


def edge_flows(edges: Edges, passed_on: Floats, which: slice | NDArray[np.int64]) -> Floats:
    """Influence along some of the edges; `passed_on` is `handed_down(graph)`."""
    flows: Floats = passed_on[edges.target[which]]
    flows *= np.abs(edges.weight[which])
    return flows


def edge_shares(graph: Graph, which: NDArray[np.int64]) -> Floats:
    """(len(which),) |weight| of some edges over the absolute sum of their targets' whole rows."""
    edges = graph.edges
    size = np.abs(edges.weight[which].astype(np.float64))
    whole = totals(graph)[edges.target[which]]
    shares: Floats = np.divide(size, whole, out=np.zeros_like(size), where=whole > 0)
    return shares


def dropped_influence(graph: Graph, node_influence: Floats | None = None) -> Dropped:
    """The influence that the stored edges do not carry, and with it what they bound."""
    received = influence(graph) if node_influence is None else node_influence
    nodes = graph.nodes
    passed_on = handed_down(graph, received)
    return Dropped(
        embeddings=float((passed_on * nodes.dropped_embeddings).sum()),
        errors=float((passed_on * nodes.dropped_errors).sum()),
        features=float((passed_on * nodes.dropped_features).sum()),
        unexpanded=float(received[_has_no_row(graph)].sum()),
    )


def _has_no_row(graph: Graph) -> Bools:
    no_row: Bools = (graph.nodes.kind == NodeKind.FEATURE) & ~graph.nodes.expanded
    return no_row


def cumulative_influence(node_influence: Floats, ranked: Bools | None = None) -> Floats:
    """(n,) cumulative share of influence down to and including each node, from the strongest.

    Lower is more important: this is the `influence` of the exchanged graph JSON, and a node
    threshold of 0.8 keeps the nodes up to the first that reaches 0.8. Ties go by row. Nodes
    outside `ranked` (default: all are ranked) get 0.
    """
    rows = np.arange(len(node_influence)) if ranked is None else np.flatnonzero(ranked)
    order = rows[np.argsort(-node_influence[rows], kind="stable")]
    running = np.cumsum(node_influence[order])
    shares = np.zeros(len(node_influence))
    if len(running) and running[-1] > 0:
        shares[order] = running / running[-1]
    return shares


def scores(graph: Graph, node_influence: Floats | None = None) -> Scores:
    """The scores of a whole graph; see `Scores`.

    Completeness is Anthropic's: every node that has inputs (features with a row, weighted by
    their influence; targets, by their weight) counts with the share of its absolute input that
    does not come from errors. Nodes that have no inputs (embeddings, errors, features without a
    row) do not count; upstream counts each of them as fully complete, which flatters.
    Where nothing can be divided (no influence ends in a token or error) a score is 0.
    """
    received = influence(graph) if node_influence is None else node_influence
    embeddings, errors = (
        float(received[graph.nodes.of_kind(kind)].sum())
        for kind in (NodeKind.EMBEDDING, NodeKind.ERROR)
    )
    dropped = dropped_influence(graph, received)
    embeddings += dropped.embeddings
    errors += dropped.errors
    hidden = dropped.hidden
    whole = embeddings + errors + hidden
    completeness, completeness_range = _completeness(graph, received)
    return Scores(
        replacement=_ratio(embeddings, embeddings + errors),
        completeness=completeness,
        **_final_shares(graph),
        replacement_range=(_ratio(embeddings, whole), _ratio(embeddings + hidden, whole)),
        completeness_range=completeness_range,
    )


def _ratio(part: float, whole: float) -> float:
    """part / whole, rounding kept out of the ends of 0..1; 0 if there is no whole."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0


def _completeness(graph: Graph, received: Floats) -> tuple[float, tuple[float, float]]:
    """The score and its range."""
    nodes, edges = graph.nodes, graph.edges
    kept_and_dropped = totals(graph)
    error_totals = nodes.dropped_errors.copy()
    for part in chunks(0, len(edges)):
        from_error = nodes.kind[edges.source[part]] == NodeKind.ERROR
        _add_totals(error_totals, edges.target[part][from_error], edges.weight[part][from_error])
    inverse = _inverse(kept_and_dropped)
    importance = np.where(kept_and_dropped > 0, received + nodes.weight, 0.0)
    explained = float((importance * (kept_and_dropped - error_totals) * inverse).sum())
    whole = float(importance.sum())
    # One unit that is hidden below a node of layer l can pass one feature in each of the layers
    # l-1 ... 0, so it adds at most l to the importance; at a feature without a row, l + 1.
    below = np.maximum(nodes.layer, 0)
    hidden = float((importance * inverse * nodes.dropped_features * below).sum())
    hidden += float((received * (below + 1))[_has_no_row(graph)].sum())
    outer = (_ratio(explained, whole + hidden), _ratio(explained + hidden, whole + hidden))
    return _ratio(explained, whole), outer


def _final_shares(graph: Graph) -> dict[str, float]:
    """Where the targets' influence ends, constants counted as sources. The values sum to 1.

    A feature with neither edges nor a constant counts as unexpanded: nothing explains it.
    """
    nodes, edges = graph.nodes, graph.edges
    constant = np.nan_to_num(np.abs(nodes.constant), nan=0.0)
    with_constants = totals(graph) + constant
    arrived = nodes.weight + flow(
        edges.source,
        edges.target,
        edges.weight,
        level=nodes.layer,
        target_weight=nodes.weight,
        totals=with_constants,
    )
    whole = float(nodes.weight.sum())
    passed_on = arrived * _inverse(with_constants)
    sourceless = with_constants == 0
    unexplained = sourceless & np.isin(nodes.kind, (NodeKind.FEATURE, NodeKind.LOGIT))
    ends = {
        "embedding": arrived[nodes.kind == NodeKind.EMBEDDING],
        "error": arrived[nodes.kind == NodeKind.ERROR],
        "constant": arrived * constant * _inverse(with_constants),
        "unexpanded": arrived[unexplained],
        "dropped": passed_on * nodes.dropped_features,
    }
    sums = {name: float(part.sum()) for name, part in ends.items()}
    sums["embedding"] += float((passed_on * nodes.dropped_embeddings).sum())
    sums["error"] += float((passed_on * nodes.dropped_errors).sum())
    return {f"{name}_share": _ratio(part, whole) for name, part in sums.items()}
