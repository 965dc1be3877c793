"""Do two dictionaries of one model tell the same story of a prompt?

Two things that do not depend on how a dictionary cuts up a layer:

* from which tokens the target's influence starts: the overlap of the two graphs' shares by token
  (1 minus half the summed differences), errors left out;
* whether a middle layer's features mean the same: every feature of one graph is compared with those
  of the other that fire at the same layer and token, by the cosine of what they write. The best
  cosines are averaged, weighted by influence, in both directions. Chance is the same against as
  many of the other dictionary's features of that layer taken at random.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.experiments.trust.results import DictionaryAgreement
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.dictionary import Dictionary

ALIKE = 0.7


def agreement(
    ours: PrunedGraph, dictionary: Dictionary, theirs: PrunedGraph, other: Dictionary, *, seed: int
) -> DictionaryAgreement:
    """Compare two graphs of one prompt, each with its dictionary."""
    mine, yours = _starts(ours), _starts(theirs)
    L = ours.graph.info.n_layers
    middle = (L // 3, max(L // 3, (2 * L) // 3 - 1)) if L > 2 else (0, L - 1)
    generator = np.random.default_rng(seed)
    there = _best(ours, dictionary, theirs, other, middle, generator)
    back = _best(theirs, other, ours, dictionary, middle, generator)
    cosine, chance, shared = ((a + b) / 2 for a, b in zip(there, back, strict=True))
    return DictionaryAgreement(
        other=other.identity.name,
        token_overlap=1 - 0.5 * float(np.abs(mine - yours).sum()),
        same_first_token=bool(np.argmax(mine) == np.argmax(yours)),
        middle_layers=middle,
        decoder_cosine=cosine,
        decoder_cosine_by_chance=chance,
        shared_features=shared,
        other_replacement=theirs.scores.replacement,
    )


def _starts(pruned: PrunedGraph) -> Floats:
    """(T,) share of the tokens' influence that starts at each."""
    tokens = pruned.influence[pruned.graph.nodes.of_kind(NodeKind.EMBEDDING)]
    return tokens / max(float(tokens.sum()), np.finfo(np.float64).tiny)


def _best(
    ours: PrunedGraph,
    dictionary: Dictionary,
    theirs: PrunedGraph,
    other: Dictionary,
    middle: tuple[int, int],
    generator: np.random.Generator,
) -> tuple[float, float, float]:
    """Mean best cosine, the same by chance, and the share that is alike; NaN where nothing is."""
    sums = np.zeros(4)
    for layer in range(middle[0], middle[1] + 1):
        for position in range(len(ours.graph.info.tokens)):
            mine, yours = (_firing(one, layer, position) for one in (ours, theirs))
            weight = ours.influence[mine]
            if not len(mine) or not len(yours) or not weight.sum():
                continue
            written = _written(dictionary, layer, ours.graph.nodes.feature[mine])
            count = other.layers[layer].n_features
            random = generator.choice(count, min(len(yours), count), replace=False)
            best, chance = (
                as_floats((written @ _written(other, layer, index).T).amax(1))
                for index in (theirs.graph.nodes.feature[yours], random)
            )
            sums += (weight.sum(), weight @ best, weight @ chance, weight @ (best >= ALIKE))
    if sums[0] == 0:
        nan = float("nan")
        return nan, nan, nan
    cosine, chance_cosine, alike = (sums[1:] / sums[0]).tolist()
    return cosine, chance_cosine, alike


def _firing(pruned: PrunedGraph, layer: int, position: int) -> Ints:
    nodes = pruned.graph.nodes
    here = (nodes.kind == NodeKind.FEATURE) & (nodes.layer == layer) & (nodes.position == position)
    return np.flatnonzero(here)


def _written(dictionary: Dictionary, layer: int, index: Ints) -> Float[Tensor, "n d"]:
    """Unit vectors of all that features write, summed over the layers they write to."""
    transcoder = dictionary.layers[layer]
    numbers = torch.from_numpy(np.asarray(index, dtype=np.int64))
    rows = sum(
        (
            transcoder.decoder_rows(numbers, written)
            for written in range(layer, layer + transcoder.n_written)
        ),
        start=transcoder.b_dec.new_zeros(()),
    )
    return torch.nn.functional.normalize(rows, dim=-1)
