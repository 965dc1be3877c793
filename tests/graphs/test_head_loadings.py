"""Head loadings beside a graph: sums by head, carriers of an edge, the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.head_loadings import (
    HEADS_FILE,
    carriers,
    influence_share,
    leading_heads,
    load_heads,
    loadings_after,
    save_heads,
    strongest_edges,
)
from circuit_tracer.graphs.influence import edge_flows, handed_down
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from tests.graphs.builders import random_graph
from tests.graphs.loadings import N_HEADS, random_loadings


def pruned_graph(seed: int = 0) -> PrunedGraph:
    return prune(random_graph(4, 4, 6, seed, np.float64))


def test_an_edges_rows_are_found() -> None:
    pruned = pruned_graph()
    loadings, edges = random_loadings(pruned), pruned.kept_edges
    for i in range(0, len(edges), 5):
        part = loadings.of_edge(int(edges.source[i]), int(edges.target[i]))
        assert len(part) == 2 * (N_HEADS + 2)
        for layer in (1, 2):
            assert part.loading[part.layer == layer].sum() == pytest.approx(edges.weight[i])
    assert not len(loadings.of_edge(0, 0))


def test_carriers_are_the_heads_with_a_share_strongest_first() -> None:
    pruned = pruned_graph()
    loadings, edges = random_loadings(pruned), pruned.kept_edges
    found = carriers(loadings, least=0.3)
    for source, target, weight in zip(edges.source, edges.target, edges.weight, strict=True):
        part = loadings.of_edge(int(source), int(target))
        strong = (part.head >= 0) & (np.abs(part.loading) >= 0.3 * abs(weight))
        ours = found.get((int(source), int(target)), [])
        sizes = [abs(carrier.loading) for carrier in ours]
        assert sizes == sorted(np.abs(part.loading[strong]).tolist(), reverse=True)
        for carrier in ours:
            assert carrier.share == pytest.approx(carrier.loading / weight)
            assert carrier.name == f"L{carrier.layer}.H{carrier.head}"


def test_leading_heads_weigh_loadings_as_influence_weighs_edges() -> None:
    pruned = pruned_graph(2)
    loadings = random_loadings(pruned)
    passed_on = handed_down(pruned.graph, pruned.influence)
    whole = edge_flows(pruned.kept_edges, passed_on, slice(None)).sum()
    leading = leading_heads(pruned, loadings)
    assert [head.share for head in leading] == sorted((h.share for h in leading), reverse=True)
    assert len(leading) == 2 * N_HEADS
    for head in leading:
        here = (loadings.layer == head.layer) & (loadings.head == head.head)
        flow = passed_on[loadings.target[here]] * np.abs(loadings.loading[here])
        assert head.share == pytest.approx(flow.sum() / whole)
        best = head.moves[0]
        at = (loadings.key[here] == best.key) & (loadings.query[here] == best.query)
        assert best.share == pytest.approx(flow[at].sum() / flow.sum())
    assert leading_heads(pruned, loadings, most=2) == leading[:2]
    assert leading_heads(pruned, loadings.take(loadings.head < 0)) == []


def test_strongest_edges_carry_the_most_influence() -> None:
    pruned = pruned_graph(1)
    assert len(strongest_edges(pruned)) == len(pruned.kept_edges)
    some = strongest_edges(pruned, 5)
    passed_on = handed_down(pruned.graph, pruned.influence)
    flow = np.sort(edge_flows(pruned.kept_edges, passed_on, slice(None)))[::-1]
    assert influence_share(pruned, some) == pytest.approx(flow[:5].sum() / flow.sum())
    assert (np.diff(some.target) >= 0).all()


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    pruned = pruned_graph()
    assert load_heads(pruned, tmp_path) is None
    loadings = random_loadings(pruned)
    save_heads(loadings, tmp_path)
    found = load_heads(pruned, tmp_path)
    assert found is not None
    for name in ("source", "target", "layer", "head", "key", "query", "loading", "peak"):
        assert np.array_equal(getattr(found, name), getattr(loadings, name))


def test_files_that_do_not_fit_get_a_sentence(tmp_path: Path) -> None:
    pruned = pruned_graph()
    loadings = random_loadings(pruned)
    (tmp_path / HEADS_FILE).write_bytes(b"no parquet")
    with pytest.raises(GraphFileError, match=r"heads --save"):
        load_heads(pruned, tmp_path)
    wrong = [
        loadings.take(slice(None, None, -1)),
        replace(loadings, target=loadings.target + np.int32(1)),
        replace(loadings, loading=loadings.loading + 100),
        replace(loadings, loading=np.full(len(loadings), np.nan)),
    ]
    for one in wrong:
        save_heads(one, tmp_path)
        with pytest.raises(GraphFileError, match=r"damaged or of another graph"):
            load_heads(pruned, tmp_path)
    save_heads(loadings, tmp_path)
    table = parquet.read_table(tmp_path / HEADS_FILE)
    for broken in (
        table.drop_columns("key"),
        table.set_column(3, "head", table["layer"].cast("int64")),
    ):
        parquet.write_table(broken, tmp_path / HEADS_FILE)
        with pytest.raises(GraphFileError, match=r"damaged or of another graph"):
            load_heads(pruned, tmp_path)


def test_another_pruning_keeps_the_rows_of_its_edges() -> None:
    before = prune(random_graph(4, 4, 6, 3, np.float64), edge_threshold=0.9)
    loadings = random_loadings(before)
    tighter = prune(before.graph, edge_threshold=0.6, node_threshold=before.node_threshold)
    assert not (tighter.edge_kept & ~before.edge_kept).any()  # of the same nodes: a subset
    found = loadings_after(loadings, before, tighter)
    assert found is not None
    pairs = set(zip(found.source.tolist(), found.target.tolist(), strict=True))
    kept = tighter.kept_edges
    assert pairs == set(zip(kept.source.tolist(), kept.target.tolist(), strict=True))
    assert loadings_after(loadings, tighter, prune(before.graph, edge_threshold=1.0)) is None
