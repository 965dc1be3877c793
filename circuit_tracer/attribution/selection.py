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
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Floats
from circuit_tracer.graphs.influence import flow

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

    Without a coverage and with a budget for all active features there is one round. Raises
    UsageError for a budget or coverage out of range.
    """
    if max_feature_nodes < 0:
        raise UsageError(f"--max-feature-nodes {max_feature_nodes} must not be negative")
    if coverage is not None and not 0 < coverage <= 1:
        raise UsageError(f"--coverage {coverage} must lie above 0 and at most at 1")
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
        hidden = _unexpanded_influence(assembler)
        if coverage is not None and hidden.sum() <= 1 - coverage:
            return
        waiting = np.flatnonzero(hidden > 0)
        if not len(waiting):
            return
        ranked = waiting[np.argsort(-hidden[waiting], kind="stable")]
        run(ranked[: min(left, max(FIRST_ROUND, swept // 2))])


def _unexpanded_influence(assembler: Assembler) -> Floats:
    """(n,) influence that ends at each target of the sweep that has no row yet."""
    edges = assembler.unsorted_edges()
    weight = np.zeros(assembler.n_nodes)
    table, n_logits = assembler.table, assembler.n_logits
    weight[table.node[:n_logits]] = assembler.chosen.weight.cpu().double().numpy()
    influence = flow(
        edges.source,
        edges.target,
        edges.weight,
        level=assembler.levels(),
        target_weight=weight,
    )
    ends = influence[table.node]
    ends[assembler.expanded] = 0
    return ends
