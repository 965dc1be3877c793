"""Carry a graph's sources up and lay out its targets: what splitting edges by head begins with.

With all norms and patterns frozen, what a source adds to the residual stream goes up through
attention and skips position by position, and at every layer all parts of its edges can be read.
Source: method.md section 6.

Shapes: S sources, n <= S of them written so far, T tokens, d model width, K key-value heads, H
heads, h head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.attribution.directions import below
from circuit_tracer.attribution.features import Places
from circuit_tracer.attribution.reopening import freeze_again
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sweep import SweepTargets
from circuit_tracer.attribution.targets import target_directions
from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.graph import Edges, Floats, Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.head_loadings import strongest_edges
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_numpy, on_device
from circuit_tracer.transcoders.neurons import AnyDictionary

MOST_NUMBERS = 1 << 25
"""Numbers of cotangents, or of streams, kept at a time."""
LARGEST_PIECE = 1 << 22
"""Numbers of products looked at at a time."""
LARGEST_MISS = {"float64": 1e-6, "float32": 1e-3, "tf32": 5e-2, "bf16": 2e-1}
"""Most that an edge, traced again, may differ from the graph's, as a share of the strongest edge
into the same target; by what the graph's sweep computed in."""


OnAttention = Callable[[int, Tensor, Tensor], None]
"""Gets a layer, what its key-value heads read (n, T, K, h), and what its heads fetch (n, T, H, h).
"""


