"""Alignment and overlap: equal graphs 1, disjoint ones 0, a prefix changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import Graph, NodeKind, PrunedGraph, prune
from circuit_tracer.graphs.comparing.alignment import align, needleman_wunsch, roles_of
from circuit_tracer.graphs.comparing.comparison import compare
from circuit_tracer.graphs.comparing.merging import Owner, merge
from circuit_tracer.graphs.comparing.overlap import (
    Overlap,
    between,
    jaccard,
    mean_overlap,
    permutation_p,
)
from circuit_tracer.graphs.graph import Edges
from tests.graphs.builders import make_info, random_graph


def with_tokens(graph: Graph, words: str) -> Graph:
    tokens = ("<bos>", *words.split())
    info = make_info(tokens, graph.info.n_layers, graph.info.targets)
    targets = tuple(replace(t, position=len(tokens) - 1) for t in graph.info.targets)
    return replace(graph, info=replace(info, targets=targets, prompt=words))


def with_prefix(graph: Graph, count: int) -> Graph:
    """The same graph after `count` further tokens, which no edge comes from."""
    nodes = graph.nodes
    tokens = [*graph.info.tokens[:1], *(f"new{i}" for i in range(count)), *graph.info.tokens[1:]]
    moved = np.where(nodes.position > 0, nodes.position + count, 0).astype(np.int32)
    old = replace(nodes, position=moved)
    first = nodes.of_kind(NodeKind.EMBEDDING)[:1]
    at_new = np.arange(1, count + 1, dtype=np.int32)
    new = replace(nodes.take(np.repeat(first, count)), position=at_new)
    both = [
        np.concatenate([getattr(new, f), getattr(old, f)])
        for f in ("kind", "layer", "position", "feature", "activation")
    ]
    columns = dict(zip(("kind", "layer", "position", "feature", "activation"), both, strict=True))
    for name in ("value", "constant", "expanded", "weight", "dropped", "dropped_embeddings"):
        columns[name] = np.concatenate([getattr(new, name), getattr(old, name)])
    for name in ("dropped_errors", "dropped_features"):
        columns[name] = np.concatenate([getattr(new, name), getattr(old, name)])
    table = replace(nodes, **columns, label=(*new.label, *old.label))
    source, target = graph.edges.source + count, graph.edges.target + count
    targets = tuple(replace(t, position=t.position + count) for t in graph.info.targets)
    ids = tuple(range(len(tokens)))
    info = replace(graph.info, tokens=tuple(tokens), token_ids=ids, targets=targets)
    return replace(
        graph, info=info, nodes=table, edges=replace(graph.edges, source=source, target=target)
    )


def figures(overlap: Overlap) -> list[float]:
    return [overlap.features, overlap.anywhere, overlap.edges, overlap.paths, overlap.places]


def pruned(seed: int, **more: int) -> PrunedGraph:
    return prune(random_graph(3, 5, 8, seed, **more), node_threshold=0.8)


@pytest.mark.parametrize("seed", range(3))
def test_a_graph_with_itself_is_one(seed: int) -> None:
    one = pruned(seed)
    pair = compare(one, one, shuffles=50)
    assert figures(pair.whole) == pytest.approx([1.0] * 5)
    assert figures(pair.kept) == pytest.approx([1.0] * 5)
    assert pair.whole.tokens == pytest.approx(1.0)
    assert (pair.counts.first, pair.counts.second) == (0, 0)
    assert pair.p_kept == pytest.approx(1 / 51)


def test_a_prefix_changes_nothing_but_itself() -> None:
    one = pruned(1)
    moved = prune(with_prefix(one.graph, 3), node_threshold=0.8)
    pair = compare(one, moved, shuffles=0)
    assert figures(pair.kept) == pytest.approx([1.0] * 5)
    assert figures(pair.whole) == pytest.approx([1.0] * 5)
    own = [column for column in pair.columns if None in column[:2]]
    assert [column.second for column in own] == [1, 2, 3]
    backwards = compare(moved, one, shuffles=0)
    assert figures(backwards.kept) == pytest.approx([1.0] * 5)


def test_graphs_of_other_features_share_none() -> None:
    one = pruned(1)
    nodes = one.graph.nodes
    feature = np.where(nodes.kind == NodeKind.FEATURE, nodes.feature + 10_000, nodes.feature)
    other = replace(one, graph=replace(one.graph, nodes=replace(nodes, feature=feature)))
    pair = compare(one, other, shuffles=50)
    assert (pair.kept.features, pair.kept.anywhere, pair.kept.paths) == (0.0, 0.0, 0.0)
    assert pair.kept.places == pytest.approx(1.0)
    assert pair.kept.edges is not None
    assert 0 <= pair.kept.edges < 0.5  # tokens to targets
    assert pair.p_kept == 1.0


@pytest.mark.parametrize("kept", [False, True])
def test_overlaps_are_symmetric_and_those_of_the_definition(kept: bool) -> None:
    one, other = pruned(1), pruned(2)
    pair, back = compare(one, other, shuffles=0), compare(other, one, shuffles=0)
    mine, theirs = (pair.kept, back.kept) if kept else (pair.whole, back.whole)
    assert figures(mine) == pytest.approx(figures(theirs))
    shares: list[dict] = []
    for graph in (one, other):
        nodes, found = graph.graph.nodes, {}
        for row in nodes.of_kind(NodeKind.FEATURE).tolist():
            if graph.node_kept[row] or not kept:
                key = (int(nodes.layer[row]), int(nodes.position[row]), int(nodes.feature[row]))
                found[key] = found.get(key, 0.0) + float(graph.influence[row])
        shares.append({key: value / sum(found.values()) for key, value in found.items()})
    keys = set(shares[0]) | set(shares[1])
    least = sum(min(s.get(k, 0.0) for s in shares) for k in keys)
    most = sum(max(s.get(k, 0.0) for s in shares) for k in keys)
    assert mine.features == pytest.approx(least / most)


def test_the_part_along_shared_edges_is_that_of_all_paths() -> None:
    from circuit_tracer.graphs import best_paths

    one = prune(random_graph(3, 2, 4, 4, density=0.7, n_targets=1), node_threshold=1.0)
    edges = one.graph.edges
    rng = np.random.default_rng(0)
    left = rng.random(len(edges)) < 0.9
    other = prune(replace(one.graph, edges=edges.take(left)), node_threshold=1.0)
    shared = set(
        zip(other.graph.edges.source.tolist(), other.graph.edges.target.tolist(), strict=True)
    )
    weight = one.graph.nodes.weight
    sums = [0.0, 0.0]
    for path in best_paths(one.graph, k=100_000, direct=False):
        steps = zip(path.rows[:-1], path.rows[1:], strict=True)
        size = abs(path.strength) * weight[path.rows[-1]]
        sums[0] += size
        sums[1] += size * all(step in shared for step in steps)
    pair = compare(one, other, shuffles=0)
    assert 0.05 < sums[1] / sums[0] < 0.95
    # All the other's paths run along shared edges.
    assert pair.whole.paths == pytest.approx((1 + sums[1] / sums[0]) / 2)


def test_two_dictionaries_share_places_alone() -> None:
    one = pruned(1)
    info = replace(one.graph.info, dictionary=replace(one.graph.info.dictionary, sha256="ef" * 32))
    pair = compare(one, replace(one, graph=replace(one.graph, info=info)), shuffles=5)
    assert (pair.kept.features, pair.kept.edges, pair.kept.paths, pair.p_kept) == (None,) * 4
    assert pair.kept.places == pytest.approx(1.0)
    assert pair.counts.shared == 0
    two = replace(one, graph=replace(one.graph, info=info))
    merged = merge(one, two, pair.columns)
    is_feature = merged.pruned.graph.nodes.kind == NodeKind.FEATURE
    assert not (merged.node_owner[is_feature] == Owner.BOTH).any()
    assert (merged.node_owner[~is_feature] == Owner.BOTH).all()
    other = replace(one.graph.info, model=replace(one.graph.info.model, sha256="01" * 32))
    other = replace(other, dictionary=info.dictionary)
    of_two = compare(one, replace(one, graph=replace(one.graph, info=other)), shuffles=5)
    assert (of_two.kept, of_two.counts) == (pair.kept, pair.counts)  # of two models likewise
    deep = replace(other, n_layers=other.n_layers + 1)
    with pytest.raises(UsageError, match="two models of different depth"):
        compare(one, replace(one, graph=replace(one.graph, info=deep)))


def test_p_is_uniform_for_random_labels() -> None:
    rng = np.random.default_rng(0)
    layers = np.repeat(np.arange(4), 25)
    values = []
    for seed in range(200):
        keys = tuple(np.sort(rng.choice(100, 40, replace=False)) for _ in range(2))
        every = np.arange(100)
        shares = tuple(np.where(np.isin(every, k), rng.gamma(1.0, size=100), 0.0) for k in keys)
        p = permutation_p((every, every), shares, layers, shuffles=60, seed=seed)  # type: ignore[arg-type]
        values.append(p)
    assert abs(float(np.mean(values)) - 0.5) < 0.07
    assert 0.02 < np.mean(np.array(values) <= 0.1) < 0.18


def test_jaccard_by_hand() -> None:
    keys = np.array([0, 1, 1]), np.array([1, 2])
    shares = np.array([2.0, 1.0, 1.0]), np.array([3.0, 1.0])
    assert jaccard(keys, shares) == pytest.approx(0.5 / 1.5)
    assert jaccard((keys[0], keys[0]), (np.zeros(3), np.zeros(3))) is None
    assert jaccard((keys[0], keys[0]), (np.zeros(3), np.ones(3))) == 0.0


def test_the_place_between_floor_and_ceiling() -> None:
    floor, ceiling = Overlap(0.1, 0.1, None, 0.5, 0.1, 0.1), Overlap(0.9, 0.5, 0.9, 0.5, 0.9, 0.9)
    place = between(Overlap(0.5, 0.5, 0.5, 0.5, 0.1, 1.3), floor, ceiling)
    assert place is not None
    assert place.features == pytest.approx(0.5)
    assert place.anywhere == pytest.approx(1.0)
    assert (place.edges, place.paths) == (None, None)
    assert place.tokens == pytest.approx(1.5)
    assert between(floor, None, ceiling) is None
    assert mean_overlap([]) is None
    mean = mean_overlap([floor, ceiling])
    assert mean is not None
    assert (mean.features, mean.edges) == (0.5, 0.9)


@pytest.mark.parametrize(
    ("first", "second", "columns"),
    [
        ("is a banana red ?", "is a lemon blue ?", "00 11 22 33 44 55"),
        ("a banana is", "so a banana is", "00 .1 12 23 34"),
        ("a banana is", "a banana", "00 11 2. 32"),
        ("x y z", "z", "00 1. 2. 31"),
    ],
)
def test_tokens_are_aligned(first: str, second: str, columns: str) -> None:
    graphs = [
        with_tokens(random_graph(2, len(words.split()) + 1, 3), words) for words in (first, second)
    ]
    found = align(*graphs)
    shown = ["".join("." if at is None else str(at) for at in column[:2]) for column in found]
    assert " ".join(shown) == columns


@pytest.mark.parametrize("seed", range(5))
def test_the_alignment_is_the_best_of_all(seed: int) -> None:
    from itertools import combinations

    worth = np.random.default_rng(seed).normal(size=(4, 5))
    best = -np.inf
    for count in range(5):
        for rows in combinations(range(4), count):
            for columns in combinations(range(5), count):
                pairs = list(zip(rows, columns, strict=True))
                best = max(best, sum(worth[i, j] for i, j in pairs) - 0.4 * (9 - 2 * count))
    found = needleman_wunsch(worth)
    assert sum(worth[i, j] for i, j in found) - 0.4 * (9 - 2 * len(found)) == pytest.approx(best)


def test_roles_win_over_tokens() -> None:
    words = ("a banana is", "is banana a")
    graphs = [with_tokens(random_graph(2, 4, 3), text) for text in words]
    given = {
        "a banana is": {"verb": "is", "first": 1},
        "is banana a": {"verb": 1, "last": "a"},
    }
    roles = roles_of(graphs[0], given), roles_of(graphs[1], given)
    assert roles == ({"verb": 3, "first": 1}, {"verb": 1, "last": 3})
    columns = align(*graphs, roles=roles)
    assert {(c.first, c.second, c.role) for c in columns} == {
        (0, 0, ""),
        (1, None, ""),
        (2, 2, ""),
        (3, 1, "verb"),
        (None, 3, ""),
    }
    assert align(*graphs, roles=(roles[0], None)) == align(*graphs)
    with pytest.raises(UsageError, match="position 9"):
        align(*graphs, roles=({"verb": 9}, None))
    with pytest.raises(UsageError, match="same position"):
        align(*graphs, roles=({"verb": 1, "noun": 1}, None))


def test_a_role_at_two_places_is_refused() -> None:
    graph = with_tokens(random_graph(2, 4, 3), "a a b")
    with pytest.raises(UsageError, match="stands at positions @1, @2"):
        roles_of(graph, {"a a b": {"x": "a"}})


def test_a_merged_graph_has_every_node_once_and_says_whose_it_is() -> None:
    one, other = pruned(1), pruned(2)
    pair = compare(one, other, shuffles=0)
    merged = merge(one, other, pair.columns)
    graph, owner = merged.pruned.graph, merged.node_owner
    is_feature = graph.nodes.kind == NodeKind.FEATURE
    counts = [int(((owner == who) & is_feature).sum()) for who in Owner]
    assert counts == [pair.counts.shared, pair.counts.first, pair.counts.second]
    for side, whole in enumerate((one, other)):
        rows = [rows[side] for rows in merged.rows if rows[side] >= 0]
        assert sorted(rows) == whole.kept_rows.tolist()
        own = merged.edge_owner != (Owner.SECOND if side == 0 else Owner.FIRST)
        assert int(own.sum()) == int(whole.edge_kept.sum())
    assert np.all(graph.edges.source < graph.edges.target)
    assert np.all(np.diff(graph.edges.target) >= 0)
    itself = merge(one, one, compare(one, one, shuffles=0).columns)
    assert not itself.node_owner.any()
    assert not itself.edge_owner.any()
    rows = [rows[0] for rows in itself.rows]
    assert itself.pruned.influence == pytest.approx(one.influence[rows])


def test_nothing_kept_is_compared_without_a_figure() -> None:
    one = pruned(1)
    empty = replace(
        one,
        node_kept=one.graph.nodes.kind == NodeKind.LOGIT,
        edge_kept=np.zeros_like(one.edge_kept),
    )
    pair = compare(empty, empty, shuffles=5)
    assert (pair.kept.features, pair.kept.edges, pair.kept.paths) == (None, None, None)
    assert pair.p_kept is None
    bare = replace(
        one.graph,
        edges=Edges(
            *(
                c[:0]
                for c in (one.graph.edges.source, one.graph.edges.target, one.graph.edges.weight)
            )
        ),
    )
    assert compare(replace(one, graph=bare, edge_kept=one.edge_kept[:0]), one).whole.edges == 0.0
