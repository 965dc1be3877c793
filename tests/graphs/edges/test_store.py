"""Edges past a memory budget: the same edges, bounded memory, no files left."""

from __future__ import annotations

import errno
import gc
import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_tracer.errors import OutputError
from circuit_tracer.graphs import influence as influence_module
from circuit_tracer.graphs.edges import columns as module
from circuit_tracer.graphs.edges.columns import edge_columns
from circuit_tracer.graphs.edges.store import EdgeStore
from circuit_tracer.graphs.files.storage import check_graph, load_graph, save_graph
from circuit_tracer.graphs.graph import Edges, Graph
from circuit_tracer.graphs.influence import (
    edge_influence,
    flow,
    influence,
    totals,
)
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.graphs.routes.paths import best_paths, path_mass
from circuit_tracer.graphs.scores import scores
from tests.graphs.builders import random_graph
from tests.graphs.compare import assert_same_pruned

BUDGETS = [1 << 30, 20_000, 100, 0]


def batches(graph: Graph, per_batch: int = 7, seed: int = 0) -> list[Edges]:
    """The graph's rows in a shuffled order, whole rows to a batch, targets in any order in it."""
    edges = graph.edges
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.unique(edges.target))
    parts = []
    for start in range(0, len(targets), per_batch):
        which = [np.flatnonzero(edges.target == t) for t in targets[start : start + per_batch]]
        order = np.concatenate(which)
        parts.append(Edges(edges.source[order], edges.target[order], edges.weight[order]))
    return parts


def filled(parts: list[Edges], budget: int) -> EdgeStore:
    store = EdgeStore(budget)
    for part in parts:
        store.add(*part.columns)
    return store


