"""Conservation: the incoming edges of a node plus its constant are its value (method.md section 3).

The value comes from the model's own forward pass, not from the sweep, so that whatever is wrong
with the wiring, the dictionary or the sweep shows.

What cotangents of low precision lose is measured on some rows of the very graph, swept again in
full, and travels with it: published tools that sweep in bfloat16 have small edges off by factors
(method.md section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

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

ROUNDOFF = {"tf32": 2**-11, "bf16": 2**-8}
"""Unit roundoff of cotangents in lower precision than the model's."""
GROSS_FLOOR = 0.01
"""A target's residual is relative to its value, or to this share of the absolute sum of what it
receives where the value itself is smaller (it is a small difference of large parts then)."""
AUDITED_ROWS = 32


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
    residual[above[_is_rounding(assembler, missed, above, dtype)]] = 0
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
    assembler: Assembler, missed: Floats, rows: NDArray[np.int64], dtype: str
) -> NDArray[np.bool_]:
    """Whether what some rows miss is what a sweep in `dtype` rounds their values by.

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
    roundoff = ROUNDOFF.get(dtype, torch.finfo(like.dtype).eps / 2)
    unknown = terms * np.sqrt(like.shape[1]) * roundoff
    rounded: NDArray[np.bool_] = missed[rows] <= unknown
    return rounded


def _name(assembler: Assembler, target: int) -> str:
    if target < assembler.n_logits:
        return f'the target "{target_text(assembler.chosen.targets[target])}"'
    device = assembler.model.embeddings.device
    number = torch.tensor([target - assembler.n_logits], device=device)
    place = assembler.model.features.at(number)
    return f"feature L{int(place.layer)}/{int(place.index)}@{int(place.position)}"


@dataclass(frozen=True)
class Audit:
    """Relative error of rows: norm of the difference over the norm of the exact row."""

    rows: int
    median: float
    worst: float


@torch.no_grad()
def audit(assembler: Assembler) -> Audit:
    """Compare `AUDITED_ROWS` rows, evenly spread over those swept, on their kept edges."""
    swept = assembler.table["target"]
    some = np.unique(np.linspace(0, len(swept) - 1, AUDITED_ROWS).astype(np.int64))
    exact = Assembler(assembler.model, assembler.chosen, edge_floor=assembler.edge_floor)
    exact.run(swept[some], assembler.table["influence"][some], batch_size=8)
    ours = _rows(assembler, set(assembler.table["column"][some].tolist()))
    errors = []
    for column, theirs in _rows(exact, set(ours)).items():
        mine = ours[column]
        both = theirs.keys() | mine.keys()
        difference = np.array([theirs.get(s, 0.0) - mine.get(s, 0.0) for s in both])
        norm = float(np.linalg.norm(list(theirs.values())))
        errors.append(float(np.linalg.norm(difference)) / max(norm, 1e-300))
    return Audit(len(errors), float(np.median(errors)), float(np.max(errors)))


def _rows(assembler: Assembler, wanted: set[int]) -> dict[int, dict[int, float]]:
    """Kept edges of some targets, by their columns: source column -> weight."""
    found: dict[int, dict[int, float]] = {column: {} for column in wanted}
    for part in assembler.store.unsorted():
        of_wanted = np.isin(part.target, list(wanted))
        for source, target, weight in zip(
            part.source[of_wanted].tolist(),
            part.target[of_wanted].tolist(),
            part.weight[of_wanted].tolist(),
            strict=True,
        ):
            found[target][source] = weight
    return found
