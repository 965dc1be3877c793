"""Edges by the ways through attention: which heads, one after the other, from where to where.

At every attention layer on its way an edge stays where it is, or a head fetches it from one
position and brings it to another. It is the sum over all such ways, and followed from the target
down they come out one by one:

1. A target is a cotangent at one position. Going down it stays there (in the residual stream, and
   in a dictionary's skip). At each attention layer, head h brings to its position i from position j

       part[h, j] = cotangent . W_O_h pattern[h, i, j] W_V_h stream[j]

   of the edge, the stream being the source's, carried up through everything below: all that takes
   h from j last, whatever it took before.
2. What no head brings has stayed all the way from where the source is written.
3. Each part of at least `floor` of its edge is followed: pulled back through h to j it is a
   cotangent at one position again. Weaker ones are only summed.

Parts always sum to what they are parts of, and so at the end to the edge. With a floor of 0 every
way is followed: (1 + heads x positions) to the power of the layers on the way, at most.
Source: method.md section 6.

Shapes: E edges, i items (an edge at a cotangent), c cotangents, S sources, T tokens, d model width,
K key-value heads, Q = H / K, h head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.resources import products
from circuit_tracer.attribution.source_streams import (
    LARGEST_PIECE,
    MOST_NUMBERS,
    EdgeBlock,
    TracedEdges,
)
from circuit_tracer.graphs.graph import Edges
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.head_paths import HeadParts, Hop, Way
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_numpy
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.transcoders.neurons import AnyDictionary

FLOOR = 0.02
"""Parts of less than this share of their edge are not followed."""


@products()
@torch.no_grad()
def head_parts(
    model: Model,
    dictionary: AnyDictionary,
    pruned: PrunedGraph,
    edges: Edges | None = None,
    *,
    floor: float = FLOOR,
) -> HeadParts:
    """The ways of the kept edges (of the strongest, where they are very many), or of others.

    `model` and `dictionary` must be those the graph was traced with. Raises GraphFileError where
    the prompt, run again, does not give the graph's edges.
    """
    traced = TracedEdges(model, dictionary, pruned, edges)
    frozen = traced.model
    parts: list[_Parts] = [[] for _ in range(len(traced.edges))]
    T, d = frozen.embeddings.shape
    per_source = T * (4 * d + frozen.n_layers * len(frozen.layers[0].attention.W_V))
    for block in traced.blocks(per_target=d, per_source=per_source):
        stored = traced.edges.weight[block.edge].astype(np.float64)
        followed = _Followed(block, frozen, torch.from_numpy(floor * np.abs(stored)))
        block.carry(followed.at_attention)
        followed.follow(parts)
    traced.check()
    return _table(traced.edges, parts)


@dataclass(frozen=True)
class _Cotangents:
    """Where ways have been followed to, from the top."""

    vector: Float[Tensor, "c d"]
    position: Int[Tensor, "c"]
    height: Int[Tensor, "c"]
    """2 l: reads the stream before layer l's attention; 2 l + 1: before its MLP."""
    ways: list[Way]
    """Heads between here and the target."""

    def take(self, order: Int[Tensor, "n"]) -> _Cotangents:
        """The cotangents with these indices."""
        return _Cotangents(
            self.vector[order],
            self.position[order],
            self.height[order],
            [self.ways[i] for i in order.tolist()],
        )


@dataclass(frozen=True)
class _Items:
    """Edges, each at a cotangent, with the part of it that arrives there."""

    edge: Int[Tensor, "i"]
    """Index into the block."""
    at: Int[Tensor, "i"]
    """Index of the cotangent."""
    part: Float[Tensor, "i"]

    def take(self, which: Tensor) -> _Items:
        """The items with these indices."""
        return _Items(self.edge[which], self.at[which], self.part[which])


_Frontier = tuple[_Cotangents, _Items]
_Parts = list[tuple[Way, float]]
"""The ways of one edge that were followed, with their parts of it."""