def assert_same_edges(one: Edges, other: Edges) -> None:
    for name in ("source", "target", "weight"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edges_come_back_sorted_whatever_the_budget(budget: int, dtype: type) -> None:
    graph = random_graph(5, 5, 12, dtype=dtype)
    store = filled(batches(graph), budget)
    assert store.count == len(graph.edges)
    nbytes = sum(column.nbytes for column in graph.edges.columns)
    assert isinstance(next(store.unsorted()).source, np.memmap) == (2 * nbytes > budget)
    edges = store.edges()
    assert isinstance(edges.source, np.memmap) == (nbytes > budget)
    assert_same_edges(edges, graph.edges)
    assert_same_edges(store.edges(), graph.edges)  # a second time
    store.close()
    assert store.count == 0
    assert_same_edges(edges, graph.edges)  # they outlive the store


@pytest.mark.parametrize("budget", BUDGETS)
def test_batches_may_be_in_any_order_and_are_given_back_sorted(budget: int) -> None:
    graph = random_graph(4, 4, 8)
    rng = np.random.default_rng(1)
    store = EdgeStore(budget)
    for part in batches(graph):
        store.add(*part.take(rng.permutation(len(part))).columns)
    assert_same_edges(store.edges(), graph.edges)
    given = list(store.unsorted())
    assert len(given) == len(batches(graph))
    for part in given:
        assert np.all(np.diff(part.target) >= 0)
    assert sum(len(part.source) for part in given) == len(graph.edges)


@pytest.mark.parametrize("budget", BUDGETS)
def test_influence_of_a_growing_graph_goes_batch_by_batch(budget: int) -> None:
    graph = random_graph(5, 5, 12)
    store, known = EdgeStore(budget), np.zeros(len(graph.edges), dtype=bool)
    arguments: dict[str, Any] = {"level": graph.nodes.layer, "target_weight": graph.nodes.weight}
    for part in batches(graph, per_batch=20):
        store.add(*part.columns)
        known |= np.isin(graph.edges.target, part.target)
        some = graph.edges.take(known)
        expected = flow([some], **arguments)
        found = flow(list(store.unsorted()), **arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("budget", BUDGETS)
def test_nodes_without_edges_can_be_left_out_on_the_way(budget: int) -> None:
    graph = random_graph(4, 4, 8)
    wide = np.arange(len(graph.nodes)) * 3 + 5  # a larger table, most of it without edges
    store = EdgeStore(budget)
    for part in batches(graph):
        store.add(wide[part.source], wide[part.target], part.weight)
    renumbered = np.full(wide[-1] + 1, -1)
    renumbered[wide] = np.arange(len(wide))
    assert_same_edges(store.edges(renumbered), graph.edges)
    parts = [
        Edges(renumbered[part.source], renumbered[part.target], part.weight)
        for part in store.unsorted()
    ]
    received = flow(parts, level=graph.nodes.layer, target_weight=graph.nodes.weight)
    np.testing.assert_allclose(received, influence(graph), rtol=1e-12)
    with pytest.raises(ValueError, match="rise"):
        store.edges(renumbered[::-1].copy())


def test_a_store_without_edges_gives_none() -> None:
    assert EdgeStore(), "`store or EdgeStore()` must keep an empty one"
    for budget in (0, 100):
        store = EdgeStore(budget)
        none = np.zeros(0, dtype=np.int32)
        assert len(store.edges()) == 0
        store.add(none, none, none.astype(np.float64))
        edges = store.edges()
        assert (len(edges), edges.weight.dtype) == (0, np.float64)
        assert sum(len(part.source) for part in store.unsorted()) == 0


@pytest.mark.parametrize(
    ("source", "target", "weight", "message"),
    [
        ([0], [3], [1.0], "row of node 3 came in two batches"),
        ([0, 0], [4, 4], [1.0, 1.0], "two edges between the same nodes"),
        ([0, 1], [4, 4], [1.0], "a source, a target and a weight"),
        ([-1], [4], [1.0], "from 0 to"),
        ([0], [2**31], [1.0], "from 0 to"),
    ],
)
def test_what_is_no_batch_of_rows_is_refused(source, target, weight, message) -> None:
    store = EdgeStore()
    store.add(np.array([0, 1]), np.array([3, 3]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=message):
        store.add(np.array(source), np.array(target), np.array(weight))
    with pytest.raises(ValueError, match="float32 after edges in float64"):
        store.add(np.array([0]), np.array([5]), np.ones(1, dtype=np.float32))
    assert store.count == 2


def test_no_file_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    graph = random_graph(4, 4, 8)
    store = filled(batches(graph), 0)
    edges = store.edges()
    assert list(tmp_path.iterdir()) == []  # no names, so a crash leaves nothing either
    del store
    gc.collect()  # an unclosed file would warn, and warnings are errors
    assert_same_edges(edges, graph.edges)


def test_tmpdir_is_where_the_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda **how: asked.append(how.get("dir")) or real(**how)
    )
    EdgeStore(0).add(np.array([0]), np.array([1]), np.ones(1))
    assert asked == [None] * 3  # None: tempfile's own choice, which is TMPDIR


class FullDisk:
    """A file on a disk without room."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.write(None)


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parts = batches(random_graph(3, 3, 5))
    monkeypatch.setattr(module, "_temporary", FullDisk)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(OutputError, match=r"the disk is full; .* TMPDIR") as caught:
        filled(parts, 0)
    assert str(tmp_path) in str(caught.value)
    gc.collect()


def test_a_folder_that_is_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="cannot write edges past the memory budget"):
        filled(batches(random_graph(3, 3, 5)), 0)


def peak(work: Callable[[], Any]) -> tuple[int, Any]:
    """Most bytes allocated at a time while `work` ran, and its result."""
    gc.collect()
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def big_batches(n_batches: int = 60) -> list[Callable[[], Edges]]:
    """Batches made when they are asked for: 60 of 8 rows with 2,000 edges each, 12 MB in all."""

    def make(i: int) -> Edges:
        rng = np.random.default_rng(i)
        target = np.repeat(2000 + rng.permutation(8) + 8 * i, 2000)
        return Edges(np.tile(np.arange(2000), 8), target, rng.normal(size=16000).astype(np.float32))

    order = np.random.default_rng(0).permutation(n_batches)
    return [lambda i=int(i): make(i) for i in order]


def test_memory_stays_within_the_budget() -> None:
    def collect(budget: int) -> Edges:
        store = EdgeStore(budget)
        for make in big_batches():
            store.add(*make().columns)
        return store.edges()

    one_batch = peak(big_batches()[0])[0]
    budget = 2_000_000
    used, edges = peak(lambda: collect(budget))
    assert len(edges) == 960_000  # 11.5 MB
    assert used < budget + 6 * one_batch + 3 * 1_048_576  # the three files' buffers
    assert used < 8_000_000
    free, same = peak(lambda: collect(1 << 30))
    assert free > 20_000_000
    assert_same_edges(edges, same)


def mapped(graph: Graph) -> Graph:
    """The same graph with its edges on disk."""
    edges = graph.edges
    columns = edge_columns(len(edges), edges.weight.dtype, memory_budget_bytes=0)
    columns.append(edges)
    return replace(graph, edges=columns.edges())


@pytest.mark.parametrize("chunk", [1, 13, 1 << 22])
@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_do_not_depend_on_where_edges_lie_or_on_the_chunk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chunk: int, seed: int
) -> None:
    graph = random_graph(4, 4, 8, seed, unexpanded=3)
    expected, paths = prune(graph, edge_threshold=0.9), best_paths(graph, k=5)
    found, flows = influence(graph), edge_influence(graph)
    sources = [0, 1, 2, 3]
    mass = path_mass(graph, sources=sources)
    monkeypatch.setattr(influence_module, "CHUNK", chunk)
    same = mapped(graph)
    check_graph(same)
    near = {"rtol": 1e-12, "atol": 1e-15}
    np.testing.assert_allclose(influence(same), found, **near)
    np.testing.assert_allclose(edge_influence(same), flows, **near)
    np.testing.assert_allclose(path_mass(same, sources=sources), mass, **near)
    np.testing.assert_allclose(totals(same), totals(graph), **near)
    pruned = prune(same, edge_threshold=0.9)
    np.testing.assert_array_equal(pruned.node_kept, expected.node_kept)
    np.testing.assert_array_equal(pruned.edge_kept, expected.edge_kept)
    assert scores(same).replacement == pytest.approx(expected.scores.replacement, abs=1e-12)
    again = best_paths(same, k=5)
    assert [path.rows for path in again] == [path.rows for path in paths]
    save_graph(pruned, tmp_path)
    assert_same_pruned(load_graph(tmp_path, memory_budget_bytes=0), pruned)
    assert isinstance(load_graph(tmp_path, memory_budget_bytes=0).graph.edges.source, np.memmap)


def test_memory_of_influence_and_pruning_goes_by_the_chunk_not_by_the_edges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = mapped(random_graph(12, 4, 60, density=1.0))
    m, n = len(graph.edges), len(graph.nodes)
    assert m > 150_000
    monkeypatch.setattr(influence_module, "CHUNK", 2000)
    few = 60 * 2000 + 60 * 8 * n + 200_000
    assert few < 8 * m  # less than a single float64 column of the edges
    assert peak(lambda: influence(graph))[0] < few
    assert peak(lambda: scores(graph))[0] < few
    used, pruned = peak(lambda: prune(graph, node_threshold=0.5))
    assert used < few + 4 * m + 20 * int(pruned.edge_kept.sum())  # masks, and what stays inside


@pytest.mark.parametrize("chunk", [1, 5, 1 << 22])
def test_what_is_out_of_order_is_seen_across_chunks(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    graph = random_graph(3, 3, 5)
    found = influence(graph)
    order = np.random.default_rng(0).permutation(len(graph.edges))
    shuffled = graph.edges.take(order)
    monkeypatch.setattr(influence_module, "CHUNK", chunk)
    arguments: dict[str, Any] = {"level": graph.nodes.layer, "target_weight": graph.nodes.weight}
    np.testing.assert_allclose(flow([shuffled], **arguments), found, rtol=1e-12, atol=1e-15)
    by_target_down = graph.edges.take(np.argsort(-graph.edges.target, kind="stable"))
    for edges in (shuffled, by_target_down):
        with pytest.raises(ValueError, match="edges out of order"):
            check_graph(replace(graph, edges=edges))
    check_graph(graph)
