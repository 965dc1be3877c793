"""Edges and routes between groups, against sums over all their members and member paths."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import NodeKind, PrunedGraph, prune
from circuit_tracer.graphs.influence import edge_influence, totals
from circuit_tracer.graphs.supernodes.graph import group_paths, supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode, feature_rows
from tests.graphs.builders import random_graph
from tests.graphs.oracles import all_paths


def grouped(seed: int) -> tuple[PrunedGraph, list[Supernode]]:
    pruned = prune(random_graph(3, 2, 4, seed, density=0.7), node_threshold=0.97)
    rows = np.random.default_rng(seed).permutation(feature_rows(pruned))
    parts = [sorted(part.tolist()) for part in np.array_split(rows, 3) if len(part)]
    return pruned, [Supernode(f"g{i}", tuple(part)) for i, part in enumerate(parts)]


@pytest.mark.parametrize("seed", range(4))
def test_edges_sum_their_members(seed: int) -> None:
    pruned, groups = grouped(seed)
    whole = supernode_graph(pruned, groups)
    graph, edges = pruned.graph, pruned.kept_edges
    into = totals(graph)
    flows = edge_influence(graph, pruned.influence, np.flatnonzero(pruned.edge_kept))
    matters = pruned.influence + graph.nodes.weight
    weight: dict = defaultdict(float)
    share: dict = defaultdict(float)
    flow: dict = defaultdict(float)
    for s, t, w, f in zip(edges.source, edges.target, edges.weight, flows, strict=True):
        pair = int(whole.of_row[s]), int(whole.of_row[t])
        members = [r for r in whole.nodes[pair[1]].rows if pruned.node_kept[r]]
        weight[pair] += float(w)
        share[pair] += float(w / into[t] * matters[t] / matters[members].sum())
        flow[pair] += float(f)
    assert {(e.source, e.target) for e in whole.edges} == {p for p in weight if p[0] != p[1]}
    for edge in whole.edges:
        pair = edge.source, edge.target
        assert edge.weight == pytest.approx(weight[pair], abs=1e-9)
        assert edge.share == pytest.approx(share[pair], abs=1e-9)
        assert edge.influence == pytest.approx(flow[pair])
    flowing = [edge.influence for edge in whole.edges]
    assert flowing == sorted(flowing, reverse=True)
    assert all(abs(edge.share) <= 1 + 1e-9 for edge in whole.edges)


@pytest.mark.parametrize("seed", range(4))
def test_routes_between_groups_sum_all_member_paths(seed: int) -> None:
    pruned, groups = grouped(seed)
    whole = supernode_graph(pruned, groups)
    graph, kept = pruned.graph, pruned.kept_edges
    pairs = set(zip(kept.source.tolist(), kept.target.tolist(), strict=True))
    every = set(zip(graph.edges.source.tolist(), graph.edges.target.tolist(), strict=True))
    found = group_paths(pruned, whole, k=10_000, candidates=10_000)
    tokens = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    for target in graph.target_rows.tolist():
        sums: dict = defaultdict(lambda: [0.0, 0.0])
        for token in tokens:
            for rows, strength in all_paths(graph, pairs, token, target):
                blocks = [int(whole.of_row[row]) for row in rows]
                walk = tuple(b for i, b in enumerate(blocks) if not i or b != blocks[i - 1])
                sums[walk][strength < 0] += abs(strength)
        mass = sum(abs(s) for token in tokens for _, s in all_paths(graph, every, token, target))
        mine = [path for path in found if path.nodes[-1] == whole.of_row[target]]
        assert {path.nodes for path in mine} == set(sums)
        for path in mine:
            assert path.up == pytest.approx(sums[path.nodes][0] / mass, abs=1e-12)
            assert path.down == pytest.approx(sums[path.nodes][1] / mass, abs=1e-12)
        sizes = [path.up + path.down for path in mine]
        assert sizes == sorted(sizes, reverse=True)
        assert len(group_paths(pruned, whole, k=2)) == 2 * len(graph.target_rows)


def test_a_node_in_two_groups_or_pruned_is_refused() -> None:
    pruned, groups = grouped(0)
    with pytest.raises(UsageError, match="two supernodes"):
        supernode_graph(pruned, [groups[0], groups[0]])
    gone = int(np.flatnonzero(~pruned.node_kept)[0])
    with pytest.raises(UsageError, match="pruned away"):
        supernode_graph(pruned, [Supernode("gone", (gone,))])
    with pytest.raises(UsageError, match="at least 1"):
        group_paths(pruned, supernode_graph(pruned, groups), k=0)
