"""Conservation: the incoming edges of a node plus its constant are its value (method.md section 3).

The value comes from the model's own forward pass, not from the sweep, so that whatever is wrong
with the wiring, the dictionary or the sweep shows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.errors import ConservationError
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.graphs.token_text import target_text
from circuit_tracer.models.devices import as_floats

TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "tf32": 5e-2, "bf16": 2e-1}
"""Largest relative conservation residual a graph may have, by what the sweep computes in."""

GROSS_FLOOR = 0.01
"""A target's residual is relative to its value, or to this share of the absolute sum of what it
receives where the value itself is smaller (it is a small difference of large parts then)."""


def check_conservation(assembler: Assembler, dtype: str) -> tuple[float, float]:
    """Largest residual and the tolerance, for a sweep in `dtype`.

    With cotangents of lower precision the share is one of all that a target receives. What a value
    misses by no more than it is rounded itself does not count. Raises ConservationError naming the
    worst target when it lies above the tolerance.
    """
    tolerance = TOLERANCE[dtype]
    table = assembler.table
    missed = np.abs(table["received"] + table["constant"] - table["value"])
    floor = 1.0 if dtype in ("bf16", "tf32") else GROSS_FLOOR
    gross = floor * (table["gross"] + np.abs(table["constant"]))
    scale = np.maximum(np.maximum(np.abs(table["value"]), gross), np.finfo(np.float64).tiny)
    residual = np.nan_to_num(missed / scale, nan=np.inf)
    above = np.flatnonzero(residual > tolerance)
    residual[above[_is_rounding(assembler, missed, above)]] = 0
    worst = int(np.argmax(residual))
    largest = float(residual[worst])
    if largest > tolerance:
        target = int(table["target"][worst])
        raise ConservationError(
            f"the edges into {_name(assembler, target)} and its constant miss its value by a share "
            f"of {largest:.2g}, and {dtype} allows {tolerance:.0e}; the graph is refused (a higher "
            "`dtype` helps if it is rounding; otherwise the wiring of this model is wrong)"
        )
    return largest, tolerance


def _is_rounding(
    assembler: Assembler, missed: Floats, rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether what some rows miss is what their values are rounded by in the model's own dtype.

    A neuron's gate may be a sum of terms of 1 that cancel to 1e-5, and its activation 1e-8. Of such
    a sum of d terms, sqrt(d) unit roundoffs of their absolute sum are not known (Higham and Mary,
    2019, "A new approach to probabilistic rounding error analysis").
    """
    model, targets = assembler.model, assembler.table["target"][rows]
    if not len(rows) or targets.min() < assembler.n_logits:
        return np.zeros(len(rows), dtype=np.bool_)
    like = model.embeddings
    numbers = torch.from_numpy(targets - assembler.n_logits).to(like.device)
    terms = as_floats(model.terms_at(model.features.at(numbers)))
    unknown = terms * np.sqrt(like.shape[1]) * torch.finfo(like.dtype).eps / 2
    rounded: NDArray[np.bool_] = missed[rows] <= unknown
    return rounded


def _name(assembler: Assembler, target: int) -> str:
    if target < assembler.n_logits:
        return f'the target "{target_text(assembler.chosen.targets[target])}"'
    device = assembler.model.embeddings.device
    number = torch.tensor([target - assembler.n_logits], device=device)
    place = assembler.model.features.at(number)
    return f"feature L{int(place.layer)}/{int(place.index)}@{int(place.position)}"
