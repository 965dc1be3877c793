"""Response by distance: change one layer's features and see how far on the prediction holds.

In one draw half of a layer's features are ablated together. At every later layer the vector of
all features' changes of value (pre-activations), as the graph predicts it along all its routes,
is compared with the measured one: its cosine, and the norm of the difference over the norm of what
was measured. Anthropic's figures are about 0.8 and 0.4 one layer on, on other vectors (the residual
stream after a cross-layer transcoder); they are of a kind, not the same.

With attention and norms frozen the first layer on is an edge and must be exact; later ones are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from circuit_tracer.errors import StrengthError
from circuit_tracer.experiments.trust.passes import WAYS, Subject, responses
from circuit_tracer.experiments.trust.results import AtDistance, ByDistance, Frozen
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.interventions.prediction import change_shares, predict


def by_distance(
    subject: Subject, *, ways: Sequence[Frozen] = WAYS, draws: int = 4, seed: int = 0
) -> tuple[ByDistance, ...]:
    """Ablate half of each layer's features, `draws` times a layer.

    A way is left out where no later layer has a feature with a row, and where the numbers overflow:
    with norm denominators frozen, large changes can grow from layer to layer.
    """
    graph = subject.graph
    sets = _draws(subject, draws, seed)
    shares = change_shares(graph, ({int(row): -1.0 for row in rows} for rows in sets))
    predicted = predict(graph, shares).total
    ablations = [subject.ablation(rows) for rows in sets]
    starts = [int(graph.nodes.layer[rows[0]]) for rows in sets]
    found = []
    for frozen in ways:
        try:
            measured = responses(subject, ablations, frozen, linear=not subject.has_gates).values
        except StrengthError:
            continue
        if points := _points(subject, starts, predicted, measured):
            found.append(ByDistance(frozen, points))
    return tuple(found)


def _draws(subject: Subject, draws: int, seed: int) -> list[Ints]:
    nodes, generator = subject.graph.nodes, np.random.default_rng(seed)
    fires = (nodes.kind == NodeKind.FEATURE) & (nodes.activation != 0)
    sets = []
    for layer in range(subject.graph.info.n_layers - 1):
        rows = np.flatnonzero(fires & (nodes.layer == layer))
        for _ in range(draws if len(rows) > 1 else 0):
            sets.append(np.sort(generator.choice(rows, len(rows) // 2, replace=False)))
    return sets


def _points(
    subject: Subject, starts: Sequence[int], predicted: Floats, measured: Floats
) -> tuple[AtDistance, ...]:
    nodes = subject.graph.nodes
    compared = (nodes.kind == NodeKind.FEATURE) & nodes.expanded
    points = []
    for layers_on in range(1, subject.graph.info.n_layers):
        figures = []
        for column, start in enumerate(starts):
            here = compared & (nodes.layer == start + layers_on)
            figures.append(_cosine_and_error(predicted[here, column], measured[here, column]))
        known = np.array([pair for pair in figures if np.isfinite(pair).all()])
        if len(known):
            cosine, error = np.median(known, axis=0).tolist()
            points.append(AtDistance(layers_on, cosine, error, len(known)))
    return tuple(points)


def _cosine_and_error(predicted: Floats, measured: Floats) -> tuple[float, float]:
    """NaN where nothing was measured; the error is relative to what was."""
    size = float(np.linalg.norm(measured))
    both = size * float(np.linalg.norm(predicted))
    if both == 0:
        return float("nan"), float("nan")
    return float(predicted @ measured) / both, float(np.linalg.norm(predicted - measured)) / size
