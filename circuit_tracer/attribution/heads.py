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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from circuit_tracer.attribution.again import FrozenPrompt, freeze_again
from circuit_tracer.attribution.features import Places
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sweep import SweepTargets
from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.graph import Edges, Floats, Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.heads import OTHERS, RESIDUAL, HeadLoadings, strongest_edges
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.models import Model
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.transcoders.neurons import AnyDictionary

FLOOR = 1e-3
"""Heads that carry less than this share of an edge are summed into one row a layer."""
MOST_NUMBERS = 1 << 25
"""Numbers of cotangents, or of streams, that are held at a time."""
LARGEST_PIECE = 1 << 22
"""Numbers of products looked at at a time."""
LARGEST_MISS = {"float64": 1e-6, "float32": 1e-3, "tf32": 5e-2, "bf16": 2e-1}
"""Most that an edge, traced again, may differ from the graph's, as a share of the strongest edge
into the same target; by what the graph's sweep computed in."""


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


def target_directions(model: Model, graph: Graph) -> Float[Tensor, "t d"]:
    """What each target is in what the unembedding reads, in the order of `info.targets`."""
    unembedding = model.unembedding
    mean = unembedding.mean(0)
    ids = [target.vocabulary_ids for target in graph.info.targets]
    return torch.stack(
        [unembedding[one[0]] - (unembedding[one[1]] if len(one) == 2 else mean) for one in ids]
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
    for rows in _blocks(targets.astype(np.int64), per_target):
        chosen = np.flatnonzero(np.isin(edges.target, rows))
        if len(chosen):
            below = _Below(model, _sweep_targets(model, graph, rows, directions))
            _through(model, graph, edges, chosen, rows, below, found)
    found.check(graph)
    return found.table()


def _blocks(rows: Ints, numbers_each: int) -> Iterator[Ints]:
    """Nodes, so many at a time that what is held of them stays in bounds."""
    size = max(1, MOST_NUMBERS // max(1, numbers_each))
    return (rows[i : i + size] for i in range(0, len(rows), size))


def _places(graph: Graph, rows: Ints, model: LocalReplacementModel) -> Places:
    """Nodes as places on the model's device; the feature index is meaningless for non-features."""
    nodes, device = graph.nodes, model.embeddings.device
    activation = torch.from_numpy(nodes.activation[rows]).to(model.embeddings.dtype)
    return Places(
        layer=torch.from_numpy(nodes.layer[rows].astype(np.int64)).to(device),
        position=torch.from_numpy(nodes.position[rows].astype(np.int64)).to(device),
        index=torch.from_numpy(nodes.feature[rows]).to(device),
        activation=activation.to(device),
    )


def _sweep_targets(
    model: LocalReplacementModel, graph: Graph, rows: Ints, directions: Float[Tensor, "t d"]
) -> SweepTargets:
    """Target nodes as vectors at the residual stream, in the order of `rows`."""
    places = _places(graph, rows, model)
    vector, _ = model.linear_rows_at(places)
    logits = np.flatnonzero(graph.nodes.kind[rows] == NodeKind.LOGIT)
    if len(logits):
        at = torch.from_numpy(logits).to(vector.device)
        which = np.searchsorted(graph.target_rows, rows[logits])
        direction = directions[torch.from_numpy(which).to(vector.device)]
        vector[at] = model.final.pull(direction.to(vector), places.position[at])
    return SweepTargets(places.layer, places.position, vector)


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
            skipped = frozen.pull_skip(on_way, model.n_zeroed)
            if not model.parallel:
                _add(on_way, skipped, model.n_zeroed)
                joined = sum(level >= layer for level in levels)
                on_way = cotangent[:joined]
            worth.append(frozen.attention.worth(on_way))
            if joined:
                frozen.attention.pull(on_way)
            if model.parallel:
                _add(on_way, skipped, model.n_zeroed)
                joined = sum(level >= layer for level in levels)
        return worth[::-1]


def _add(cotangent: Tensor, pulled: Tensor | None, start: int) -> None:
    if pulled is not None:
        cotangent[:, start:] += pulled


def _through(
    model: LocalReplacementModel,
    graph: Graph,
    edges: Edges,
    chosen: Ints,
    rows: Ints,
    below: _Below,
    found: _Found,
) -> None:
    """Carry the sources of the chosen edges up and meet the targets' cotangents at every layer."""
    device = model.embeddings.device
    sources = np.unique(edges.source[chosen]).astype(np.int64)  # node order: by layer
    d = model.embeddings.shape[1]
    for some in _blocks(sources, 4 * model.n_tokens * d):
        which = chosen[np.isin(edges.source[chosen], some)]
        source = torch.from_numpy(np.searchsorted(some, edges.source[which])).to(device)
        target = torch.from_numpy(np.searchsorted(rows, edges.target[which])).to(device)
        written = _Written(model, graph, some)
        meeting = _Meeting(model, below, which, source, target, written.layer, found)
        streams = written.bottom()
        for layer, frozen in enumerate(model.layers):
            n = written.below(layer)
            stream, attention = streams[:n], frozen.attention
            values = attention.values(stream)
            fetched = attention.fetched(values)
            meeting.at_attention(layer, values, fetched)
            mid = stream if model.parallel else stream + attention.written(fetched)
            meeting.at_level(layer, mid)
            skipped = frozen.push_skip(mid, model.n_zeroed)
            streams[:n] = mid + attention.written(fetched) if model.parallel else mid
            streams[:n, model.n_zeroed :] += skipped
            written.add(layer, streams)
        meeting.at_level(model.n_layers, streams)


class _Written:
    """What sources add to the residual stream, layer by layer."""

    def __init__(self, model: LocalReplacementModel, graph: Graph, rows: Ints) -> None:
        self.model = model
        self.places = _places(graph, rows, model)
        self.layer: list[int] = self.places.layer.tolist()  # ascending
        kinds = torch.from_numpy(graph.nodes.kind[rows].astype(np.int64))
        self.kind = kinds.to(model.embeddings.device)
        self.across = model.dictionary.kind == "clt"

    def below(self, layer: int) -> int:
        """How many sources have written before this layer's attention: the first ones."""
        return sum(written < layer for written in self.layer)

    def bottom(self) -> Float[Tensor, "S T d"]:
        """Streams with the embeddings in them."""
        model, places = self.model, self.places
        streams = model.embeddings.new_zeros(len(self.layer), *model.embeddings.shape)
        rows = (self.kind == NodeKind.EMBEDDING).nonzero().squeeze(1)
        position = places.position[rows]
        streams[rows, position] = model.embeddings[position]
        return streams

    def add(self, layer: int, streams: Float[Tensor, "S T d"]) -> None:
        """Add what features and errors write at this layer's MLP."""
        model, places = self.model, self.places
        frozen = model.layers[layer]
        if frozen.error is not None:
            errors = (self.kind == NodeKind.ERROR) & (places.layer == layer)
            rows = errors.nonzero().squeeze(1)
            position = places.position[rows]
            streams[rows, position] += frozen.error[position]
        for reading in range(layer + 1) if self.across else [layer]:
            features = (self.kind == NodeKind.FEATURE) & (places.layer == reading)
            rows = features.nonzero().squeeze(1)
            if not len(rows):
                continue
            transcoder = model.dictionary.layers[reading]
            vectors = transcoder.decoder_rows(places.index[rows], layer)
            vectors = vectors * places.activation[rows, None]
            position = places.position[rows]
            streams[rows, position] += frozen.push_write(vectors, position)


class _Meeting:
    """Edges of one block of sources and one of targets."""

    def __init__(
        self,
        model: LocalReplacementModel,
        below: _Below,
        edge: Ints,
        source: Int[Tensor, "E"],
        target: Int[Tensor, "E"],
        source_layer: list[int],
        found: _Found,
    ) -> None:
        self.model, self.below, self.found = model, below, found
        self.edge, self.source, self.target = edge, source, target
        self.source_layer = torch.tensor(source_layer, device=source.device)[source]
        self.target_level = below.targets.level[target]

    def at_level(self, level: int, streams: Float[Tensor, "n T d"]) -> None:
        """The whole edges into targets that read the stream here."""
        here = (self.target_level == level).nonzero().squeeze(1)
        for part in _parts(here, streams.shape[-1]):
            target, targets = self.target[part], self.below.targets
            seen = streams[self.source[part], targets.position[target]]
            weight = (seen * targets.vector[target]).sum(-1)
            self.found.weight[self.edge[_numpy(part)]] = _numpy(weight)

    def at_attention(
        self, layer: int, values: Float[Tensor, "n T K h"], fetched: Float[Tensor, "n T H h"]
    ) -> None:
        """The parts that pass through the heads of a layer between source and target."""
        reads_behind = self.target_level - (1 if self.model.parallel else 0)
        there = (self.source_layer < layer) & (layer <= reads_behind)
        worth = self.below.worth[layer]
        for part in _parts(there.nonzero().squeeze(1), fetched[0].numel() if len(fetched) else 1):
            source = self.source[part]
            passing = _passing(
                self.model.layers[layer].attention,
                worth[self.below.place[self.target[part]]],
                values[source],
                fetched[source],
            )
            self.found.add(layer, self.edge[_numpy(part)], passing)


def _parts(chosen: Int[Tensor, "e"], numbers_each: int) -> Iterator[Int[Tensor, "p"]]:
    size = max(1, LARGEST_PIECE // max(1, numbers_each))
    return (chosen[i : i + size] for i in range(0, len(chosen), size))


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
        loading = _numpy(passing.loading).astype(np.float64)
        least = self.floor * np.abs(self.edges.weight[edge])
        own = np.abs(loading) >= np.maximum(least, np.finfo(np.float64).tiny)[:, None]
        at, head = np.nonzero(own)
        self._put(
            layer,
            edge[at],
            head=head,
            key=_numpy(passing.key)[own],
            query=_numpy(passing.query)[own],
            loading=loading[own],
            peak=_numpy(passing.peak)[own],
        )
        self.layers.append((layer, edge, loading.sum(1), (loading * own).sum(1)))

    def _put(self, layer: int, edge: Ints, **columns: NDArray[np.generic]) -> None:
        self.rows.append({"edge": edge, "layer": np.full(len(edge), layer), **columns})

    def check(self, graph: Graph) -> None:
        """The edges must be the graph's: it is another model, dictionary or prompt otherwise."""
        stored = self.edges.weight.astype(np.float64)
        strongest = np.zeros(len(graph.nodes))
        np.maximum.at(strongest, self.edges.target, np.abs(stored))
        off = np.abs(self.weight - stored) / np.maximum(
            strongest[self.edges.target], np.finfo(np.float64).tiny
        )
        if not len(off):
            return
        worst = int(np.argmax(np.nan_to_num(off, nan=np.inf)))
        if not off[worst] <= LARGEST_MISS.get(graph.info.dtype, 1e-3):
            names = [
                node_name(graph, int(ends[worst]))
                for ends in (self.edges.source, self.edges.target)
            ]
            raise GraphFileError(
                f"the edge from {names[0]} to {names[1]} comes out as {self.weight[worst]:.4g}, "
                f"and the graph has {stored[worst]:.4g}; the model or the dictionary is not the "
                "one it was traced with: trace the prompt again"
            )

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


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    return tensor.detach().cpu().numpy()
