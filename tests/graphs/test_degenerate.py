"""Graphs that lack nodes, edges or influence go through everything that reads a graph."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.graphs import best_paths, from_exchange, prune, to_exchange, to_networkx
from circuit_tracer.graphs.comparing.comparison import compare
from circuit_tracer.graphs.supernodes.graph import group_paths, supernode_graph
from circuit_tracer.graphs.supernodes.grouping import find_supernodes, similarity
from circuit_tracer.graphs.supernodes.scores import against_random, group_scores
from tests.graphs.builders import degenerate_graphs
from tests.graphs.compare import assert_same_graph

GRAPHS = degenerate_graphs()


@pytest.mark.parametrize("lack", GRAPHS)
def test_what_a_graph_lacks_is_missing_from_the_results_too(lack: str) -> None:
    pruned = prune(GRAPHS[lack])
    assert np.isfinite(pruned.influence).all()
    back = from_exchange(to_exchange(pruned, slug="s"))
    assert_same_graph(back.graph, pruned.kept_graph())
    assert len(to_networkx(pruned)) == pruned.node_kept.sum()
    alike = similarity(pruned)
    groups = find_supernodes(pruned, alike)
    assert len(group_scores(groups, alike)) == len(groups)
    assert all(np.isfinite(one.value) for one in against_random(pruned, groups, alike).values())
    whole = supernode_graph(pruned, groups)
    routes = group_paths(pruned, whole)
    assert all(0 <= one.up <= 1 and 0 <= one.down <= 1 for one in routes)
    assert bool(routes) == bool(best_paths(pruned))
    with_itself = compare(pruned, pruned, shuffles=0)
    assert with_itself.counts.first == with_itself.counts.second == 0
