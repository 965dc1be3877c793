"""Which features get a row: expand by influence until a budget or a coverage (method.md section 4).

Rounds have a fixed schedule that does not know the batch size, so neither does the result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.models.devices import as_floats

FIRST_ROUND = 256
"""Rows of the first round; later rounds grow with what is known, to half of it."""

Progress = Callable[[int, int], None]


def expand(
    assembler: Assembler,
    *,
    max_feature_nodes: int,
    coverage: float | None,
    batch_size: int,
    on_plan: Callable[[NDArray[np.int64]], None] | None = None,
    on_progress: Progress | None = None,
) -> None:
    """Sweep the rows of the targets and of the features that matter most to them.

    `on_plan` hears of the targets that look like getting rows, once, before the long part.
    Without a coverage, an edge floor or a budget below all active features there is one round.
    """
    n_logits, n_targets = assembler.n_logits, assembler.n_targets
    budget = min(max_feature_nodes, n_targets - n_logits)

    def run(targets: NDArray[np.int64], influence: Floats) -> None:
        before = len(assembler.table)

        def progress(done: int) -> None:
            if on_progress is not None:
                on_progress(before + done, n_logits + budget)

        assembler.run(targets, influence, batch_size=batch_size, on_progress=progress)

    if coverage is None and assembler.edge_floor == 0 and budget == n_targets - n_logits:
        if on_plan is not None:
            on_plan(np.arange(n_targets))
        run(np.arange(n_targets), np.ones(n_targets))
        return
    run(np.arange(n_logits), as_floats(assembler.chosen.weight))
    if on_plan is not None:
        waiting, influence = assembler.waiting()
        on_plan(waiting[np.argsort(-influence, kind="stable")[:budget]])
    while (left := budget - (len(assembler.table) - n_logits)) > 0:
        if coverage is not None and assembler.hidden_share() <= 1 - coverage:
            return
        waiting, influence = assembler.waiting()
        if not len(waiting):
            return
        ranked = np.argsort(-influence, kind="stable")
        ranked = ranked[: min(left, max(FIRST_ROUND, len(assembler.table) // 2))]
        run(waiting[ranked], influence[ranked])
