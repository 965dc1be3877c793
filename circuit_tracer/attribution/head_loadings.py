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

from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.resources import products
from circuit_tracer.attribution.source_streams import LARGEST_PIECE, EdgeBlock, TracedEdges
from circuit_tracer.attribution.sweep import SweepTargets, add_in_place
from circuit_tracer.graphs.graph import Edges, Floats, Ints, column_types
from circuit_tracer.graphs.head_loadings import OTHERS, RESIDUAL, HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_numpy
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.transcoders.neurons import AnyDictionary

FLOOR = 1e-3
"""Heads that carry less than this share of an edge are summed into one row a layer."""


@products()
@torch.no_grad()
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
    traced = TracedEdges(model, dictionary, pruned, edges)
    frozen, table = traced.model, _Table(traced, floor)
    T, d = frozen.embeddings.shape
    per_target = frozen.n_layers * T * frozen.layers[0].attention.W_O.shape[1]
    worth: _Worth | None = None
    for block in traced.blocks(per_target=per_target, per_source=4 * T * d):
        if worth is None or worth.targets is not block.targets:
            worth = _Worth(frozen, block.targets)
        block.carry(_Meeting(frozen, worth, block, table).at_attention)
    traced.check()
    return table.loadings()


class _Worth:
    """What targets' cotangents are at every attention layer below them."""

    def __init__(self, model: LocalReplacementModel, targets: SweepTargets) -> None:
        self.model, self.targets = model, targets
        order = torch.argsort(targets.level, descending=True, stable=True)
        self.place = torch.empty_like(order)
        """Where each target stands among those sorted by level, highest first."""
        self.place[order] = torch.arange(len(order), device=order.device)
        self.by_layer = self._walk(targets.take(order))
        """(b, T, H, h) each: what each head's fetched vectors are worth to the b highest."""

    def _walk(self, targets: SweepTargets) -> list[Tensor]:
        model, B = self.model, len(targets)
        cotangent = model.embeddings.new_zeros(B, model.n_tokens, model.embeddings.shape[1])
        cotangent[torch.arange(B, device=cotangent.device), targets.position] = targets.vector
        levels: list[int] = targets.level.tolist()
        joined = sum(level >= model.n_layers for level in levels)
        worth, everywhere = [], slice(model.n_tokens)
        for layer in range(model.n_layers - 1, -1, -1):
            frozen, on_way = model.layers[layer], cotangent[:joined]
            skipped = frozen.pull_skip(on_way, everywhere)
            if not model.parallel:
                add_in_place(on_way, skipped)
                joined = sum(level >= layer for level in levels)
                on_way = cotangent[:joined]
            worth.append(frozen.attention.worth(on_way, everywhere))
            if joined:
                frozen.attention.pull(on_way)
            if model.parallel:
                add_in_place(on_way, skipped)
                joined = sum(level >= layer for level in levels)
        return worth[::-1]


class _Meeting:
    """Edges of one block, where their sources' streams meet their targets' cotangents."""

    def __init__(
        self, model: LocalReplacementModel, worth: _Worth, block: EdgeBlock, table: _Table
    ) -> None:
        self.model, self.worth, self.block, self.table = model, worth, block, table
        level = block.targets.level[block.target]
        self.highest = level - 1 if model.parallel else level
        """The highest attention layer below each edge's target."""

    def at_attention(
        self, layer: int, values: Float[Tensor, "n T K h"], fetched: Float[Tensor, "n T H h"]
    ) -> None:
        """The parts that pass through the heads of a layer between source and target."""
        block, worth = self.block, self.worth.by_layer[layer]
        there = ((block.source_layer < layer) & (layer <= self.highest)).nonzero().squeeze(1)
        for part in there.split(max(1, LARGEST_PIECE // max(1, fetched[:1].numel()))):
            source = block.source[part]
            passing = _passing(
                self.model.layers[layer].attention,
                worth[self.worth.place[block.target[part]]],
                values[source],
                fetched[source],
            )
            self.table.add(layer, block.edge[as_numpy(part)], passing)


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
    by_query = (worth * fetched).sum(-1)  # (e, T, H)
    query = by_query.abs().argmax(1)  # (e, H)
    h = worth.shape[-1]
    at_query = worth.gather(1, query[:, None, :, None].expand(-1, 1, -1, h))[:, 0]  # (e, H, h)
    by_key = attention.by_key(at_query, values, query)
    key = by_key.abs().argmax(2)
    peak = by_key.gather(2, key[..., None])[..., 0]
    return _Passing(by_query.sum(1), key, query, peak)


class _Table:
    """Rows of the table, as the layers give them."""

    def __init__(self, traced: TracedEdges, floor: float) -> None:
        self.edges, self.whole, self.floor = traced.edges, traced.whole, floor
        self.rows: list[dict[str, NDArray[np.generic]]] = []
        self.layers: list[tuple[int, Ints, Floats, Floats]] = []
        """Layer, edges there, sum over its heads, sum over those with a row of their own."""

    def add(self, layer: int, edge: Ints, passing: _Passing) -> None:
        """What passes through the heads of a layer, of some edges."""
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

    def loadings(self) -> HeadLoadings:
        """All rows, with what stays in the residual stream and what weaker heads carry."""
        for layer, edge, through, own in self.layers:
            nothing, none = np.full(len(edge), -1), np.zeros(len(edge))
            for head, loading in ((RESIDUAL, self.whole[edge] - through), (OTHERS, through - own)):
                heads = np.full(len(edge), head)
                self._put(
                    layer, edge, head=heads, key=nothing, query=nothing, loading=loading, peak=none
                )
        names = ("edge", "layer", "head", "key", "query", "loading", "peak")
        columns = {
            name: np.concatenate([np.zeros(0), *(rows[name] for rows in self.rows)])
            for name in names
        }
        there = (columns["head"] != OTHERS) | (columns["loading"] != 0)
        columns = {name: column[there] for name, column in columns.items()}
        order = np.lexsort((columns["head"], columns["layer"], columns["edge"]))
        sorted_columns = {name: column[order] for name, column in columns.items()}
        edge = sorted_columns.pop("edge").astype(np.int64)
        sorted_columns |= {"source": self.edges.source[edge], "target": self.edges.target[edge]}
        types = column_types(HeadLoadings).items()
        return HeadLoadings(**{name: sorted_columns[name].astype(kind) for name, kind in types})
