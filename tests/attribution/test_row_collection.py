"""Which edges stay one by one, and that the sums of the others are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.attribution import row_collection as collecting
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.influence import influence, totals
from circuit_tracer.graphs.scores import scores
from circuit_tracer.transcoders.neurons import open_neurons
from tests.tiny import random_dictionary, tiny_llama, tiny_model

PROMPT = "the banana is yellow yes a lemon is"


def traced(basis: str = "plt", **settings: object) -> Graph:
    model = tiny_llama(dtype=torch.float64)
    dictionary = open_neurons(model) if basis == "neurons" else random_dictionary(model, kind=basis)  # type: ignore[arg-type]
    return trace(model, dictionary, PROMPT, TraceSettings(**settings)).graph  # type: ignore[arg-type]


def by_name(graph: Graph) -> dict[tuple[tuple[int, ...], tuple[int, ...]], float]:
    """Edges by what their ends are, whatever rows those have."""
    nodes = graph.nodes
    columns = (nodes.kind, nodes.layer, nodes.position, nodes.feature)
    names = list(zip(*(c.tolist() for c in columns), strict=True))
    ends = zip(graph.edges.source.tolist(), graph.edges.target.tolist(), strict=True)
    weights = graph.edges.weight.tolist()
    return {(names[s], names[t]): w for (s, t), w in zip(ends, weights, strict=True)}


@pytest.mark.parametrize("basis", ["plt", "clt", "neurons"])
@pytest.mark.parametrize("long", [False, True])
def test_small_edges_become_exact_sums(
    basis: str, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor = 1e-4
    whole = traced(basis, edge_floor=0.0, max_feature_nodes=40)
    if long:
        monkeypatch.setattr(collecting, "WHOLE_BATCH", 0)
    sparse = traced(basis, edge_floor=floor, max_feature_nodes=40)
    everything, kept = by_name(whole), by_name(sparse)
    shared = kept.keys() & everything.keys()
    assert 0 < len(kept) < len(everything)
    assert len(shared) > 0.9 * len(kept)  # the same rows, but for ties in the budget
    assert all(abs(kept[edge] - everything[edge]) < 1e-12 for edge in shared)
    nodes, edges = sparse.nodes, sparse.edges
    received = np.bincount(edges.target, weights=edges.weight, minlength=len(nodes))
    has_row = nodes.expanded
    missing = received + nodes.dropped + nodes.constant - nodes.value
    assert np.abs(missing[has_row]).max() < 1e-12
    assert nodes.dropped_features.max() > 0
    # A row's absolute sum is that of the whole graph, kind by kind.
    names = list(zip(nodes.kind, nodes.layer, nodes.position, nodes.feature, strict=True))
    columns = (whole.nodes.kind, whole.nodes.layer, whole.nodes.position, whole.nodes.feature)
    rows = {name: row for row, name in enumerate(zip(*columns, strict=True))}
    same = [i for i in np.flatnonzero(has_row) if whole.nodes.expanded[rows[names[i]]]]
    expected = totals(whole)[[rows[names[i]] for i in same]]
    np.testing.assert_allclose(totals(sparse)[same], expected, rtol=1e-12)


@pytest.mark.parametrize("basis", ["plt", "neurons"])
def test_the_scores_of_a_sparse_graph_bound_those_of_the_whole(basis: str) -> None:
    whole = scores(traced(basis, edge_floor=0.0))
    sparse = scores(traced(basis, edge_floor=1e-3))
    low, high = sparse.replacement_range
    assert 0 < sparse.dropped_share < 1
    assert low - 1e-9 <= whole.replacement <= high + 1e-9
    hidden = sparse.dropped_share + sparse.unexpanded_share
    assert sparse.embedding_share <= whole.embedding_share + 1e-9
    assert whole.embedding_share <= sparse.embedding_share + hidden + 1e-9


def test_kept_edges_carry_at_least_the_floor() -> None:
    floor = 1e-3
    graph = traced(edge_floor=floor)
    received = influence(graph) + graph.nodes.weight
    share = np.abs(graph.edges.weight) / totals(graph)[graph.edges.target]
    # The influence of a row only grows after the row was taken.
    assert (share * received[graph.edges.target]).min() > 0.99 * floor


def test_bfloat16_cotangents_come_with_their_audit() -> None:
    model = tiny_model("llama")
    for dictionary in (random_dictionary(model, kind="clt", skip=True), open_neurons(model)):
        settings = TraceSettings(cotangents="bf16")
        graph = trace(model, dictionary, PROMPT, settings).graph
        exact = trace(model, dictionary, PROMPT).graph
        found = graph.info.settings["audit"]
        assert graph.info.dtype == "bf16"
        assert found["rows"] == 32
        assert 1e-4 < found["median"] < 0.02
        assert found["median"] <= found["worst"] < 0.2
        lost, kept = by_name(graph), by_name(exact)
        both = lost.keys() & kept.keys()
        assert len(both) > 0.9 * len(kept)
        gaps = np.array([lost[edge] - kept[edge] for edge in both])
        norm = np.linalg.norm([kept[edge] for edge in both])
        assert 1e-4 < np.linalg.norm(gaps) / norm < 0.02


def test_precisions_that_are_not_there_are_refused() -> None:
    model = tiny_llama()
    with pytest.raises(UsageError, match="tf32 needs an NVIDIA GPU"):
        trace(model, random_dictionary(model), PROMPT, TraceSettings(cotangents="tf32"))
    with pytest.raises(UsageError, match="float64 model"):
        traced(cotangents="bf16")


def test_long_prompts_get_fewer_rows_by_default() -> None:
    model = tiny_llama()
    asked = {n: TraceSettings().resolved(model, [0] * n).max_feature_nodes for n in (9, 400, 2048)}
    assert asked == {9: 7500, 400: 7500, 2048: 1464}
    given = TraceSettings(max_feature_nodes=9000).resolved(model, [0] * 2048)
    assert given.max_feature_nodes == 9000


def test_only_neurons_that_an_edge_reaches_are_nodes() -> None:
    graph = traced("neurons", edge_floor=1e-3)
    reached = np.zeros(len(graph.nodes), dtype=bool)
    reached[graph.edges.source] = reached[graph.edges.target] = True
    features = graph.nodes.kind == NodeKind.FEATURE
    assert reached[features & ~graph.nodes.expanded].all()
    assert features.sum() < 3 * 32 * 8