class _Followed:
    """The edges of one block: their sources' streams, and the ways found in them."""

    def __init__(
        self, block: EdgeBlock, model: LocalReplacementModel, least: Float[Tensor, "E"]
    ) -> None:
        self.block, self.model = block, model
        self.least = least.to(model.embeddings)
        """Parts below this are not followed."""
        self.values: list[Tensor] = []
        """By layer (n, T, K, h): what its key-value heads read of the sources below."""

    def at_attention(
        self, layer: int, values: Float[Tensor, "n T K h"], fetched: Float[Tensor, "n T H h"]
    ) -> None:
        """Keep what is read."""
        self.values.append(values)

    def follow(self, found: list[_Parts]) -> None:
        """Follow all edges down to where their sources are written."""
        waiting = [self._start()]
        while waiting:
            cotangents, items = waiting.pop()
            for reached in self._step(cotangents, items, found):
                waiting += _split(*reached, max(1, MOST_NUMBERS // self.model.embeddings.shape[1]))

    def _start(self) -> _Frontier:
        block, targets = self.block, self.block.targets
        cotangents = _Cotangents(
            targets.vector, targets.position, targets.height, [()] * len(targets)
        )
        device = block.source.device
        whole = torch.from_numpy(block.whole[block.edge]).to(self.model.embeddings)
        return cotangents, _Items(torch.arange(len(block.edge), device=device), block.target, whole)

    def _step(
        self, cotangents: _Cotangents, items: _Items, found: list[_Parts]
    ) -> Iterator[_Frontier]:
        """One more head for all parts: what stays goes to `found`, what a head brings comes out."""
        model = self.model
        order = torch.argsort(cotangents.height, descending=True, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        cotangents = cotangents.take(order)
        items = _Items(items.edge, place[items.at], items.part)
        heights: list[int] = cotangents.height.tolist()
        going = cotangents.vector.clone()
        stays = items.part.clone()
        for layer in range(model.n_layers - 1, -1, -1):
            frozen = model.layers[layer]
            above = sum(height >= 2 * layer + 2 for height in heights)
            reading = above if model.parallel else sum(h >= 2 * layer + 1 for h in heights)
            pulled = frozen.pull_skip(going[:above], cotangents.position[:above])
            if pulled is not None and not model.parallel:
                going[:above] += pulled
            passes = (items.at < reading) & (self.block.source_layer[items.edge] < layer)
            which = passes.nonzero().squeeze(1)
            worth = frozen.attention.worth(going[:reading], cotangents.position[:reading])
            yield from self._through(layer, cotangents, worth, items, which, stays)
            if pulled is not None and model.parallel:
                going[:above] += pulled
        self._keep(cotangents, items, stays, found)

    def _through(
        self,
        layer: int,
        cotangents: _Cotangents,
        worth: Float[Tensor, "r H h"],
        items: _Items,
        which: Int[Tensor, "p"],
        stays: Float[Tensor, "i"],
    ) -> Iterator[_Frontier]:
        """The parts that heads of one layer bring; subtracted from what `stays`."""
        attention, values = self.model.layers[layer].attention, self.values[layer]
        for some in which.split(max(1, LARGEST_PIECE // max(1, values[:1].numel()))):
            chosen = items.take(some)
            query = cotangents.position[chosen.at][:, None].expand(-1, worth.shape[1])
            seen = values[self.block.source[chosen.edge]]
            parts = attention.by_key(worth[chosen.at], seen, query)
            stays[some] -= parts.sum((1, 2))
            strong = parts.abs() >= self.least[chosen.edge][:, None, None]
            item, head, key = (strong & (parts != 0)).nonzero(as_tuple=True)
            if len(item):
                reached = torch.stack([chosen.at[item], head, key])
                unique, at = reached.unique(dim=1, return_inverse=True)
                brought = _pulled(attention, layer, cotangents, worth, unique)
                yield brought, _Items(chosen.edge[item], at, parts[item, head, key])

    def _keep(
        self, cotangents: _Cotangents, items: _Items, stays: Float[Tensor, "i"], found: list[_Parts]
    ) -> None:
        """What no further head brings: nothing, where the source stands at another position."""
        source_position = self.block.streams.places.position[self.block.source[items.edge]]
        here = cotangents.position[items.at] == source_position
        strong = here & (stays.abs() >= self.least[items.edge]) & (stays != 0)
        kept, which = items.take(strong), stays[strong]
        edges = self.block.edge[as_numpy(kept.edge)].tolist()
        for edge, at, part in zip(edges, kept.at.tolist(), which.tolist(), strict=True):
            found[edge].append((cotangents.ways[at], part))


def _split(cotangents: _Cotangents, items: _Items, most: int) -> Iterator[_Frontier]:
    """At most so many cotangents at a time."""
    if len(cotangents.ways) <= most:
        yield cotangents, items
        return
    for start in range(0, len(cotangents.ways), most):
        some = torch.arange(start, min(start + most, len(cotangents.ways)), device=items.at.device)
        own = items.take((items.at >= start) & (items.at < start + most))
        yield cotangents.take(some), _Items(own.edge, own.at - start, own.part)


def _pulled(
    attention: FrozenAttention,
    layer: int,
    cotangents: _Cotangents,
    worth: Float[Tensor, "r H h"],
    reached: Int[Tensor, "three n"],
) -> _Cotangents:
    """Cotangents after heads as those before them: (cotangent, head, key) each."""
    at, head, key = reached
    query = cotangents.position[at]
    n, K = len(at), attention.n_kv_heads
    H, h = worth.shape[1:]
    mixed = attention.pattern[head, query, key][:, None] * worth[at, head]
    if attention.key_scale is not None:
        mixed = mixed * attention.key_scale[key][:, None]
    values = mixed.new_zeros(n, K, h)
    values[torch.arange(n, device=head.device), head // (H // K)] = mixed
    hops = zip(head.tolist(), key.tolist(), query.tolist(), strict=True)
    return _Cotangents(
        vector=values.view(n, -1) @ attention.W_V,
        position=key,
        height=torch.full_like(key, 2 * layer),
        ways=[
            (Hop(layer, *hop), *cotangents.ways[i])
            for i, hop in zip(at.tolist(), hops, strict=True)
        ],
    )


def _table(edges: Edges, parts_of_edge: Sequence[_Parts]) -> HeadParts:
    """Every edge's ways, the strongest first, and the sum of those that were not followed."""
    which, ways, weights = [], [], []
    stored = edges.weight.astype(np.float64).tolist()
    for edge, (weight, parts) in enumerate(zip(stored, parts_of_edge, strict=True)):
        ranked: list[tuple[Way | None, float]] = [*sorted(parts, key=lambda one: -abs(one[1]))]
        rest = weight - sum(part for _, part in parts)
        for way, part in [*ranked, (None, rest)]:
            which.append(edge)
            ways.append(way)
            weights.append(part)
    at = np.array(which, dtype=np.int64)
    return HeadParts(
        source=edges.source[at],
        target=edges.target[at],
        weight=np.array(weights, dtype=np.float64),
        ways=tuple(ways),
    )
