"""Parts of a graph to look at: routes alone, and supernodes as single nodes."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.figure_levels import grouped, routes_alone
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.influence import edge_shares
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.graphs.supernodes.graph import supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.render.describe import called, node_lines
from tests.render.builders import middle, small


@pytest.mark.parametrize("k", [1, 3])
def test_routes_alone_are_the_strongest_paths_and_the_ends(k: int) -> None:
    pruned = middle()
    alone = routes_alone(pruned, k)
    paths = best_paths(pruned, k=k, direct=False)
    edges = alone.kept_edges
    found = set(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    assert found == {pair for path in paths for pair in pairwise(path.rows)}
    kind = pruned.graph.nodes.kind
    ends = np.flatnonzero((kind == NodeKind.EMBEDDING) | (kind == NodeKind.LOGIT))
    assert set(alone.kept_rows.tolist()) == {r for path in paths for r in path.rows} | set(
        ends.tolist()
    )
    # Strengths stay those of the whole graph.
    again = best_paths(alone, k=k, direct=False)
    assert [path.strength for path in again] == [path.strength for path in paths]


def test_a_graph_without_routes_says_so() -> None:
    pruned = middle()
    from dataclasses import replace

    none = replace(pruned, edge_kept=np.zeros_like(pruned.edge_kept))
    with pytest.raises(UsageError, match="no route"):
        routes_alone(none, 2)


def _groups() -> list[Supernode]:
    pruned = small()
    nodes = pruned.graph.nodes
    features = [r for r in pruned.kept_rows.tolist() if nodes.kind[r] == NodeKind.FEATURE]
    return [Supernode("early", tuple(features[:3])), Supernode("late", tuple(features[-2:]))]


def test_groups_are_nodes_with_their_members_influence_and_shares() -> None:
    pruned, groups = small(), _groups()
    drawn = grouped(pruned, groups)
    labels = drawn.graph.nodes.label
    for group in groups:
        row = labels.index(group.name)
        assert drawn.influence[row] == pytest.approx(pruned.influence[list(group.rows)].sum())
    assert len(labels) == len(pruned.kept_rows) - 3
    feature = drawn.graph.nodes.feature[[labels.index(group.name) for group in groups]]
    assert len({*feature.tolist()}) == 2
    assert feature.max() < 0  # a group is no one feature, and is not called like one
    for group in groups:
        row = labels.index(group.name)
        assert called(drawn.graph, row) == group.name
        facts = node_lines(drawn, row)
        assert facts[1].startswith("several features, the strongest in layer")
        assert not any(re.search(r"L\d+/\d", fact) for fact in facts)
    whole = supernode_graph(pruned, groups)
    shares = {
        (edge.source, edge.target): edge.share
        for edge in whole.edges
        if len({edge.source, edge.target} & {0, 1}) == 2
    }
    edges = drawn.graph.edges
    here = [labels.index(group.name) for group in groups]
    between = {
        (here.index(int(s)), here.index(int(t))): float(w)
        for s, t, w in zip(edges.source, edges.target, edges.weight, strict=True)
        if int(s) in here and int(t) in here
    }
    assert between == {ends: share for ends, share in shares.items() if ends in between}
    # What is not shown still counts in a row's sum, so a share stays what it is.
    assert edge_shares(drawn.graph, np.arange(len(edges))) == pytest.approx(
        np.abs(edges.weight), abs=1e-9
    )


def test_a_grouped_graph_is_in_order_and_its_edges_go_up() -> None:
    drawn = grouped(small(), _groups()).graph
    assert np.all(np.diff(drawn.nodes.layer) >= 0)
    assert np.all(drawn.nodes.layer[drawn.edges.source] < drawn.nodes.layer[drawn.edges.target])
    keys = drawn.edges.target.astype(np.int64) * len(drawn.nodes) + drawn.edges.source
    assert np.all(np.diff(keys) > 0)
