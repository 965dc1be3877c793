"""Edges by their ways through heads, against autograd with all but those heads' weights zeroed.

An edge is linear in each layer's attention pattern. With nothing but some entries of the pattern
left it is the sum of the ways that use no others, so the way that uses all of them is an
alternating sum over their subsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from circuit_tracer.attribution import TraceSettings, head_ways, source_streams, trace
from circuit_tracer.attribution.head_ways import head_parts
from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.graphs.graph import Edges
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.graphs.routes.head_paths import HeadParts, Hop, Way, best_head_paths
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import PROMPT, captured
from tests.attribution.test_head_loadings import LAYERS, Traced, edge_weights, loadings, traced
from tests.graphs.loadings import ways_of
from tests.tiny import FAMILIES, random_dictionary


def some_edges(one: Traced, step: int) -> np.ndarray:
    return np.arange(0, len(one.edges), step)


def parts(one: Traced, edges: Edges, floor: float = 0.0) -> HeadParts:
    return head_parts(one.model, one.dictionary, one.pruned, edges, floor=floor)


@contextmanager
def only(one: Traced, hops: Way) -> Iterator[None]:
    """Inside the block attention has these entries of its patterns left, and no others."""
    kept = [attention.recorded_pattern for attention in one.network.attentions]
    with ExitStack() as stack:
        for layer in range(LAYERS):
            stack.enter_context(one.network.without(layer, slice(None)))
        for hop in hops:
            at = (0, hop.head, hop.query, hop.key)
            one.network.attentions[hop.layer].recorded_pattern[at] = kept[hop.layer][at]
        yield


def by_autograd(one: Traced, way: Way) -> np.ndarray:
    """(edges,) the part of each edge that goes this way."""
    found = np.zeros(len(one.edges))
    for size in range(len(way) + 1):
        for hops in combinations(way, size):
            with only(one, hops):
                found += (-1) ** (len(way) - size) * edge_weights(one).numpy()
    return found


def few_targets(family: str, kind: str) -> Traced:
    """Some edges into the first target and into the highest feature: autograd is slow."""
    one = traced(family, kind)
    features = one.edges.target[one.edges.target < one.graph.target_rows[0]]
    wanted = np.isin(one.edges.target, [features[-1], one.graph.target_rows[0]])
    return one._replace(edges=one.edges.take(np.flatnonzero(wanted)[::3]))


@pytest.mark.parametrize(
    ("family", "kind"), [*((family, "clt") for family in FAMILIES), ("llama", "plt")]
)
def test_every_way_is_what_autograd_finds(family: str, kind: str) -> None:
    one = few_targets(family, kind)
    found = parts(one, one.edges)
    largest = float(np.abs(one.edges.weight).max())
    assert np.abs(found.weight[~found.is_followed]).max() < 1e-12 * largest  # nothing left over
    wanted: dict[int, Way] = {}
    for row in np.argsort(-np.abs(found.weight)).tolist():
        way = found.ways[row]
        if way is not None and len(way) <= (3 if family == "llama" else 2):
            wanted.setdefault(len(way), way)
    assert set(wanted) >= {0, 1, 2}
    for way in wanted.values():
        expected = by_autograd(one, way)
        ours = [
            dict(ways_of(found, s, t)).get(way, 0.0)
            for s, t in zip(one.edges.source.tolist(), one.edges.target.tolist(), strict=True)
        ]
        assert np.abs(np.array(ours) - expected).max() < 1e-12 * largest
        assert np.abs(expected).max() > 0


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3"])
def test_ways_by_their_heads_are_the_head_loadings(family: str) -> None:
    """Summed over all ways that use a head of a layer: what passes through that head."""
    one = traced(family, "clt")
    edges = one.edges.take(some_edges(one, 25))
    found, passing = parts(one, edges), loadings(one)
    for s, t in zip(edges.source.tolist(), edges.target.tolist(), strict=True):
        rows: HeadLoadings = passing.of_edge(s, t)
        ways = ways_of(found, s, t)
        for layer, head, loading in zip(rows.layer, rows.head, rows.loading, strict=True):
            if head < 0:
                continue
            through = [
                part
                for way, part in ways
                if way is not None and any(h.layer == layer and h.head == head for h in way)
            ]
            assert sum(through) == pytest.approx(loading, abs=1e-12)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_parts_sum_to_the_edges_whatever_the_floor_and_the_blocks(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = traced(family, "clt")
    edges = one.edges.take(some_edges(one, 15))
    every = parts(one, edges)
    for floor in (0.3, 0.05):
        some = parts(one, edges, floor)
        assert len(some) < len(every)
        for s, t, weight in zip(
            edges.source.tolist(), edges.target.tolist(), edges.weight.tolist(), strict=True
        ):
            ours, all_ = ways_of(some, s, t), dict(ways_of(every, s, t))
            assert sum(part for _, part in ours) == pytest.approx(weight, abs=1e-13)
            for way, part in ours:
                if way is not None:
                    assert abs(part) >= floor * abs(weight)
                    assert part == pytest.approx(all_[way], abs=1e-13)
    monkeypatch.setattr(source_streams, "MOST_NUMBERS", 3000)
    monkeypatch.setattr(head_ways, "MOST_NUMBERS", 300)
    monkeypatch.setattr(head_ways, "LARGEST_PIECE", 500)
    small = parts(one, edges, 0.05)
    assert small.ways == some.ways
    assert np.allclose(small.weight, some.weight, rtol=0, atol=1e-13)


def test_heads_follow_one_another_up_the_layers_and_meet() -> None:
    one = traced("llama", "clt")
    nodes = one.graph.nodes
    found = parts(one, one.edges.take(some_edges(one, 15)), 0.01)
    several = 0
    for source, target, way in zip(found.source, found.target, found.ways, strict=True):
        if not way:
            continue
        layers = [hop.layer for hop in way]
        assert layers == sorted(set(layers))
        assert nodes.layer[source] < layers[0]
        assert layers[-1] <= nodes.layer[target]
        assert way[0].key == nodes.position[source]
        assert way[-1].query == nodes.position[target]
        assert all(a.query == b.key for a, b in pairwise(way))
        several += len(way) > 1
    assert several > 5
    assert Hop(1, 2, 3, 4).name == "L1.H2"


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_routes_through_heads_of_a_model_sum_to_its_routes(family: str) -> None:
    model, _ = captured(family, torch.float64)
    neurons = open_neurons(model)
    pruned = prune(
        trace(model, neurons, PROMPT, TraceSettings(targets=("yes",))).graph,
        node_threshold=0.2,
        edge_threshold=0.4,
    )
    found = head_parts(model, neurons, pruned, floor=0.0)
    sums: dict[tuple[int, ...], float] = {}
    for path in best_head_paths(pruned, found, k=100_000):
        sums[path.rows] = sums.get(path.rows, 0.0) + path.strength
    paths = best_paths(pruned, k=5)
    for path in paths:
        assert sums[path.rows] == pytest.approx(path.strength, rel=1e-3)


def test_another_model_or_dictionary_than_the_graphs_is_refused() -> None:
    one = traced("llama", "plt")
    other, _ = captured("llama", torch.float64, seed=7)
    with pytest.raises(UsageError, match="its weights are not those"):
        head_parts(other, one.dictionary, one.pruned)
    dictionary = random_dictionary(one.model, skip=True, seed=2)
    with pytest.raises(GraphFileError, match="not the one it was traced with"):
        head_parts(one.model, dictionary, one.pruned)
