"""Head loadings against autograd: the part of an edge that goes when a head's pattern is zeroed."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import TraceSettings, source_streams, trace
from circuit_tracer.attribution import head_loadings as heads
from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.graphs.graph import Edges, Graph, NodeKind
from circuit_tracer.graphs.head_loadings import OTHERS, RESIDUAL, HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.transcoders.neurons import AnyDictionary, open_neurons
from tests.attribution.frozen import PROMPT, captured
from tests.oracle import FrozenNetwork
from tests.rounding import rounding
from tests.tiny import each_family_with, random_dictionary

DTYPES = [(dtype, rounding(dtype)) for dtype in (torch.float32, torch.float64)]
LAYERS, HEADS = 3, 4

each_setup = each_family_with("kind, dtype, tolerance", ("clt", *DTYPES[1]), ("plt", *DTYPES[0]))


class Traced(NamedTuple):
    """A prompt traced, some of its edges, and the oracle of it."""

    model: Model
    dictionary: AnyDictionary
    pruned: PrunedGraph
    edges: Edges
    network: FrozenNetwork

    @property
    def graph(self) -> Graph:
        return self.pruned.graph


@cache
def traced(family: str, kind: str, dtype: torch.dtype = torch.float64) -> Traced:
    model, capture = captured(family, dtype)
    dictionary = random_dictionary(model, kind=kind, skip=True)  # type: ignore[arg-type]
    settings = TraceSettings(targets=("yes", "no", "blue"))
    pruned = prune(trace(model, dictionary, PROMPT, settings).graph, node_threshold=0.5)
    network = FrozenNetwork(model.module, capture.token_ids, dictionary)
    graph = pruned.graph
    features = graph.nodes.of_kind(NodeKind.FEATURE)
    some = [*features[graph.nodes.layer[features] > 0][::9].tolist(), *graph.target_rows.tolist()]
    edges = graph.edges.take(np.flatnonzero(np.isin(graph.edges.target, some)))
    return Traced(model, dictionary, pruned, edges, network)


def loadings(one: Traced, floor: float = 0.0) -> HeadLoadings:
    return head_loadings(one.model, one.dictionary, one.pruned, one.edges, floor=floor)


def edge_weights(one: Traced) -> Tensor:
    """(edges,) from the oracle as it stands: nodes and its columns are in the same order."""
    network, nodes = one.network, one.graph.nodes
    V = network.own_logits.shape[1]
    last = torch.full((V,), one.graph.info.targets[0].position)
    logits = network.logit_rows(last, torch.arange(V))
    ids = [target.vocabulary_ids[0] for target in one.graph.info.targets]
    rows = dict(zip(one.graph.target_rows.tolist(), logits[ids] - logits.mean(0), strict=True))
    numbers = {int(c): i for i, c in enumerate(network.columns.feature)}
    features = [t for t in np.unique(one.edges.target).tolist() if t not in rows]
    assert (nodes.kind[features] == NodeKind.FEATURE).all()
    chosen = torch.tensor([numbers[target] for target in features])
    rows |= dict(zip(features, network.feature_rows(chosen), strict=True))
    dense = torch.stack([rows[target] for target in one.edges.target.tolist()])
    return dense[torch.arange(len(dense)), torch.from_numpy(one.edges.source).long()]


def dense_loadings(one: Traced, found: HeadLoadings, head: int) -> np.ndarray:
    """(edges, layers) of one head, or of what stays."""
    n = len(one.graph.nodes)
    key = one.edges.target.astype(np.int64) * n + one.edges.source
    some = found.take(found.head == head)
    at = np.searchsorted(key, some.target.astype(np.int64) * n + some.source)
    dense = np.full((len(one.edges), LAYERS), np.nan if head == RESIDUAL else 0.0)
    dense[at, some.layer] = some.loading
    return dense


@each_setup
def test_loadings_are_what_is_lost_without_the_head(
    family: str, kind: str, dtype: torch.dtype, tolerance: float
) -> None:
    one = traced(family, kind, dtype)
    assert len(one.edges) > 200
    found = loadings(one)
    whole = edge_weights(one)
    largest = float(whole.abs().max())
    for layer in range(LAYERS):
        for head in range(HEADS):
            with one.network.without(layer, head):
                lost = (whole - edge_weights(one)).numpy()
            ours = dense_loadings(one, found, head)[:, layer]
            assert np.abs(ours - lost).max() < tolerance * largest
        with one.network.without(layer, slice(None)):
            left = edge_weights(one).numpy()
        stays = dense_loadings(one, found, RESIDUAL)[:, layer]
        there = ~np.isnan(stays)  # no row where the layer is not between source and target
        assert np.abs(stays - left)[there].max() < tolerance * largest
        assert np.abs(whole.numpy() - left)[~there].max(initial=0) < tolerance * largest


@each_setup
def test_parts_of_every_layer_sum_to_the_edge(
    family: str, kind: str, dtype: torch.dtype, tolerance: float
) -> None:
    one = traced(family, kind, dtype)
    n, tolerance = len(one.graph.nodes), tolerance * float(np.abs(one.edges.weight).max())
    weight = {
        (s, t): w
        for s, t, w in zip(one.edges.source, one.edges.target, one.edges.weight, strict=True)
    }
    for floor in (0.0, 0.05):
        found = loadings(one, floor)
        key = (found.target.astype(np.int64) * n + found.source) * LAYERS + found.layer
        start = np.flatnonzero(np.diff(key, prepend=-1))
        sums = np.add.reduceat(found.loading, start)
        own = [weight[found.source[i], found.target[i]] for i in start]
        assert np.abs(sums - np.array(own)).max() < tolerance
        assert (np.diff(key) >= 0).all()
        assert (found.head == OTHERS).any() == (floor > 0)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_the_peak_is_what_goes_from_its_key_to_its_query(family: str) -> None:
    one = traced(family, "clt")
    found, whole = loadings(one), edge_weights(one)
    n = len(one.graph.nodes)
    edge = one.edges.target.astype(np.int64) * n + one.edges.source
    strongest = np.argsort(-np.abs(found.peak))[:200:25]
    for row in strongest.tolist():
        layer, head = int(found.layer[row]), int(found.head[row])
        query, key = int(found.query[row]), int(found.key[row])
        with one.network.without(layer, head, query, key):
            lost = whole - edge_weights(one)
        at = np.searchsorted(edge, int(found.target[row]) * n + int(found.source[row]))
        assert float(lost[at]) == pytest.approx(found.peak[row], abs=1e-12)


def test_of_the_query_that_most_arrives_at_the_peak_is_the_largest_part() -> None:
    one = traced("llama", "plt")
    found, whole = loadings(one), edge_weights(one)
    row = int(np.argmax(np.abs(found.peak)))
    layer, head, query = int(found.layer[row]), int(found.head[row]), int(found.query[row])
    n = len(one.graph.nodes)
    edge = one.edges.target.astype(np.int64) * n + one.edges.source
    at = np.searchsorted(edge, int(found.target[row]) * n + int(found.source[row]))

    def lost(*part: object) -> float:
        with one.network.without(layer, head, *part):
            return float((whole - edge_weights(one))[at])

    tokens = range(len(one.graph.info.tokens))
    by_query = [lost(i) for i in tokens]
    assert int(np.argmax(np.abs(by_query))) == query
    by_key = [lost(query, j) for j in tokens]
    assert int(np.argmax(np.abs(by_key))) == int(found.key[row])


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_small_blocks_give_the_same_table(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = traced(family, "clt")
    expected = loadings(one, 1e-3)
    monkeypatch.setattr(source_streams, "MOST_NUMBERS", 2000)
    monkeypatch.setattr(heads, "LARGEST_PIECE", 300)
    found = loadings(one, 1e-3)
    assert np.array_equal(found.source, expected.source)
    assert np.array_equal(found.head, expected.head)
    assert np.allclose(found.loading, expected.loading, rtol=0, atol=1e-13)
    assert np.array_equal(found.key, expected.key)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_edges_between_neurons_are_taken_apart_too(family: str) -> None:
    model, _ = captured(family, torch.float64)
    neurons = open_neurons(model)
    pruned = prune(trace(model, neurons, PROMPT, TraceSettings(targets=("yes",))).graph)
    found = head_loadings(model, neurons, pruned)
    assert (found.head >= 0).any()
    assert np.isin(found.target, pruned.kept_edges.target).all()


def test_contrasts_are_taken_apart_too() -> None:
    model, _ = captured("llama", torch.float64)
    dictionary = random_dictionary(model)
    settings = TraceSettings(contrast="yes,no", position=6)
    pruned = prune(trace(model, dictionary, PROMPT, settings).graph)
    assert len(head_loadings(model, dictionary, pruned, pruned.kept_edges)) > 100


def test_another_model_than_the_graphs_is_refused() -> None:
    one = traced("llama", "plt")
    other, _ = captured("llama", torch.float64, seed=7)
    with pytest.raises(UsageError, match="weights are not those that the graph was traced with"):
        head_loadings(other, one.dictionary, one.pruned)
    dictionary = random_dictionary(one.model, kind="plt", skip=True, seed=7)
    with pytest.raises(GraphFileError, match="not the one it was traced with"):
        head_loadings(one.model, dictionary, one.pruned)
