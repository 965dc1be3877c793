"""The k best paths against all paths of small graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Graph, NodeKind, node_name
from circuit_tracer.graphs.influence import influence
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.graphs.routes.paths import best_paths, direct_shares, path_mass
from tests.graphs.builders import graph_from_edges, random_graph
from tests.graphs.oracles import all_paths


def pairs(edges) -> set[tuple[int, int]]:  # type: ignore[no-untyped-def]
    return set(zip(edges.source.tolist(), edges.target.tolist(), strict=True))


def brute_force(graph: Graph, edges: set[tuple[int, int]], sources: list[int], target: int) -> list:
    found = [one for source in sources for one in all_paths(graph, edges, source, target)]
    return sorted(found, key=lambda one: -abs(one[1]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 3, 1000])
def test_paths_equal_brute_force_over_the_kept_graph(seed: int, k: int) -> None:
    graph = random_graph(3, 2, 3, seed, density=0.6)
    pruned = prune(graph, node_threshold=0.95)
    sources = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    found = best_paths(pruned, k=k)
    for target in graph.target_rows.tolist():
        expected = brute_force(graph, pairs(pruned.kept_edges), sources, target)[:k]
        mine = [path for path in found if path.rows[-1] == target]
        assert [path.rows for path in mine] == [rows for rows, _ in expected]
        mass = sum(abs(s) for _, s in brute_force(graph, pairs(graph.edges), sources, target))
        for path, (_, strength) in zip(mine, expected, strict=True):
            assert path.strength == pytest.approx(strength, rel=1e-9)
            assert path.sign == np.sign(strength)
            assert path.share == pytest.approx(abs(strength) / mass, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_errors_and_features_may_be_sources_and_features_targets(seed: int) -> None:
    graph = random_graph(3, 2, 3, seed, density=0.6)
    sources = [*graph.nodes.of_kind(NodeKind.ERROR)[:2], graph.nodes.of_kind(NodeKind.FEATURE)[1]]
    sources = [int(row) for row in sources]
    last_feature = int(graph.nodes.of_kind(NodeKind.FEATURE)[-1])
    targets = [last_feature, int(graph.target_rows[0])]
    found = best_paths(graph, k=500, sources=sources, targets=targets)
    for target in targets:
        expected = brute_force(graph, pairs(graph.edges), sources, target)
        mine = [path for path in found if path.rows[-1] == target]
        assert {path.rows for path in mine} == {rows for rows, _ in expected}
        assert sum(path.share for path in mine) == pytest.approx(1 if expected else 0)


def test_direct_routes_can_be_left_out() -> None:
    graph = random_graph(3, 2, 3, 1, density=0.6)
    every, longer = best_paths(graph, k=300), best_paths(graph, k=300, direct=False)
    assert longer == [path for path in every if len(path.rows) > 2]
    assert len(longer) < len(every)


def test_a_path_through_two_layers_of_negative_edges_pushes_up() -> None:
    e, f, t = NodeKind.EMBEDDING, NodeKind.FEATURE, NodeKind.LOGIT
    edges = [(0, 1, -3.0), (1, 2, -1.0), (0, 2, 3.0)]
    graph = graph_from_edges([e, f, t], [-1, 0, 1], edges)
    direct, through = best_paths(graph, k=5)
    assert (direct.rows, direct.sign, direct.strength) == ((0, 2), 1, 0.75)
    assert (through.rows, through.sign, through.strength) == ((0, 1, 2), 1, 0.25)
    assert through.share == 0.25


def test_mass_of_the_tokens_is_their_influence() -> None:
    graph = random_graph(4, 4, 5, 0)
    mass = path_mass(graph, sources=graph.nodes.of_kind(NodeKind.EMBEDDING).tolist())
    tokens = influence(graph)[graph.nodes.kind == NodeKind.EMBEDDING].sum()
    assert mass[graph.target_rows] @ graph.nodes.weight[graph.target_rows] == pytest.approx(tokens)


def test_bad_requests_are_one_sentence() -> None:
    graph = random_graph(4, 4, 6, 0)
    pruned = prune(graph, node_threshold=0.2)
    with pytest.raises(UsageError, match="at least 1"):
        best_paths(pruned, k=0)
    with pytest.raises(UsageError, match="no row"):
        best_paths(pruned, sources=[len(graph.nodes)])
    gone = int(np.flatnonzero(~pruned.node_kept)[0])
    with pytest.raises(UsageError, match=f"source {node_name(graph, gone)} was pruned away"):
        best_paths(pruned, sources=[gone])


def test_direct_shares_are_the_single_edge_paths_of_all_paths() -> None:
    graph = random_graph(n_layers=2, n_tokens=3, per_layer=3, seed=4)
    tokens = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    for target, share in zip(graph.target_rows.tolist(), direct_shares(graph), strict=True):
        paths = best_paths(graph, k=10_000, sources=tokens, targets=[target])
        single = sum(path.share for path in paths if len(path.rows) == 2)
        assert share == pytest.approx(single)
        assert 0 < share < 1


def test_a_graph_of_which_no_edge_was_kept_has_no_paths() -> None:
    pruned = prune(random_graph(seed=3), node_threshold=0.5)
    none = np.zeros_like(pruned.edge_kept)
    assert best_paths(replace(pruned, edge_kept=none), k=3) == []
