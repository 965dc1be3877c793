"""Routes through features and heads against all of them, on small graphs split at random."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise, product

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, best_paths, prune
from circuit_tracer.graphs.influence import edge_flows, handed_down, totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.head_paths import (
    HeadParts,
    Hop,
    Way,
    best_head_paths,
    unfollowed_share,
)
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import path_mass
from tests.graphs.builders import graph_from_edges, random_graph
from tests.graphs.loadings import ways_of


def random_parts(pruned: PrunedGraph, seed: int = 0, *, rest: float = 0.5) -> HeadParts:
    """Every kept edge as up to three ways of either sign and a rest, sums exact."""
    rng = np.random.default_rng(seed)
    edges, rows = pruned.kept_edges, []
    for source, target, weight in zip(edges.source, edges.target, edges.weight, strict=True):
        parts = rng.normal(size=int(rng.integers(0, 4)))
        left = float(weight) - parts.sum()
        shares = [*parts.tolist(), left * (1 - rest), left * rest]
        hops = rng.integers(0, 4, (len(shares), 2, 4))
        ways: list[Way | None] = [
            tuple(Hop(*hop) for hop in one[: i % 3].tolist()) for i, one in enumerate(hops)
        ]
        rows += [(source, target, s, w) for s, w in zip(shares, [*ways[:-1], None], strict=True)]
    return HeadParts(
        source=np.array([row[0] for row in rows], dtype=np.int32),
        target=np.array([row[1] for row in rows], dtype=np.int32),
        weight=np.array([row[2] for row in rows], dtype=np.float64),
        ways=tuple(row[3] for row in rows),
    )


def every_route(
    pruned: PrunedGraph, parts: HeadParts
) -> list[tuple[tuple[int, ...], tuple[Way, ...], float]]:
    """All paths of kept edges from a token to a target, each with all choices of ways."""
    graph, whole = pruned.graph, totals(pruned.graph)
    out_of = defaultdict(list)
    for source, target in zip(
        pruned.kept_edges.source.tolist(), pruned.kept_edges.target.tolist(), strict=True
    ):
        out_of[source].append(target)
    found = []

    def walk(rows: tuple[int, ...]) -> None:
        if len(rows) > 1 and graph.nodes.kind[rows[-1]] == NodeKind.LOGIT:
            choices = [
                [(w, x / whole[t]) for w, x in ways_of(parts, s, t) if w is not None]
                for s, t in pairwise(rows)
            ]
            for chosen in product(*choices):
                strength = float(np.prod([share for _, share in chosen]))
                found.append((rows, tuple(way for way, _ in chosen), strength))
        for target in out_of[rows[-1]]:
            walk((*rows, target))

    for token in graph.nodes.of_kind(NodeKind.EMBEDDING).tolist():
        walk((token,))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sign", ["any", "+", "-"])
@pytest.mark.parametrize("k", [1, 7, 20_000])
def test_the_best_are_those_of_brute_force(seed: int, sign: Sign, k: int) -> None:
    pruned = prune(random_graph(3, 2, 3, seed, np.float64, density=0.6), node_threshold=1.0)
    parts = random_parts(pruned, seed)
    found = best_head_paths(pruned, parts, k=k, sign=sign)
    tokens = pruned.graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    mass = path_mass(pruned.graph, sources=tokens)
    every = every_route(pruned, parts)
    assert len(every) > 50
    for target in pruned.graph.target_rows.tolist():
        wanted = [
            one
            for one in every
            if one[0][-1] == target and (sign == "any" or (one[2] > 0) == (sign == "+"))
        ]
        wanted.sort(key=lambda one: -abs(one[2]))
        mine = [path for path in found if path.rows[-1] == target]
        assert len(mine) == min(k, len(wanted))
        for path, (rows, ways, strength) in zip(mine, wanted, strict=False):
            assert (path.rows, path.ways) == (rows, ways)
            assert path.strength == pytest.approx(strength, rel=1e-9)
            assert path.sign == np.sign(strength)
            assert path.share == pytest.approx(abs(strength) / mass[target], rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_all_ways_along_a_path_sum_to_it(seed: int) -> None:
    pruned = prune(random_graph(3, 2, 3, seed, np.float64, density=0.5), node_threshold=0.9)
    parts = random_parts(pruned, seed, rest=0.0)
    ways = best_head_paths(pruned, parts, k=100_000)
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    shares: dict[tuple[int, ...], float] = defaultdict(float)
    for way in ways:
        sums[way.rows] += way.strength
        shares[way.rows] += way.path_share
    paths = best_paths(pruned, k=100_000)
    assert {path.rows for path in paths} == set(sums)
    for path in paths:
        assert sums[path.rows] == pytest.approx(path.strength, abs=1e-12)
        assert shares[path.rows] == pytest.approx(1, abs=1e-6)


def test_one_way_can_be_stronger_than_its_edge_and_work_against_it() -> None:
    e, t = NodeKind.EMBEDDING, NodeKind.LOGIT
    graph = graph_from_edges([e, e, t], [-1, -1, 0], [(0, 2, 1.0), (1, 2, 3.0)])
    pruned = prune(graph, node_threshold=1.0, edge_threshold=1.0)
    hop = Hop(0, 1, 0, 1)
    parts = HeadParts(
        source=np.array([0, 0, 0, 1, 1], dtype=np.int32),
        target=np.array([2, 2, 2, 2, 2], dtype=np.int32),
        weight=np.array([5.0, -4.5, 0.5, 3.0, 0.0]),
        ways=((hop,), (), None, (), None),
    )
    first, second, third = best_head_paths(pruned, parts, k=5)
    assert (first.rows, first.ways, first.strength) == ((0, 2), ((hop,),), 1.25)
    assert (second.strength, second.path_share) == (-1.125, -4.5)
    assert (third.rows, third.share) == ((1, 2), 0.75)
    assert [path.rows for path in best_head_paths(pruned, parts, sign="-")] == [(0, 2)]
    assert unfollowed_share(pruned, parts) == pytest.approx(0.5 / 4)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_followed_is_reported_as_influence(seed: int) -> None:
    pruned = prune(random_graph(3, 3, 4, seed, np.float64))
    parts = random_parts(pruned, seed)
    flows = edge_flows(pruned.kept_edges, handed_down(pruned.graph, pruned.influence), slice(None))
    edges = pruned.kept_edges
    left = sum(
        flow * abs(dict(ways_of(parts, s, t))[None] / w)
        for flow, s, t, w in zip(
            flows, edges.source.tolist(), edges.target.tolist(), edges.weight, strict=True
        )
    )
    assert unfollowed_share(pruned, parts) == pytest.approx(min(left / flows.sum(), 1.0))
    none = HeadParts(parts.source[:0], parts.target[:0], parts.weight[:0], ())
    assert unfollowed_share(pruned, none) == 1.0
    assert best_head_paths(pruned, none) == []


def test_bad_requests_are_one_sentence() -> None:
    pruned = prune(random_graph(4, 4, 6, 0))
    parts = random_parts(pruned)
    with pytest.raises(UsageError, match="at least 1"):
        best_head_paths(pruned, parts, k=0)
    with pytest.raises(UsageError, match="at most 100,000"):
        best_head_paths(pruned, parts, k=999_999)
    with pytest.raises(UsageError, match="at most 100,000"):
        best_paths(pruned, k=999_999)
    with pytest.raises(UsageError, match="no row"):
        best_head_paths(pruned, parts, targets=[10_000])