def blocks(rows: Ints, numbers_each: int) -> Iterator[Ints]:
    """Nodes, so many at a time that what is kept of them stays in bounds."""
    size = max(1, MOST_NUMBERS // max(1, numbers_each))
    return (rows[i : i + size] for i in range(0, len(rows), size))


def places_of(graph: Graph, rows: Ints, model: LocalReplacementModel) -> Places:
    """Nodes as places on the model's device; the feature index is meaningless for non-features."""
    nodes, device = graph.nodes, model.embeddings.device
    return Places(
        layer=on_device(nodes.layer[rows].astype(np.int64), device),
        position=on_device(nodes.position[rows].astype(np.int64), device),
        index=on_device(nodes.feature[rows], device),
        activation=on_device(nodes.activation[rows], device).to(model.embeddings.dtype),
    )


def sweep_targets(
    model: LocalReplacementModel, graph: Graph, rows: Ints, directions: Float[Tensor, "t d"]
) -> SweepTargets:
    """Target nodes as vectors at the residual stream, in the order of `rows`."""
    places = places_of(graph, rows, model)
    vector, _ = model.linear_rows(places)
    logits = np.flatnonzero(graph.nodes.kind[rows] == NodeKind.LOGIT)
    if len(logits):
        at = torch.from_numpy(logits).to(vector.device)
        which = np.searchsorted(graph.target_rows, rows[logits])
        direction = directions[torch.from_numpy(which).to(vector.device)]
        vector[at] = model.final.pull(direction.to(vector), places.position[at])
        places.layer[at] = model.target_level
    return SweepTargets(places.layer, places.position, vector)


class SourceStreams:
    """What sources add to the residual stream, layer by layer."""

    def __init__(self, model: LocalReplacementModel, graph: Graph, rows: Ints) -> None:
        """`rows` in the graph's order: by layer."""
        self.model = model
        self.places = places_of(graph, rows, model)
        self.layer: list[int] = self.places.layer.tolist()  # ascending
        kinds = torch.from_numpy(graph.nodes.kind[rows].astype(np.int64))
        self.kind = kinds.to(model.embeddings.device)
        self.across = model.dictionary.kind == "clt"

    def carry(self, at_attention: OnAttention, at_level: Callable[[int, Tensor], None]) -> None:
        """Take them up through all layers; `at_level` gets what targets of each level read."""
        model = self.model
        streams = self._bottom()
        for layer, frozen in enumerate(model.layers):
            n = self.below(layer)
            stream, attention = streams[:n], frozen.attention
            values = attention.values(stream)
            fetched = attention.fetched(values)
            at_attention(layer, values, fetched)
            mid = stream if model.parallel else stream + attention.written(fetched)
            at_level(layer, mid)
            skipped = frozen.push_skip(mid)
            streams[:n] = mid + attention.written(fetched) if model.parallel else mid
            streams[:n] += skipped
            self._add(layer, streams)
        at_level(model.n_layers, streams)

    def below(self, layer: int) -> int:
        """How many sources have written before this layer's attention: the first ones."""
        return sum(written < layer for written in self.layer)

    def _bottom(self) -> Float[Tensor, "S T d"]:
        """Streams with the embeddings in them."""
        model, places = self.model, self.places
        streams = model.embeddings.new_zeros(len(self.layer), *model.embeddings.shape)
        rows = (self.kind == NodeKind.EMBEDDING).nonzero().squeeze(1)
        position = places.position[rows]
        streams[rows, position] = model.embeddings[position]
        return streams

    def _add(self, layer: int, streams: Float[Tensor, "S T d"]) -> None:
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


@dataclass(frozen=True)
class EdgeBlock:
    """Edges between a block of sources and one of targets."""

    edge: Ints
    """Which of all edges."""
    source: Int[Tensor, "E"]
    """Place of each edge's source in the block."""
    target: Int[Tensor, "E"]
    streams: SourceStreams
    """The block's sources."""
    targets: SweepTargets
    """The block's targets."""
    whole: Floats
    """Weights of all edges; those of the block are filled in as they come out."""

    @property
    def source_layer(self) -> Int[Tensor, "E"]:
        """Layer of each edge's source."""
        return self.streams.places.layer[self.source]

    def carry(self, at_attention: OnAttention) -> None:
        """Take the sources up; whole edges are filled in where their targets read."""
        self.streams.carry(at_attention, self._at_level)

    def _at_level(self, level: int, streams: Float[Tensor, "n T d"]) -> None:
        here = (self.targets.level[self.target] == level).nonzero().squeeze(1)
        for part in here.split(max(1, LARGEST_PIECE // streams.shape[-1])):
            target = self.target[part]
            seen = streams[self.source[part], self.targets.position[target]]
            weight = (seen * self.targets.vector[target]).sum(-1)
            self.whole[self.edge[as_numpy(part)]] = as_numpy(weight)


class TracedEdges:
    """Some edges of a graph whose prompt is run and frozen again."""

    def __init__(
        self, model: Model, dictionary: AnyDictionary, pruned: PrunedGraph, edges: Edges | None
    ) -> None:
        """The strongest kept edges where none are given. Raises GraphFileError as `freeze_again`.

        `model` and `dictionary` must be those the graph was traced with.
        """
        edges = edges or strongest_edges(pruned)
        self.edges = edges.take(np.lexsort((edges.source, edges.target)))
        self.whole = np.zeros(len(edges))
        """(E,) as they come out now."""
        self.graph, targets = pruned.graph, pruned.graph.info.targets
        frozen, (first, *_) = freeze_again(model, dictionary, pruned.graph.info), targets
        self.model = below(frozen.replacement, first.direction, frozen.capture, model.wiring)
        self.directions = target_directions(model, targets)

    def blocks(self, *, per_target: int, per_source: int) -> Iterator[EdgeBlock]:
        """All edges, target by target, as many at a time as their numbers allow."""
        source, target = self.edges.source, self.edges.target
        for rows in blocks(np.unique(target).astype(np.int64), per_target):
            targets = sweep_targets(self.model, self.graph, rows, self.directions)
            chosen = np.flatnonzero(np.isin(target, rows))
            for some in blocks(np.unique(source[chosen]).astype(np.int64), per_source):
                which = chosen[np.isin(source[chosen], some)]
                device = targets.vector.device
                yield EdgeBlock(
                    edge=which,
                    source=on_device(np.searchsorted(some, source[which]), device),
                    target=on_device(np.searchsorted(rows, target[which]), device),
                    streams=SourceStreams(self.model, self.graph, some),
                    targets=targets,
                    whole=self.whole,
                )

    def check(self) -> None:
        """Raise GraphFileError where edges that came out are not the graph's.

        It is another model, dictionary or prompt then.
        """
        graph, edges, found = self.graph, self.edges, self.whole
        stored = edges.weight.astype(np.float64)
        strongest = np.zeros(len(graph.nodes))
        np.maximum.at(strongest, edges.target, np.abs(stored))
        scale = np.maximum(strongest[edges.target], np.finfo(np.float64).tiny)
        off = np.nan_to_num(np.abs(found - stored) / scale, nan=np.inf)
        worst = int(np.argmax(off)) if len(off) else -1
        if worst >= 0 and off[worst] > LARGEST_MISS.get(graph.info.dtype, 1e-3):
            names = [node_name(graph, int(ends[worst])) for ends in (edges.source, edges.target)]
            raise GraphFileError(
                f"the edge from {names[0]} to {names[1]} comes out as {found[worst]:.4g}, "
                f"and the graph has {stored[worst]:.4g}; the model or the dictionary is not the "
                "one it was traced with: trace the prompt again"
            )
