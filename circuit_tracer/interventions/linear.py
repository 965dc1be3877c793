"""A graph's features inside the model's own pass, responding as linearly as the graph has it.

Every expanded feature moves by (its vector in the graph) . (what its encoder reads now - what it
read); what it writes is added to MLP outputs that are frozen. With attention and norms frozen as
well, such a pass is what the graph predicts, edge by edge (`prediction.py`); recomputed, they
respond as in the model, while features, dictionary and errors stay the graph's. So what a
prediction lacks because a graph freezes denominators and patterns comes apart from what it lacks
because MLPs are not linear.

Shapes: B rows, T tokens, d model width, n features of a layer that respond, F features of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit_tracer.graphs.graph import Bools, Graph, NodeKind
from circuit_tracer.interventions.original import Original
from circuit_tracer.interventions.plan import Entries
from circuit_tracer.transcoders.neurons import AnyDictionary


@dataclass(frozen=True)
class LinearLayer:
    """The features of one layer that respond, by position and index."""

    position: Int[Tensor, "n"]
    index: Int[Tensor, "n"]
    vectors: Float[Tensor, "n d"]
    """Their rows in the graph, where the encoder reads."""
    n_features: int
    """Number of features of the layer, F."""

    @cached_property
    def spans(self) -> list[tuple[int, slice]]:
        """Each position with its features."""
        positions, counts = torch.unique_consecutive(self.position, return_counts=True)
        ends = counts.cumsum(0)
        columns = zip(positions.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True)
        return [(position, slice(start, end)) for position, start, end in columns]


@dataclass(frozen=True)
class LinearFeatures:
    """A graph's features that respond, by layer."""

    layers: tuple[LinearLayer, ...]
    dictionary: AnyDictionary

    @classmethod
    def of(cls, graph: Graph, original: Original) -> LinearFeatures:
        """The features with inputs in the graph; others respond to nothing, as in the graph."""
        nodes = graph.nodes
        able = (nodes.kind == NodeKind.FEATURE) & nodes.expanded & (nodes.activation != 0)
        return cls(tuple(_layers(graph, able, original)), original.dictionary)

    @property
    def numbers_a_token(self) -> int:
        """Few beside the pass itself: active features have a number each."""
        return 0

    def changes(
        self, layer: int, read: Float[Tensor, "B T d"], before: Float[Tensor, "T d"]
    ) -> Float[Tensor, "B n"]:
        """By how much a layer's activations move from what was read before."""
        here, moved = self.layers[layer], read - before
        found = moved.new_zeros(len(moved), len(here.index))
        for position, span in here.spans:
            found[:, span] = moved[:, position] @ here.vectors[span].T
        return found

    def places(self, layer: int, entries: Entries) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"]]:
        """(row, column) in `changes` of the entries that are among these features."""
        here = self.layers[layer]
        keys = here.position * here.n_features + here.index
        wanted = entries.position * here.n_features + entries.index
        if not len(keys):
            return entries.row[:0], entries.row[:0]
        found = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        known = (keys[found] == wanted).nonzero().squeeze(1)
        return entries.row[known], found[known]

    def write(
        self, reading: int, layer: int, change: Float[Tensor, "B n"], out: Float[Tensor, "B T d"]
    ) -> None:
        """Add what changed features of one layer write to the MLP output of another."""
        here = self.layers[reading]
        for position, span in here.spans:
            rows = self.dictionary.layers[reading].decoder_rows(here.index[span], layer)
            out[:, position] += change[:, span] @ rows


def _layers(graph: Graph, able: Bools, original: Original) -> Iterator[LinearLayer]:
    nodes = graph.nodes
    for layer in range(original.dictionary.n_layers):
        transcoder = original.dictionary.layers[layer]
        rows = np.flatnonzero(able & (nodes.layer == layer))
        rows = rows[np.lexsort((nodes.feature[rows], nodes.position[rows]))]
        seen = original.seen[layer]
        position = torch.from_numpy(nodes.position[rows].astype(np.int64)).to(seen.device)
        index = torch.from_numpy(nodes.feature[rows]).to(seen.device)
        natural = original.activations[layer][position, index]
        vectors, _ = transcoder.linear_rows(index, seen[position], natural)
        yield LinearLayer(position, index, vectors, transcoder.n_features)
