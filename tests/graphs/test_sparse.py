"""Sparse rows: which edges stay, what their sums say, and that the bounds hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.graphs.edges.strongest import strongest
from circuit_tracer.graphs.graph import Edges, Floats, Graph, NodeKind
from circuit_tracer.graphs.influence import (
    dropped_influence,
    edge_influence,
    flow,
    influence,
    totals,
)
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.graphs.routes.paths import best_paths, direct_shares, path_mass
from circuit_tracer.graphs.scores import scores
from tests.graphs.builders import graph_from_edges, random_graph, thinned
from tests.graphs.compare import assert_same_graph
from tests.graphs.oracles import (
    dense,
    influence_by_inverse,
    prune_dense,
    shares_with_constants,
    strongest_by_sorting,
    upstream_scores,
)

SHAPES = [(4, 5, 8), (1, 3, 4), (8, 6, 12), (3, 2, 30)]
CUTS = [(0.99, None), (0.8, None), (0.5, None), (1.0, 3), (0.9, 5), (0.05, 1)]


def absolute_sums(edges: Edges, n: int) -> Floats:
    """(n,) sums of the absolute weights into each node."""
    return np.bincount(edges.target, np.abs(edges.weight), n)


def rows(seed: int, dtype: type, n_columns: int = 300) -> np.ndarray:
    """Rows of every sort: heavy-tailed, equal, whole numbers, few, one, none, huge and tiny."""
    rng = np.random.default_rng(seed)
    heavy = rng.normal(size=n_columns) ** 3
    few = np.where(rng.random(n_columns) < 0.05, heavy, 0.0)
    one = np.eye(1, n_columns, int(rng.integers(n_columns)))[0]
    whole = rng.integers(-4, 5, size=n_columns).astype(float)
    tops = float(np.finfo(dtype).max) / n_columns
    ends = np.where(rng.random(n_columns) < 0.5, tops, np.finfo(dtype).tiny)
    equal = np.full(n_columns, -2.0)
    close = rng.choice([1.0, -1.03, 1.06, 1.09], size=n_columns)  # ties within one bucket
    sorts = [heavy, equal, whole, few, one, 0 * one, ends, close, -heavy * 1e-30]
    return np.stack(sorts).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mass", [1e-9, 0.3, 0.5, 0.75, 0.9, 0.999, 1.0])
def test_the_strongest_are_those_that_sorting_finds(dtype: type, mass: float) -> None:
    for seed in range(3):
        for row in rows(seed, dtype):
            size = np.abs(row)
            kept = strongest(lambda size=size: (size[:130], size[130:]), len(size), mass)
            expected = strongest_by_sorting(row.astype(np.float64), mass, len(row))
            assert set(np.flatnonzero(kept).tolist()) == expected


def test_a_share_that_is_reached_exactly_needs_no_more_and_ties_go_by_place() -> None:
    for size, expected in (([1.0, 3, 3, 3, 0, 2], [1, 2]), ([5.0, 5, 5, 5, 0, 0], [0, 1])):
        kept = strongest(lambda size=size: (np.array(size),), len(size), 0.5)
        assert np.flatnonzero(kept).tolist() == expected


def test_nothing_to_choose_from() -> None:
    assert strongest(lambda: (), 0, 0.9).shape == (0,)
    assert not strongest(lambda: (np.zeros(3),), 3, 0.9).any()


def sparse_pairs(*, unexpanded: int = 0) -> list[tuple[Graph, Graph]]:
    """Whole graphs with what is left of them when their rows are cut."""
    pairs = []
    for seed, shape in enumerate(SHAPES):
        graph = random_graph(*shape, seed=seed, dtype=np.float64, unexpanded=unexpanded)
        pairs += [(graph, thinned(graph, mass=mass, most=most)) for mass, most in CUTS]
    return pairs


def test_sparse_rows_conserve_and_keep_their_totals() -> None:
    for whole, sparse in sparse_pairs():
        nodes, edges, n = sparse.nodes, sparse.edges, len(sparse.nodes)
        assert len(edges) < len(whole.edges)
        np.testing.assert_allclose(totals(sparse), totals(whole), rtol=1e-12)
        has_row = nodes.expanded
        kept = np.bincount(edges.target, weights=edges.weight, minlength=n)
        value = kept + nodes.dropped + nodes.constant
        np.testing.assert_allclose(value[has_row], nodes.value[has_row], atol=1e-12)
        assert np.all(np.abs(nodes.dropped) <= nodes.dropped_total + 1e-12)


def test_with_nothing_dropped_nothing_changes() -> None:
    graph = random_graph(4, 5, 8, unexpanded=3)
    same = thinned(graph, mass=1.0)
    assert_same_graph(same, graph)
    found = dropped_influence(graph)
    assert (found.embeddings, found.errors, found.features) == (0, 0, 0)
    assert scores(graph).dropped_share == 0
    bare = flow([graph.edges], level=graph.nodes.layer, target_weight=graph.nodes.weight)
    np.testing.assert_array_equal(influence(graph), bare)
    np.testing.assert_array_equal(totals(graph), absolute_sums(graph.edges, len(graph.nodes)))
    everywhere = scores(thinned(random_graph(4, 5, 8), mass=1.0))
    assert everywhere.replacement_range == (everywhere.replacement, everywhere.replacement)
    assert everywhere.completeness_range == (everywhere.completeness, everywhere.completeness)


def test_stored_influence_is_a_lower_bound_and_the_true_one_within_what_is_hidden() -> None:
    for whole, sparse in sparse_pairs():
        true, stored = influence(whole), influence(sparse)
        np.testing.assert_allclose(
            true, influence_by_inverse(dense(whole), whole.nodes.weight), atol=1e-12
        )
        found = dropped_influence(sparse)
        extra = np.zeros(len(true))
        extra[whole.nodes.kind == NodeKind.EMBEDDING] = found.embeddings
        extra[whole.nodes.kind == NodeKind.ERROR] = found.errors
        assert np.all(stored <= true + 1e-12)
        assert np.all(true <= stored + found.hidden + extra + 1e-12)


def test_the_scores_of_the_whole_graph_lie_in_the_ranges() -> None:
    widths = []
    for whole, sparse in sparse_pairs():
        true, found = scores(whole), scores(sparse)
        replacement, completeness = upstream_scores(whole)
        for score, bounds in (
            (replacement, found.replacement_range),
            (completeness, found.completeness_range),
            (found.replacement, found.replacement_range),
            (found.completeness, found.completeness_range),
        ):
            assert bounds[0] - 1e-12 <= score <= bounds[1] + 1e-12
        hidden = found.dropped_share + found.unexpanded_share
        for name in ("error_share", "constant_share", "embedding_share"):
            low = getattr(found, name)
            assert low - 1e-12 <= getattr(true, name) <= low + hidden + 1e-12
        widths.append(found.replacement_range[1] - found.replacement_range[0])
    assert 0 < min(widths) < 0.05  # the bound says something


def test_ranges_hold_for_rows_that_a_budget_left_out_too() -> None:
    for seed in range(6):
        whole = random_graph(5, 5, 9, seed=seed, dtype=np.float64)
        kind, rows_left = whole.nodes.kind, np.flatnonzero(whole.nodes.kind == NodeKind.FEATURE)
        left = np.random.default_rng(seed).choice(rows_left, 12, replace=False)
        expanded = whole.nodes.expanded.copy()
        expanded[left] = False
        nan = np.where(expanded, whole.nodes.constant, np.nan)
        nodes = replace(whole.nodes, expanded=expanded, constant=nan)
        stays = ~np.isin(whole.edges.target, left)
        part = thinned(replace(whole, nodes=nodes, edges=whole.edges.take(stays)), mass=0.8)
        found = scores(part)
        replacement, completeness = upstream_scores(whole)
        assert found.replacement_range[0] <= replacement <= found.replacement_range[1]
        assert found.completeness_range[0] <= completeness <= found.completeness_range[1]
        true, stored, hidden = influence(whole), influence(part), dropped_influence(part).hidden
        features = kind == NodeKind.FEATURE
        assert np.all(stored <= true + 1e-12)
        assert np.all(true[features] <= stored[features] + hidden + 1e-12)


@pytest.mark.parametrize("unexpanded", [0, 5])
def test_the_five_shares_equal_dense_ones_and_sum_to_one(unexpanded: int) -> None:
    for _, sparse in sparse_pairs(unexpanded=unexpanded):
        found = scores(sparse)
        ends = shares_with_constants(sparse)
        for name, share in ends.items():
            assert getattr(found, f"{name}_share") == pytest.approx(share, abs=1e-12)
        assert sum(ends.values()) == pytest.approx(1, abs=1e-12)
        assert found.dropped_share > 0 or sparse.nodes.dropped_features.sum() == 0


def test_influence_of_errors_and_tokens_is_exact_where_only_they_were_dropped() -> None:
    whole = random_graph(4, 5, 8, dtype=np.float64)
    kind = whole.nodes.kind[whole.edges.source]
    stays = (kind == NodeKind.FEATURE) | (np.arange(len(kind)) % 3 == 0)
    gone = whole.edges.take(~stays)
    n = len(whole.nodes)
    sums = {}
    for name, of in (("embeddings", NodeKind.EMBEDDING), ("errors", NodeKind.ERROR)):
        some = gone.take(whole.nodes.kind[gone.source] == of)
        sums[f"dropped_{name}"] = absolute_sums(some, n)
    nodes = replace(
        whole.nodes, dropped=np.bincount(gone.target, weights=gone.weight, minlength=n), **sums
    )
    sparse = replace(whole, nodes=nodes, edges=whole.edges.take(stays))
    true, found = scores(whole), scores(sparse)
    for name in ("replacement", "completeness", "error_share", "embedding_share", "constant_share"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=1e-12)
    assert found.dropped_share == 0
    np.testing.assert_allclose(direct_shares(sparse), direct_shares(whole), rtol=1e-12)
    mass = path_mass(whole, sources=whole.nodes.of_kind(NodeKind.EMBEDDING).tolist())
    known = path_mass(sparse, sources=whole.nodes.of_kind(NodeKind.EMBEDDING).tolist())
    np.testing.assert_allclose(known, mass, rtol=1e-12)


def test_flows_along_kept_edges_and_into_dropped_ones_sum_to_what_a_node_has() -> None:
    for _, sparse in sparse_pairs():
        received, n = influence(sparse), len(sparse.nodes)
        flows = edge_influence(sparse, received)
        out = np.bincount(sparse.edges.target, weights=flows, minlength=n)
        whole = totals(sparse)
        per_unit = np.divide(received + sparse.nodes.weight, whole, where=whole > 0, out=0 * whole)
        out += per_unit * sparse.nodes.dropped_total
        has_row = whole > 0
        expected = (received + sparse.nodes.weight)[has_row]
        np.testing.assert_allclose(out[has_row], expected, atol=1e-12)
        which = np.flatnonzero(np.arange(len(flows)) % 3 == 1)
        np.testing.assert_array_equal(edge_influence(sparse, received, which), flows[which])


def test_a_route_is_as_strong_in_a_sparse_graph() -> None:
    whole = random_graph(4, 5, 8, dtype=np.float64)
    sparse = thinned(whole, mass=0.7)
    strengths = {path.rows: path.strength for path in best_paths(whole, k=10**4)}
    found = best_paths(sparse, k=20)
    assert len(found) > 10
    for path in found:
        assert path.strength == pytest.approx(strengths[path.rows], rel=1e-12)


def test_pruning_a_sparse_graph_takes_whole_rows_for_nodes_and_kept_edges_for_edges() -> None:
    for _, sparse in sparse_pairs(unexpanded=2):
        pruned = prune(sparse, node_threshold=0.8, edge_threshold=0.9)
        n = len(sparse.nodes)
        wide = np.zeros((n + 1, n + 1))
        wide[:n, :n] = dense(sparse)
        wide[:n, n] = sparse.nodes.dropped_total
        expected = influence_by_inverse(wide, np.append(sparse.nodes.weight, 0))[:n]
        np.testing.assert_allclose(pruned.influence, expected, atol=1e-12)
        for row in np.flatnonzero(pruned.node_kept & (sparse.nodes.kind == NodeKind.FEATURE)):
            assert row in pruned.kept_edges.target
            assert row in pruned.kept_edges.source


@pytest.mark.parametrize("edge_threshold", [0.3, 0.9, 1])
def test_edges_are_pruned_by_their_share_of_what_is_stored(edge_threshold: float) -> None:
    for _, sparse in sparse_pairs()[:12]:
        nodes, edges = prune_dense(sparse, 1, edge_threshold)
        pruned = prune(sparse, node_threshold=1, edge_threshold=edge_threshold)
        assert set(pruned.kept_rows.tolist()) == nodes
        kept = pruned.kept_edges
        assert set(zip(kept.source.tolist(), kept.target.tolist(), strict=True)) == edges


def test_a_feature_without_a_row_may_be_all_error() -> None:
    e, f, r, t = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.ERROR, NodeKind.LOGIT
    kinds, layers = [e, r, f, t], [-1, 0, 1, 2]
    whole = graph_from_edges(kinds, layers, [(1, 2, 1.0), (2, 3, 1.0)])
    expanded = np.array([False, False, False, True])
    part = replace(
        whole, nodes=replace(whole.nodes, expanded=expanded), edges=whole.edges.take(np.array([1]))
    )
    found = scores(part)
    assert (found.replacement, found.replacement_range) == (0, (0, 1))
    assert found.completeness == 1
    # The feature, of importance 1, and at most one more in the layer below may be all error.
    assert found.completeness_range == (1 / 3, 1)
    assert scores(whole).completeness == 1 / 2
