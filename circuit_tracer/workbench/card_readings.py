"""What is known of a graph's features beside the graph: their cards' words, and what they write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import PrunedGraph
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.graphs.supernodes.grouping import Reading, feature_rows
from circuit_tracer.models.devices import as_floats, on_device
from circuit_tracer.transcoders.cards import Card
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.workbench.folder_contents import are_cards_at_hand, open_cards
from circuit_tracer.workbench.opening import open_pair, reference_of

PROMOTED = 10
"""Tokens of a card that count as promoted."""


def readings_of(pruned: PrunedGraph, cards: Path | None = None) -> list[Reading] | None:
    """What the cards of the kept features say; None for a dictionary without cards."""
    if cards is None and not are_cards_at_hand(pruned):
        return None
    nodes, rows = pruned.graph.nodes, feature_rows(pruned)
    features = zip(nodes.layer[rows].tolist(), nodes.feature[rows].tolist(), strict=True)
    return [reading_of(card) for card in open_cards(pruned, cards).cards(list(features))]


def reading_of(card: Card) -> Reading:
    """The tokens of its examples by activation, and the promoted ones, the first most of all."""
    fires_on: dict[str, float] = {}
    for example in card.examples:
        for token, activation in zip(example.tokens, example.activations, strict=True):
            if activation > 0:
                fires_on[token] = fires_on.get(token, 0.0) + activation
    promotes = {token: 1 / (rank + 1) for rank, token in enumerate(card.promotes[:PROMOTED])}
    return Reading(_shares(fires_on), _shares(promotes))


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total > 0 else {}


def decoders_of(
    pruned: PrunedGraph,
    name: str,
    model: str | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> Floats:
    """(n, d) what the kept features write, summed over the layers they write to.

    `name` is the graph's dictionary, `model` its model where it is not where it was. Raises
    UsageError for neurons and for another dictionary.
    """
    info = pruned.graph.info
    where = model or reference_of(info.model, "`model`")
    dictionary = open_pair(where, name, device=device, threads=threads).dictionary
    if not isinstance(dictionary, Dictionary):
        raise UsageError("`decoders` is for transcoders; neurons have none, leave it out")
    if dictionary.identity.sha256 != info.dictionary.sha256:
        raise UsageError(
            f"`decoders` {name} is not the dictionary of this graph, which is "
            f"{info.dictionary.name}"
        )
    nodes, rows = pruned.graph.nodes, feature_rows(pruned)
    table = np.zeros((len(rows), dictionary.layers[0].b_dec.shape[-1]))
    for layer in dictionary.layers:
        at = np.flatnonzero(nodes.layer[rows] == layer.layer)
        index = on_device(nodes.feature[rows[at]], layer.b_dec.device)
        for written in range(layer.layer, layer.layer + layer.n_written):
            table[at] += as_floats(layer.decoder_rows(index, written))
    return table
