"""Head loadings: the part of each edge that passes through each attention head.

A source's contribution is carried up through the frozen layers position by position, a target's
cotangent down. At attention layer m both are there, and head h hands on, from key position j to
query position i,

    loading[h, i, j] = cotangent[i] . W_O_h pattern[h, i, j] W_V_h stream[j].

Summed over heads, plus what stays in the residual stream (and in a dictionary's skip, and what a
cross-layer feature writes later), it is the edge, at every layer between source and target.
Source: method.md section 6; head loadings of "Circuit Tracing" (Anthropic, March 2025).

Cotangents of a target are shared by all edges into it, streams of a source by all edges out of it,
so all edges of a graph take two walks through the layers for every block of nodes.

Shapes: E edges, S sources, B targets, T tokens, d model width, H heads, K key-value heads, h head
width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.reopening import FrozenPrompt, freeze_again
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.source_streams import (
    LARGEST_PIECE,
    EdgeBlock,
    Written,
    blocks,
    check_edges,
    sweep_targets,
    target_directions,
)
from circuit_tracer.attribution.sweep import SweepTargets
from circuit_tracer.graphs.graph import Edges, Floats, Graph, Ints
from circuit_tracer.graphs.head_loadings import OTHERS, RESIDUAL, HeadLoadings, strongest_edges
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_numpy
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.transcoders.neurons import AnyDictionary

FLOOR = 1e-3
"""Heads that carry less than this share of an edge are summed into one row a layer."""


def head_loadings(
    model: Model,
    dictionary: AnyDictionary,
    pruned: PrunedGraph,
    edges: Edges | None = None,
    *,
    floor: float = FLOOR,
) -> HeadLoadings:
    """Loadings of the kept edges (of the strongest, where they are very many), or of others.

    `model` and `dictionary` must be those the graph was traced with. Rows of heads below `floor` of
    their edge are summed. Raises GraphFileError where the prompt, run again, does not give the
    graph's edges.
    """
    frozen = freeze_again(model, dictionary, pruned.graph.info)
    directions = target_directions(model, pruned.graph)
    return loadings_of(
        frozen, pruned.graph, edges or strongest_edges(pruned), directions, floor=floor
    )


@torch.no_grad()
def loadings_of(
    frozen: FrozenPrompt,
    graph: Graph,
    edges: Edges,
    directions: Float[Tensor, "t d"],
    *,
    floor: float = FLOOR,
) -> HeadLoadings:
    """The same from a prompt that is frozen already."""
    model = frozen.replacement
    order = np.lexsort((edges.source, edges.target))
    edges = edges.take(order)
    found = _Found(edges, floor)
    targets = np.unique(edges.target)
    per_target = model.n_layers * model.n_tokens * model.layers[0].attention.W_O.shape[1]
    per_source = 4 * model.n_tokens * model.embeddings.shape[1]
    for rows in blocks(targets.astype(np.int64), per_target):
        chosen = np.flatnonzero(np.isin(edges.target, rows))
        below = _Below(model, sweep_targets(model, graph, rows, directions))
        for some in blocks(np.unique(edges.source[chosen]).astype(np.int64), per_source):
            which = chosen[np.isin(edges.source[chosen], some)]
            written = Written(model, graph, some)
            ends = edges.source[which], edges.target[which]
            block = EdgeBlock.of(which, ends, (some, rows), written, below.targets, found.weight)
            written.carry(_Meeting(model, below, block, found))
    check_edges(graph, edges, found.weight)
    return found.table()


class _Below:
    """What targets' cotangents are at every attention layer below them."""

    def __init__(self, model: LocalReplacementModel, targets: SweepTargets) -> None:
        self.model, self.targets = model, targets
        order = torch.argsort(targets.level, descending=True, stable=True)
        self.place = torch.empty_like(order)
        """Where each target stands among those sorted by level, highest first."""
        self.place[order] = torch.arange(len(order), device=order.device)
        self.worth = self._walk(targets.take(order))
        """By layer (b, T, H, h): what each head's fetched vectors are worth to the b highest."""

    def _walk(self, targets: SweepTargets) -> list[Tensor]:
        model, B = self.model, len(targets)
        cotangent = model.embeddings.new_zeros(B, model.n_tokens, model.embeddings.shape[1])
        here = torch.arange(B, device=cotangent.device)
        cotangent[here, targets.position] = targets.vector
        levels: list[int] = targets.level.tolist()
        joined = sum(level >= model.n_layers for level in levels)
        worth = []
        for layer in range(model.n_layers - 1, -1, -1):
            frozen, on_way = model.layers[layer], cotangent[:joined]
            skipped = frozen.pull_skip(on_way)
            if not model.parallel:
                _add(on_way, skipped)
                joined = sum(level >= layer for level in levels)
                on_way = cotangent[:joined]
            worth.append(frozen.attention.worth(on_way))
            if joined:
                frozen.attention.pull(on_way)
            if model.parallel:
                _add(on_way, skipped)
                joined = sum(level >= layer for level in levels)
        return worth[::-1]


def _add(cotangent: Tensor, pulled: Tensor | None) -> None:
    if pulled is not None:
        cotangent += pulled


