"""What cotangents of low precision lose: some rows again in full, against what was stored.

Published tools that sweep in bfloat16 have small edges off by factors; here the loss is measured on
rows of the very graph and travels with it (method.md section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from circuit_tracer.attribution.assembly import Assembler

AUDITED_ROWS = 32


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
