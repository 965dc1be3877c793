"""Why the answer looks where it looks: the head that carries most, and what its score is made of.

With patterns frozen no share says why a head looks at a token. What each head fetches from a token
to the answer's place, times what it is worth there along all paths, finds the head; `qk` takes its
score apart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.qk import explain_score
from circuit_tracer.attribution.sweep import batches
from circuit_tracer.experiments.steps.results import ScoreTerm, Why
from circuit_tracer.experiments.steps.rows import FrozenTranscript
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.attention import source_names
from circuit_tracer.transcoders.neurons import AnyDictionary

TERMS = 4


class Carrier(NamedTuple):
    """The token that an answer draws on most, and the head that carries it."""

    layer: int
    head: int
    source: int
    share: float


@torch.no_grad()
def fetched(frozen: FrozenTranscript) -> Float[Tensor, "L H T"]:
    """What each head fetches from each token to the answer's place, times what that is worth to
    the answer along all paths; biases are left out."""
    n, layers = len(frozen.ids) - 1, frozen.frozen.layers
    targets = frozen.targets(*frozen.contrasts([n]))
    query = torch.full((1, layers[0].attention.mixing.n_heads), n - 1, device=targets.level.device)
    found = {}

    def hear(layer: int, cotangent: Tensor) -> None:
        attention = layers[layer].attention
        worth = attention.worth(cotangent[:, n - 1], slice(n - 1, n))
        values = attention.values(frozen.streams[layer][None])
        found[layer] = attention.by_key(worth, values, query)[0]

    (batch,) = batches(targets, 1)
    frozen.sweep.walk(targets, batch, lambda piece: None, through=True, on_attention=hear)
    return torch.stack([found[layer] for layer in range(len(layers))])


def carrier(frozen: FrozenTranscript) -> Carrier:
    """The earlier token with most of the answer's row, BOS aside, and the head that fetches most
    from it."""
    (row,) = frozen.rows([len(frozen.ids) - 1])
    source = 1 + int(row.shares[1:-1].argmax())
    sizes = fetched(frozen)[:, :, source].abs()
    layer, head = divmod(int(sizes.argmax()), sizes.shape[1])
    return Carrier(layer, head, source, float(sizes[layer, head] / sizes.sum()))


def why(frozen: FrozenTranscript, dictionary: AnyDictionary, pruned: PrunedGraph) -> Why:
    """What the score of that head is made of; `pruned` is a graph of the answer."""
    layer, head, source, share = carrier(frozen)
    query = len(frozen.ids) - 2
    found = explain_score(
        frozen.model, dictionary, pruned, layer=layer, head=head, query=query, key=source
    )
    terms = sorted(
        (*found.parts.positive, *found.parts.negative), key=lambda term: -abs(term.value)
    )
    name = source_names(pruned.graph)
    return Why(
        head=f"L{layer}.H{head}",
        source=source,
        share=share,
        attention=found.attention,
        score=found.parts.value,
        terms=tuple(
            ScoreTerm(name(term.query), name(term.key), term.value) for term in terms[:TERMS]
        ),
    )
