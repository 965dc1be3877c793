"""Which features get a row: expand by influence until a budget or a coverage (method.md section 4).

Rounds have a fixed schedule that does not know the batch size, so neither does the result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.graphs.influence import flow, row_totals

FIRST_ROUND = 256
"""Rows of the first round; later rounds grow with what is known, to half of it."""

Progress = Callable[[int, int], None]


def expand(
    sweep: Sweep,
    assembler: Assembler,
    *,
    max_feature_nodes: int,
    coverage: float | None,
    batch_size: int,
    on_progress: Progress | None = None,
) -> None:
    """Sweep the rows of the targets and of the features that matter most to them.

    Without a coverage and with a budget for all active features there is one round.
    """
    n_logits, n_targets = assembler.n_logits, len(assembler.table.targets)
    budget = min(max_feature_nodes, n_targets - n_logits)
    swept = 0

    def run(rows: NDArray[np.int64]) -> None:
        nonlocal swept
        chosen = torch.from_numpy(rows).to(assembler.table.targets.level.device)
        before = swept

        def progress(done: int, _: int) -> None:
            if on_progress is not None:
                on_progress(before + done, n_logits + budget)

        sweep.run(
            assembler.table.targets,
            chosen,
            batch_size=batch_size,
            on_rows=assembler.add,
            on_progress=progress,
        )
        swept += len(rows)

    if coverage is None and budget == n_targets - n_logits:
        run(np.arange(n_targets))
        return
    run(np.arange(n_logits))
    while (left := budget - (swept - n_logits)) > 0:
        if coverage is not None:
            # As the score `unexpanded_share` has it: what ends in a constant is not hidden.
            share = _unexpanded_influence(assembler, with_constants=True).sum()
            if share <= 1 - coverage:
                return
        hidden = _unexpanded_influence(assembler)
        waiting = np.flatnonzero(hidden > 0)
        if not len(waiting):
            return
        ranked = waiting[np.argsort(-hidden[waiting], kind="stable")]
        run(ranked[: min(left, max(FIRST_ROUND, swept // 2))])


def _unexpanded_influence(assembler: Assembler, *, with_constants: bool = False) -> Floats:
    """(n,) influence that ends at each target of the sweep that has no row yet."""
    edges = assembler.unsorted_edges()
    weight = np.zeros(assembler.n_nodes)
    table, n_logits = assembler.table, assembler.n_logits
    weight[table.node[:n_logits]] = assembler.chosen.weight.cpu().double().numpy()
    totals = None
    if with_constants:
        totals = row_totals(edges.target, edges.weight, assembler.n_nodes)
        totals[table.node] += np.nan_to_num(np.abs(table.constant))
    influence = flow(
        edges.source,
        edges.target,
        edges.weight,
        level=assembler.levels(),
        target_weight=weight,
        totals=totals,
    )
    ends = influence[table.node]
    ends[assembler.expanded] = 0
    return ends
