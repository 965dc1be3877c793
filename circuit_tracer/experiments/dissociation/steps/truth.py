"""7. A direction "this claim is true": fitted on some objects in one form, read on others in all.

The direction is the difference of the means of the residual stream over true and over false claims,
at the claimed value's token or at the prompt's end. Truth is the world's (the spec's), not what the
model affirms. Fitted on one half of the objects, read on the other by AUC, in every judgement
family that makes claims and after every layer.
Source: difference-in-means probes ("The Geometry of Truth", Marks and Tegmark 2023).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from circuit_tracer.experiments.dissociation.results import TruthResult, TruthRow
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.passes import listen
from circuit_tracer.experiments.kit.statistics import auc
from circuit_tracer.graphs.bootstrap import Bootstrap, Interval, interval
from circuit_tracer.graphs.graph import Floats, Ints
from circuit_tracer.models.devices import as_floats

Role = Literal["value", "verdict"]
ROLES: tuple[Role, ...] = ("value", "verdict")


def truth(study: Study, given: Answers) -> TruthResult:
    """AUCs of all families, roles and layers."""
    settings, n = study.settings, len(given.kept)
    draws = Bootstrap(n, resamples=settings.resamples, seed=settings.seed + 8)
    half = np.array([study.half[index] for index in given.kept])
    streams = _streams(study, given)
    rows = []
    for fitted in study.read_for_truth:
        for read in study.read_for_truth:
            for role in ROLES:
                for level in range(study.model.n_layers + 1):
                    x, y = (streams[family.name][role][:, :, level] for family in (fitted, read))
                    auc = _held_out(x, y, half, draws)
                    rows.append(TruthRow(fitted.name, read.name, role, level - 1, auc))
    role, layer = _best(rows)
    return TruthResult(tuple(rows), best_layer=layer, best_role=role)


def _streams(study: Study, given: Answers) -> dict[str, dict[str, Floats]]:
    """Family -> role -> (objects, 2, levels, d): the true claim, then the false one."""
    found: dict[str, dict[str, Floats]] = {}
    for family in study.read_for_truth:
        asks = [
            ask for index in given.kept for ask in study.both_claims(family, study.items[index])
        ]
        heard = listen(study.model, asks, ROLES)
        found[family.name] = {
            role: as_floats(stream).reshape(-1, 2, *stream.shape[1:])
            for role, stream in heard.streams.items()
        }
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


def _best(rows: list[TruthRow]) -> tuple[Role, int]:
    """Role and layer at which families read themselves best; the lowest of equally good layers."""
    own: dict[tuple[Role, int], list[float]] = {}
    for row in rows:
        if row.fitted == row.read:
            own.setdefault((row.role, row.layer), []).append(row.auc.value)
    return max(own, key=lambda place: (np.nanmean(own[place]), -place[1]))
