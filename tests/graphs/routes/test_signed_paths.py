"""Paths of one sign and path masses by sign, against all paths of small graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, best_paths, prune
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import path_mass, restricted, signed_mass
from tests.graphs.builders import random_graph
from tests.graphs.oracles import all_paths


def tokens_of(graph: Graph) -> list[int]:
    return [int(row) for row in graph.nodes.of_kind(NodeKind.EMBEDDING)]


def every_path(graph: Graph, target: int, kept=None):  # type: ignore[no-untyped-def]
    edges = graph.edges if kept is None else graph.edges.take(np.flatnonzero(kept))
    pairs = set(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    return [one for token in tokens_of(graph) for one in all_paths(graph, pairs, token, target)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("k", [1, 4, 1000])
def test_the_best_of_one_sign_are_those_of_brute_force(seed: int, sign: Sign, k: int) -> None:
    graph = random_graph(3, 2, 3, seed, density=0.6)
    pruned = prune(graph, node_threshold=0.95)
    wanted = 1 if sign == "+" else -1
    found = best_paths(pruned, k=k, sign=sign)
    for target in graph.target_rows.tolist():
        mass = sum(abs(s) for _, s in every_path(graph, target))
        kept = every_path(graph, target, pruned.edge_kept)
        expected = sorted((p for p in kept if p[1] * wanted > 0), key=lambda p: -abs(p[1]))[:k]
        mine = [path for path in found if path.rows[-1] == target]
        assert [path.rows for path in mine] == [rows for rows, _ in expected]
        for path, (_, strength) in zip(mine, expected, strict=True):
            assert path.strength == pytest.approx(strength, rel=1e-9)
            assert path.sign == wanted
            assert path.share == pytest.approx(abs(strength) / mass, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_up_and_down_together_are_all_paths(seed: int) -> None:
    graph = random_graph(3, 3, 3, seed, density=0.6)
    every = best_paths(graph, k=5000, direct=False)
    signed = [best_paths(graph, k=5000, direct=False, sign=sign) for sign in ("+", "-")]
    assert {p.rows for p in every} == {p.rows for one in signed for p in one}
    assert all(len(p.rows) > 2 for one in signed for p in one)


@pytest.mark.parametrize("seed", range(5))
def test_signed_masses_are_the_sums_over_all_paths(seed: int) -> None:
    graph = random_graph(3, 2, 3, seed, density=0.6)
    mass = signed_mass(graph, sources=tokens_of(graph))
    for target in graph.target_rows.tolist():
        strengths = [strength for _, strength in every_path(graph, target)]
        assert mass.up[target] == pytest.approx(sum(s for s in strengths if s > 0))
        assert mass.down[target] == pytest.approx(-sum(s for s in strengths if s < 0))
    assert not mass.unsigned.any()
    assert mass.total == pytest.approx(path_mass(graph, sources=tokens_of(graph)))


def test_mass_by_edges_that_were_not_kept_has_no_sign() -> None:
    graph = random_graph(3, 3, 4, 2)
    dropped = np.where(graph.nodes.expanded, 0.5, 0.0)
    graph = replace(graph, nodes=replace(graph.nodes, dropped_embeddings=dropped))
    mass = signed_mass(graph, sources=tokens_of(graph))
    assert np.all(mass.unsigned[graph.target_rows] > 0)
    assert mass.total == pytest.approx(path_mass(graph, sources=tokens_of(graph)))
    some = signed_mass(graph, sources=tokens_of(graph)[:1])
    assert not some.unsigned.any()


def test_a_restricted_graph_keeps_the_strength_of_its_paths() -> None:
    graph = random_graph(3, 2, 3, 1, density=0.6)
    pruned = prune(graph, node_threshold=0.8)
    inner = restricted(graph, np.flatnonzero(pruned.edge_kept))
    assert {(p.rows, round(p.strength, 12)) for p in best_paths(inner, k=1000)} == {
        (p.rows, round(p.strength, 12)) for p in best_paths(pruned, k=1000)
    }
    for target in graph.target_rows.tolist():
        kept = sum(abs(s) for _, s in every_path(graph, target, pruned.edge_kept))
        assert path_mass(inner, sources=tokens_of(graph))[target] == pytest.approx(kept)


def test_another_sign_is_refused() -> None:
    plain = getattr(best_paths, "__wrapped__", best_paths)  # past the check of types
    with pytest.raises(UsageError, match="give one of any"):
        plain(random_graph(), sign="up")
