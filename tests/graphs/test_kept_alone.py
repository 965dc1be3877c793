"""The kept part of a graph alone: whole rows, from sums that are checked edge by edge."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.graphs import NodeKind, best_paths, prune
from circuit_tracer.graphs.influence import totals
from tests.graphs.builders import random_graph


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_as_whole_as_before(seed: int) -> None:
    whole = prune(random_graph(seed=seed, per_layer=8), node_threshold=0.6, edge_threshold=0.7)
    alone = whole.kept_alone()
    rows, nodes = whole.kept_rows, alone.graph.nodes
    assert 0 < len(nodes) < len(whole.graph.nodes)
    assert alone.node_kept.all()
    assert alone.edge_kept.all()
    np.testing.assert_allclose(totals(alone.graph), totals(whole.graph)[rows], rtol=1e-12)
    received = np.bincount(
        alone.graph.edges.target, weights=alone.graph.edges.weight, minlength=len(nodes)
    )
    value = received + nodes.dropped + nodes.constant
    np.testing.assert_array_equal(alone.cumulative, whole.cumulative[rows])
    has_row = ~np.isnan(nodes.value)
    np.testing.assert_allclose(value[has_row], nodes.value[has_row], rtol=1e-6)


def test_each_sum_is_that_of_the_edges_of_its_kind() -> None:
    whole = prune(random_graph(per_layer=8), node_threshold=0.6, edge_threshold=0.7)
    alone, edges, kind = whole.kept_alone(), whole.graph.edges, whole.graph.nodes.kind
    new = {int(row): i for i, row in enumerate(whole.kept_rows)}
    sums = np.zeros((len(new), 4))
    for source, target, weight, kept in zip(
        edges.source, edges.target, edges.weight, whole.edge_kept, strict=True
    ):
        if kept or int(target) not in new:
            continue
        column = {NodeKind.EMBEDDING: 1, NodeKind.ERROR: 2, NodeKind.FEATURE: 3}[kind[source]]
        sums[new[int(target)], 0] += weight
        sums[new[int(target)], column] += abs(weight)
    nodes = alone.graph.nodes
    found = (
        nodes.dropped,
        nodes.dropped_embeddings,
        nodes.dropped_errors,
        nodes.dropped_features,
    )
    np.testing.assert_allclose(np.stack(found, axis=1), sums, rtol=1e-6, atol=1e-12)


def test_routes_keep_their_strengths() -> None:
    whole = prune(random_graph(per_layer=8), node_threshold=0.6, edge_threshold=0.7)
    ours, before = best_paths(whole.kept_alone(), k=4), best_paths(whole, k=4)
    row_of = np.cumsum(whole.node_kept) - 1
    assert [path.rows for path in ours] == [tuple(row_of[list(p.rows)]) for p in before]
    assert [p.strength for p in ours] == pytest.approx([p.strength for p in before])
