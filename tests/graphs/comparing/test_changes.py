"""Two models' graphs of one prompt: what appeared, vanished and changed its sign."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuit_tracer.graphs import NodeKind, PrunedGraph, prune
from circuit_tracer.graphs.comparing.calibrated import compare_all
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.graphs.graph import node_names
from circuit_tracer.graphs.target_effects import target_effects
from circuit_tracer.render.merged import merged_svg
from tests.graphs.builders import random_graph


def whole(seed: int = 1) -> PrunedGraph:
    return prune(random_graph(3, 4, 5, seed, n_targets=1), node_threshold=1.0, edge_threshold=1.0)


def of_tuned(one: PrunedGraph, edges: object) -> PrunedGraph:
    """The same nodes with other edges, of another model through the same dictionary."""
    model = replace(one.graph.info.model, name="tuned", sha256="01" * 32)
    graph = replace(one.graph, info=replace(one.graph.info, model=model), edges=edges)
    kept = np.ones(len(graph.edges), dtype=np.bool_)
    return replace(one, graph=graph, edge_kept=kept, node_kept=np.ones_like(one.node_kept))


def test_an_edge_that_is_gone_and_one_that_turned_are_named() -> None:
    one = whole()
    one = replace(one, node_kept=np.ones_like(one.node_kept), edge_kept=np.ones_like(one.edge_kept))
    edges, names = one.graph.edges, node_names(one.graph)
    turned, gone = 3, 7
    weight = edges.weight.copy()
    weight[turned] *= -1
    left = np.arange(len(edges)) != gone
    other = of_tuned(one, replace(edges, weight=weight).take(left))
    for graphs, word in (((one, other), "vanished"), ((other, one), "appeared")):
        found = compare_all(graphs, shuffles=0)
        assert found.of_two_models
        by_kind = {c.kind: (c.source, c.target) for c in found.changes() if c.target}
        named = [(names[int(edges.source[e])], names[int(edges.target[e])]) for e in (turned, gone)]
        assert by_kind == {"flipped": named[0], word: named[1]}
        (flipped,) = [c for c in found.changes() if c.target and c.kind == "flipped"]
        assert flipped.first is not None
        assert flipped.second is not None
        assert flipped.first * flipped.second < 0
        record = found.record(["a", "b"])
        assert {c["kind"] for c in record["changes"] if c["target"]} == {"flipped", word}
        assert [g["model"] for g in record["graphs"]] == [g.graph.info.model.name for g in graphs]


def test_nodes_flip_where_their_effect_on_the_target_does() -> None:
    one = whole()
    one = replace(one, node_kept=np.ones_like(one.node_kept), edge_kept=np.ones_like(one.edge_kept))
    other = of_tuned(one, replace(one.graph.edges, weight=-one.graph.edges.weight))
    effects = [target_effects(g.graph).total[:, 0] for g in (one, other)]
    inner = np.isin(one.graph.nodes.kind, (NodeKind.FEATURE, NodeKind.ERROR))
    names = np.array(node_names(one.graph))
    expected = set(names[inner & (effects[0] * effects[1] < 0)].tolist())
    found = [c for c in compare_all((one, other), shuffles=0).changes() if not c.target]
    assert expected
    assert {c.source for c in found} == expected
    assert all(c.kind == "flipped" for c in found)


def test_the_figure_names_both_models_and_edges_that_turned() -> None:
    one = whole()
    other = of_tuned(one, replace(one.graph.edges, weight=-one.graph.edges.weight))
    pair = compare_all((one, other), shuffles=0).pairs[0, 1]
    merged = merge(one, other, pair.columns)
    assert merged.edge_flipped.any()
    svg = merged_svg(merged, one, other)
    assert f"attribution graphs of {one.graph.info.model.name} and tuned" in svg
    assert "edges of both with opposite signs" in svg
    same = merged_svg(merge(one, one, pair.columns), one, one)
    assert "opposite signs" not in same


def test_graphs_of_one_model_have_no_changes_in_their_record() -> None:
    one = whole()
    assert "changes" not in compare_all((one, one), shuffles=0).record(["a", "b"])
    assert compare_all((one, one), shuffles=0).changes() == ()
