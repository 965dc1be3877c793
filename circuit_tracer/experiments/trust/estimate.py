"""What a trust report will take, from a moment's trial of its parts.

Time goes into passes through the model (after which all features are read or targets alone; in
which one feature is changed or hundreds), into walks over the graph's edges, into drawing pairs
again for intervals, and into sweeping the prompt again (another dictionary, another number format).
A few of each are run and scaled up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from circuit_tracer.attribution.replacement import build_replacement
from circuit_tracer.attribution.source_streams import places_of
from circuit_tracer.attribution.sweep import Sweep, SweepTargets, batches
from circuit_tracer.experiments.kit.statistics import MOST_DRAWN, likeness
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.trust.passes import FREER_WAYS, QUICK_WAYS, WAYS, Subject, responses
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.experiments.trust.steps.gates import CHANGES, GATED
from circuit_tracer.experiments.trust.steps.integrity import MOST_CHECKED
from circuit_tracer.experiments.trust.steps.ranking import RANKED
from circuit_tracer.experiments.trust.steps.sufficiency import THRESHOLDS
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.interventions.engine import MOST_ENTRIES, rows_at_once
from circuit_tracer.interventions.prediction import ablation_shares, predict
from circuit_tracer.interventions.spec import Intervention
from circuit_tracer.models.devices import synchronize

PROBE = 8
"""Rows of the passes, and columns of the walks, that are timed."""
SWEPT = 64
"""Rows of the sweep that is timed."""


@dataclass(frozen=True)
class _Work:
    """How much of each part."""

    read: int
    """Interventions after which all features are read."""
    unread: int
    """Interventions after which only targets are."""
    large: int
    """Interventions on hundreds of features, after which only targets are read."""
    columns: int
    """Interventions that the graph predicts, each a walk over its edges."""
    likenesses: int
    """Correlations of pairs, with intervals."""
    passes: int
    """Passes at least, however few rows they have: half of them with all features read."""


def expected(
    subject: Subject, pruned: PrunedGraph, settings: TrustSettings, *, sweeps: int
) -> Estimate:
    """For a report in which the prompt is swept again so many times."""
    work, graph = _work(subject, pruned, settings), pruned.graph
    features = graph.nodes.of_kind(NodeKind.FEATURE)
    shares = ablation_shares(graph, features[:PROBE])
    some = features[:: max(1, 2 * len(features) * PROBE // MOST_ENTRIES + 1)]
    of_change = 0.5 * len(features) / max(len(some), 1)
    seconds = work.columns / max(shares.shape[1], 1) * _fastest(lambda: predict(graph, shares))
    x, y = np.random.default_rng(0).normal(size=(2, MOST_DRAWN))
    seconds += work.likenesses * _fastest(lambda: likeness(x, y, np.arange(len(x)) % 40, seed=0))
    for count, passes, (a_pass, a_row) in (
        (work.read, work.passes / 2, _of_passes(subject, (), every_node=True)),
        (work.unread, work.passes / 2, _of_passes(subject, (), every_node=False)),
        (of_change * work.large, 0, _of_passes(subject, subject.ablation(some), every_node=False)),
    ):
        seconds += passes * a_pass + count * a_row
    if sweeps:
        seconds += sweeps * _of_sweep(subject, pruned)
    rows = work.read + work.unread + work.large
    return Estimate(rows, "interventions", seconds, _memory(subject, pruned, work))


def _work(subject: Subject, pruned: PrunedGraph, settings: TrustSettings) -> _Work:
    ways, L = len(QUICK_WAYS if settings.quick else WAYS), pruned.graph.info.n_layers
    has_influence = (pruned.graph.nodes.kind == NodeKind.FEATURE) & (pruned.influence > 0)
    features = min(settings.features, int(has_influence.sum()))
    checked = features + MOST_CHECKED
    read = checked + (3 * ways - subject.has_all_edges) * features
    columns = checked + features
    if subject.has_gates:
        read, columns = read + len(CHANGES) * GATED, columns + len(CHANGES) * GATED
    elif subject.dictionary.kind == "clt":
        read += (2 * ways + 1) * features
    if settings.quick:
        return _Work(read, 0, 0, columns, likenesses=4, passes=6)
    drawn = settings.draws * (L - 1)
    sets = (len(THRESHOLDS) + 1) * (3 + 2 * settings.random_sets)
    return _Work(
        read=read + ways * drawn,
        unread=3 * len(FREER_WAYS) * RANKED,
        large=2 * sets,
        columns=columns + drawn + RANKED,
        likenesses=8,
        passes=24,
    )


def _of_passes(subject: Subject, changes: Intervention, *, every_node: bool) -> tuple[float, float]:
    """Seconds of a pass, and of each further row of it, with these changes in every row."""

    def run(count: int) -> float:
        rows = [changes] * count
        return _fastest(lambda: responses(subject, rows, "attention", every_node=every_node))

    one, several = run(1), run(PROBE)
    return one, max((several - one) / (PROBE - 1), several / (20 * PROBE))


def _of_sweep(subject: Subject, pruned: PrunedGraph) -> float:
    """Seconds of a sweep of as many rows as the graph has."""
    nodes, original = pruned.graph.nodes, subject.original
    rows = np.flatnonzero((nodes.kind == NodeKind.FEATURE) & nodes.expanded)
    if not len(rows):
        return 0.0
    some = rows[:: max(1, len(rows) // SWEPT)]
    model = build_replacement(
        original.capture, subject.model.wiring, subject.dictionary, n_zeroed=original.n_zeroed
    )
    places = places_of(pruned.graph, some, model)
    with torch.no_grad():
        targets = SweepTargets(places.layer, places.position, model.linear_rows(places)[0])
        walk = Sweep(model)

        def sweep() -> None:
            for batch in batches(targets, SWEPT):
                walk.walk(targets, batch, lambda piece: None)
            synchronize(targets.vector.device)

        return len(rows) / len(some) * _fastest(sweep)


def _memory(subject: Subject, pruned: PrunedGraph, work: _Work) -> int:
    """The largest pass, and the tables of all nodes by all interventions of one stage."""
    wiring, T = subject.model.wiring, subject.original.n_tokens
    at_once = min(work.read, rows_at_once(subject.model, T, 1, keep_seen=True))
    width = wiring.mlp_weights(0).gate.shape[0]
    a_token = (
        16 * wiring.d_model
        + 4 * width
        + 3 * (wiring.n_heads * T + wiring.n_layers * wiring.d_model)
    )
    numbers = at_once * T * a_token * subject.original.capture.embeddings.element_size()
    edges = 40 * len(pruned.graph.edges)
    return numbers + edges + 8 * 6 * len(pruned.graph.nodes) * MOST_CHECKED


def _fastest(run: Callable[[], object]) -> float:
    """Seconds of the faster of two: the first warms up."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)
