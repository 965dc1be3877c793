"""7. A direction "this claim is true": fitted on some objects in one form, read on others in all.

The direction is the difference of the means of the residual stream over true and over false claims,
at the claimed value's token or at the prompt's end. Truth is the world's (the spec's), not what the
model affirms. Fitted on one half of the objects, read on the other by AUC, in every judgement
family that makes claims and after every layer.
Source: difference-in-means probes ("The Geometry of Truth", Marks and Tegmark 2023).
"""

from __future__ import annotations

import numpy as np

from circuit_tracer.experiments.dissociation.step_results import (
    CLAIM_ROLES,
    ClaimRole,
    TruthResult,
    TruthRow,
)
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.passes import streams_at
from circuit_tracer.experiments.kit.statistics import auc
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models.devices import as_floats


def truth(study: Study, given: Answers) -> TruthResult:
    """AUCs of all families, roles and layers."""
    draws = study.bootstrap(len(given.kept), 8)
    half = np.array([study.half[index] for index in given.kept])
    streams = _streams(study, given)
    rows = []
    for fitted, x in streams.items():
        for read, y in streams.items():
            for r, role in enumerate(CLAIM_ROLES):
                for level in range(study.model.n_layers + 1):
                    auc = _held_out(x[:, :, r, level], y[:, :, r, level], half, draws)
                    rows.append(TruthRow(fitted, read, role, level - 1, auc))
    role, layer = _best(rows)
    return TruthResult(tuple(rows), best_layer=layer, best_role=role)


def _streams(study: Study, given: Answers) -> dict[str, Floats]:
    """Family -> (objects, 2, roles, levels, d): the true claim, then the false one."""
    found = {}
    for family in study.read_for_truth:
        claims = [study.both_claims(family, study.items[index]) for index in given.kept]
        streams = streams_at(study.model, [ask for both in claims for ask in both], CLAIM_ROLES)
        found[family.name] = as_floats(streams).reshape(-1, 2, *streams.shape[1:])
    return found


def _held_out(x: Floats, y: Floats, half: Ints, draws: Bootstrap) -> Interval:
    """Mean over halves of the AUC of the other half's direction; x, y are (objects, 2, d)."""
    parts = []
    for chosen in (0, 1):
        direction = (x[half == chosen, 0] - x[half == chosen, 1]).mean(0)
        read = np.flatnonzero(half != chosen)
        scores = y[read] @ direction
        parts.append(auc(draws.counts, scores[:, 0], scores[:, 1], read, read))
    return interval(np.mean(parts, axis=0))


def _best(rows: list[TruthRow]) -> tuple[ClaimRole, int]:
    """Role and layer at which families read themselves best; the lowest of equally good layers."""
    own: dict[tuple[ClaimRole, int], list[float]] = {}
    for row in rows:
        if row.fitted == row.read:
            own.setdefault((row.role, row.layer), []).append(row.auc.value)
    return max(own, key=lambda place: (np.nanmean(own[place]), -place[1]))
