"""What ablating each kept feature does to the answer: do the members of a supernode act alike?

Every kept feature is ablated alone, with attention patterns frozen and all MLPs above recomputed.
The effect is the change of every logit at the explained positions, less its mean over the
vocabulary, which the softmax does not see. Of a large vocabulary's logits only what they are in an
orthonormal basis of the unembedding's columns is kept: as many numbers as the model is wide, with
the same cosines, because the logits are linear in what the unembedding reads.

`graphs/supernode_scores.py` compares the effects. Source: method.md section 7.

Shapes: V vocabulary, d model width, P explained positions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.graphs.graph import Floats
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.grouping import feature_rows
from circuit_tracer.interventions.engine import intervene
from circuit_tracer.interventions.original import run_again
from circuit_tracer.interventions.selection import change_of
from circuit_tracer.interventions.spec import ABLATED
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.neurons import AnyDictionary

WIDEST = 4096
"""Logits of a position that are kept as they are."""
MOST_LOGITS = 1 << 26
"""Logits kept at a time."""


@torch.no_grad()
def ablation_effects(
    model: Model, dictionary: AnyDictionary, pruned: PrunedGraph
) -> dict[int, Floats]:
    """By row of the node table of each kept feature: the change of the logits, (P * V) or less.

    Raises UsageError for a graph of another model, dictionary or tokenizer.
    """
    info = pruned.graph.info
    original = run_again(model, dictionary, pruned.graph)
    positions = sorted({target.position for target in info.targets})
    basis = _basis(model.unembedding)
    rows = feature_rows(pruned).tolist()
    size = max(1, MOST_LOGITS // (len(positions) * len(model.unembedding)))
    effects: dict[int, Floats] = {}
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        found = intervene(
            model,
            dictionary,
            original.token_ids,
            [(change_of(pruned.graph, row, ABLATED),) for row in some],
            mode="constrained",
            writes="frozen",
            positions=positions,
            original=original,
        )
        change = found.logits - found.baseline
        change = change - change.mean(-1, keepdim=True)
        change = change if basis is None else change @ basis
        effects |= zip(some, as_floats(change.flatten(1)), strict=True)
    return effects


def _basis(unembedding: Float[Tensor, "V d"]) -> Float[Tensor, "V d"] | None:
    """Orthonormal columns that span all changes of centred logits; None where V is small."""
    if len(unembedding) <= max(WIDEST, unembedding.shape[1]):
        return None
    wide = unembedding if unembedding.dtype == torch.float64 else unembedding.float()
    basis: Tensor = torch.linalg.qr(wide - wide.mean(0)).Q
    return basis.to(unembedding.dtype)
