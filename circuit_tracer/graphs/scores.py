"""The scores of a graph: how much of it is explained, and how much could still be hiding.

Replacement and completeness are those of *Circuit Tracing* (Anthropic, 2025) on the unpruned graph;
the shares say where the targets' influence finally ends when every constant counts as one more
source. Source: method.md section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from circuit_tracer.graphs.graph import Floats, Graph, NodeKind
from circuit_tracer.graphs.influence import (
    add_totals,
    chunks,
    dropped_influence,
    flow,
    has_no_row,
    influence,
    ratio,
    totals,
)


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
    place where it is hidden at most one more time, with a share of errors anywhere in 0..1."""


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
        some = edges.take(part)
        add_totals(error_totals, some.take(nodes.kind[some.source] == NodeKind.ERROR))
    inverse = ratio(1.0, kept_and_dropped)
    importance = np.where(kept_and_dropped > 0, received + nodes.weight, 0.0)
    explained = float((importance * (kept_and_dropped - error_totals) * inverse).sum())
    whole = float(importance.sum())
    # One unit that is hidden below a node of layer l can pass one feature in each of the layers
    # l-1 ... 0, so it adds at most l to the importance; at a feature without a row, l + 1.
    below = np.maximum(nodes.layer, 0)
    hidden = float((importance * inverse * nodes.dropped_features * below).sum())
    hidden += float((received * (below + 1))[has_no_row(graph)].sum())
    outer = (_ratio(explained, whole + hidden), _ratio(explained + hidden, whole + hidden))
    return _ratio(explained, whole), outer


def _final_shares(graph: Graph) -> dict[str, float]:
    """Where the targets' influence ends, constants counted as sources. The values sum to 1.

    A feature with neither edges nor a constant counts as unexpanded: nothing explains it.
    """
    nodes = graph.nodes
    constant = np.nan_to_num(np.abs(nodes.constant), nan=0.0)
    with_constants = totals(graph) + constant
    arrived = nodes.weight + flow(
        [graph.edges],
        level=nodes.layer,
        target_weight=nodes.weight,
        totals=with_constants,
    )
    whole = float(nodes.weight.sum())
    passed_on = arrived * ratio(1.0, with_constants)
    sourceless = with_constants == 0
    unexplained = sourceless & np.isin(nodes.kind, (NodeKind.FEATURE, NodeKind.LOGIT))
    ends = {
        "embedding": arrived[nodes.kind == NodeKind.EMBEDDING],
        "error": arrived[nodes.kind == NodeKind.ERROR],
        "constant": arrived * constant * ratio(1.0, with_constants),
        "unexpanded": arrived[unexplained],
        "dropped": passed_on * nodes.dropped_features,
    }
    sums = {name: float(part.sum()) for name, part in ends.items()}
    sums["embedding"] += float((passed_on * nodes.dropped_embeddings).sum())
    sums["error"] += float((passed_on * nodes.dropped_errors).sum())
    return {f"{name}_share": _ratio(part, whole) for name, part in sums.items()}
