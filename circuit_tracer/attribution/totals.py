"""Total effects: what each token, feature and error does to a target along all paths at once.

Everything is frozen as in the graph (patterns, norm denominators, active features or halved gates,
errors), and the walk down goes through the MLPs instead of ending at their features: a feature's
cotangent, once all it writes has been read off, is pulled on through its encoder row. What tokens,
errors and constants give then sums to the target's value; what features give is on its way from
them and counts again. Source: method.md section 11.

Shapes: n targets, T tokens, L layers, N features, E positions with errors.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.columns import SourceColumns
from circuit_tracer.attribution.conservation import GROSS_FLOOR, TOLERANCE
from circuit_tracer.attribution.replacement import LocalReplacementModel
from circuit_tracer.attribution.sources import Piece
from circuit_tracer.attribution.sweep import Batch, Sweep, SweepTargets, batches
from circuit_tracer.attribution.targets import ChosenTargets
from circuit_tracer.errors import ConservationError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.token_text import target_text
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.models.devices import as_floats


@dataclass(frozen=True)
class TotalEffects:
    """Signed total effects on some targets, in their order; 0 outside a target's causal cone."""

    tokens: Float[Tensor, "n T"]
    errors: Float[Tensor, "n L E"]
    """Positions that are not zeroed, in order; none of neurons, which leave nothing over."""
    features: Float[Tensor, "n N"] | None
    """By the features' numbers (`LocalReplacementModel.features`); None where they were not asked
    for."""
    constant: Float[Tensor, "n"]
    """What comes from no node, biases of the features on the way included, the targets' own not."""

    @property
    def value(self) -> Float[Tensor, "n"]:
        """Tokens, errors and constant: what the targets' vectors read, without their own biases."""
        return self.tokens.sum(1) + self.errors.sum((1, 2)) + self.constant


@torch.no_grad()
def total_effects(
    model: LocalReplacementModel,
    targets: SweepTargets,
    *,
    batch_size: int = 64,
    features: bool = True,
    sweep: Sweep | None = None,
    through: bool = True,
) -> TotalEffects:
    """Total effects on `targets`, `batch_size` of them in one walk.

    Without `features` memory does not grow with their number: a long prompt has a hundred million
    neurons. `sweep` saves laying the sources out again; its cotangents must be the model's own. Not
    `through` the features, the effects are the direct ones: the targets' rows.
    """
    sweep = sweep or Sweep(model)
    columns, n = sweep.columns, len(targets)
    empty = model.embeddings.new_zeros
    found = TotalEffects(
        tokens=empty(n, columns.n_tokens),
        errors=empty(n, columns.n_layers, columns.n_errors),
        features=empty(n, len(model.features)) if features else None,
        constant=empty(n),
    )
    for batch in batches(targets, batch_size):
        place = _Placing(found, columns, batch)
        found.constant[batch.chosen] = sweep.walk(targets, batch, place.take, through=through)
    return found


def token_totals(
    model: LocalReplacementModel,
    chosen: ChosenTargets,
    *,
    dtype: str,
    batch_size: int = 64,
    sweep: Sweep | None = None,
) -> tuple[tuple[TokenTotals, ...], float, float]:
    """Tokens' totals and direct effects on the explained targets, the largest conservation residual
    of the totals, and its tolerance in `dtype`.

    A residual is relative as in `check_conservation`. Raises ConservationError naming the worst
    target when it lies above the tolerance.
    """
    sweep = sweep or Sweep(model)
    targets, own = chosen.at_stream(model)
    total, direct = (
        total_effects(
            model, targets, batch_size=batch_size, features=False, sweep=sweep, through=through
        )
        for through in (True, False)
    )
    constant = as_floats(total.constant) + as_floats(own)
    tokens, errors = as_floats(total.tokens), as_floats(total.errors).sum((1, 2))
    value = as_floats(chosen.value)
    gross = np.abs(tokens).sum(1) + np.abs(as_floats(total.errors)).sum((1, 2)) + np.abs(constant)
    missed = np.abs(tokens.sum(1) + errors + constant - value)
    scale = np.maximum(np.maximum(np.abs(value), GROSS_FLOOR * gross), np.finfo(np.float64).tiny)
    residuals = np.nan_to_num(missed / scale, nan=np.inf)
    worst, tolerance = int(np.argmax(residuals)), TOLERANCE[dtype]
    if residuals[worst] > tolerance:
        raise ConservationError(
            f'the total effects on the target "{target_text(chosen.targets[worst])}" miss its '
            f"value by a share of {residuals[worst]:.2g}, and {dtype} allows {tolerance:.0e} (a "
            "higher `dtype` helps if it is rounding; otherwise the wiring of this model is wrong)"
        )
    columns = zip(tokens, as_floats(direct.tokens), errors, constant, strict=True)
    found = tuple(
        TokenTotals(tuple(all_paths.tolist()), tuple(edges.tolist()), float(error), float(rest))
        for all_paths, edges, error, rest in columns
    )
    return found, float(residuals[worst]), tolerance


@dataclass(frozen=True)
class _Placing:
    """Puts the pieces of one batch where they belong."""

    found: TotalEffects
    columns: SourceColumns
    batch: Batch

    def take(self, piece: Piece) -> None:
        """One piece."""
        b, n = piece.weight.shape
        rows, found = self.batch.chosen[:b], self.found
        if piece.kind == NodeKind.EMBEDDING:
            found.tokens[rows, :n] = piece.weight
            return
        starts = [self.columns.first_feature(layer) for layer in range(self.columns.n_layers)]
        layer = bisect_right(starts, piece.first) - 1
        if piece.kind == NodeKind.ERROR:
            found.errors[rows, layer, :n] = piece.weight
        elif found.features is not None:
            first = piece.first - self.columns.n_tokens - layer * self.columns.n_errors
            found.features[rows, first : first + n] = piece.weight