class _Meeting:
    """Edges of one block, where their sources' streams meet their targets' cotangents."""

    def __init__(
        self, model: LocalReplacementModel, below: _Below, block: EdgeBlock, found: _Found
    ) -> None:
        self.model, self.below, self.block, self.found = model, below, block, found
        level = below.targets.level[block.target]
        self.highest = level - 1 if model.parallel else level
        """Attention layer right below each edge's target."""

    def at_level(self, level: int, streams: Float[Tensor, "n T d"]) -> None:
        """The whole edges."""
        self.block.at_level(level, streams)

    def at_attention(
        self, layer: int, values: Float[Tensor, "n T K h"], fetched: Float[Tensor, "n T H h"]
    ) -> None:
        """The parts that pass through the heads of a layer between source and target."""
        block, worth = self.block, self.below.worth[layer]
        there = ((block.source_layer < layer) & (layer <= self.highest)).nonzero().squeeze(1)
        for part in there.split(max(1, LARGEST_PIECE // max(1, fetched[:1].numel()))):
            source = block.source[part]
            passing = _passing(
                self.model.layers[layer].attention,
                worth[self.below.place[block.target[part]]],
                values[source],
                fetched[source],
            )
            self.found.add(layer, block.edge[as_numpy(part)], passing)


@dataclass(frozen=True)
class _Passing:
    """What passes through each head of one layer."""

    loading: Float[Tensor, "e H"]
    key: Int[Tensor, "e H"]
    query: Int[Tensor, "e H"]
    peak: Float[Tensor, "e H"]


def _passing(
    attention: FrozenAttention,
    worth: Float[Tensor, "e T H h"],
    values: Float[Tensor, "e T K h"],
    fetched: Float[Tensor, "e T H h"],
) -> _Passing:
    """Loadings of edges, and the pair of positions with the largest part.

    Of the query position that most arrives at, the key position that most of it comes from.
    """
    e, T, H, h = worth.shape
    K = values.shape[2]
    by_query = (worth * fetched).sum(-1)  # (e, T, H)
    query = by_query.abs().argmax(1)  # (e, H)
    at_query = worth.gather(1, query[:, None, :, None].expand(-1, 1, -1, h))[:, 0]  # (e, H, h)
    unmixed = torch.einsum("ekqc,etkc->ekqt", at_query.view(e, K, H // K, h), values)
    heads = torch.arange(H, device=query.device)
    by_key = unmixed.reshape(e, H, T) * attention.pattern[heads, query]
    key = by_key.abs().argmax(2)
    peak = by_key.gather(2, key[..., None])[..., 0]
    return _Passing(by_query.sum(1), key, query, peak)


class _Found:
    """Rows of the table, as the layers hand them in."""

    def __init__(self, edges: Edges, floor: float) -> None:
        self.edges, self.floor = edges, floor
        self.weight = np.zeros(len(edges))
        """Of each edge, as it comes out now."""
        self.rows: list[dict[str, NDArray[np.generic]]] = []
        self.layers: list[tuple[int, Ints, Floats, Floats]] = []
        """Layer, edges there, sum over its heads, sum over those with a row of their own."""

    def add(self, layer: int, edge: Ints, passing: _Passing) -> None:
        loading = as_numpy(passing.loading).astype(np.float64)
        least = self.floor * np.abs(self.edges.weight[edge])
        own = np.abs(loading) >= np.maximum(least, np.finfo(np.float64).tiny)[:, None]
        at, head = np.nonzero(own)
        self._put(
            layer,
            edge[at],
            head=head,
            key=as_numpy(passing.key)[own],
            query=as_numpy(passing.query)[own],
            loading=loading[own],
            peak=as_numpy(passing.peak)[own],
        )
        self.layers.append((layer, edge, loading.sum(1), (loading * own).sum(1)))

    def _put(self, layer: int, edge: Ints, **columns: NDArray[np.generic]) -> None:
        self.rows.append({"edge": edge, "layer": np.full(len(edge), layer), **columns})

    def table(self) -> HeadLoadings:
        """All rows, with what stays in the residual stream and what weaker heads carry."""
        for layer, edge, through, own in self.layers:
            nothing = np.full(len(edge), -1)
            for head, loading in ((RESIDUAL, self.weight[edge] - through), (OTHERS, through - own)):
                self._put(
                    layer,
                    edge,
                    head=np.full(len(edge), head),
                    key=nothing,
                    query=nothing,
                    loading=loading,
                    peak=np.zeros(len(edge)),
                )
        names = ("edge", "layer", "head", "key", "query", "loading", "peak")
        columns = {
            name: np.concatenate([np.zeros(0), *(rows[name] for rows in self.rows)])
            for name in names
        }
        there = (columns["head"] != OTHERS) | (columns["loading"] != 0)
        columns = {name: column[there] for name, column in columns.items()}
        order = np.lexsort((columns["head"], columns["layer"], columns["edge"]))
        edge = columns["edge"][order].astype(np.int64)
        return HeadLoadings(
            source=self.edges.source[edge].astype(np.int32),
            target=self.edges.target[edge].astype(np.int32),
            layer=columns["layer"][order].astype(np.int16),
            head=columns["head"][order].astype(np.int16),
            key=columns["key"][order].astype(np.int32),
            query=columns["query"][order].astype(np.int32),
            loading=columns["loading"][order].astype(np.float64),
            peak=columns["peak"][order].astype(np.float64),
        )
