"""Response by distance: change one layer's features and see how far up the graph still holds.

In one draw half of a layer's features are ablated together. At every later layer the vector of
all features' changes of value (pre-activations), as the graph foretells it along all its routes,
is set beside the measured one: its cosine, and the norm of the difference over the norm of what
was measured. Anthropic's figures are about 0.8 and 0.4 one layer on, on other vectors (the
residual stream behind a cross-layer transcoder); they are of a kind, not the same.

With attention and norms held the first layer on is an edge and must be exact; what is more is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.errors import StrengthError
from circuit_tracer.experiments.trust.passes import ANSWERS, Held, Subject, answers
from circuit_tracer.graphs.graph import Floats, Ints, NodeKind
from circuit_tracer.interventions.prediction import change_shares, predict


@dataclass(frozen=True)
class AtDistance:
    """Medians over draws and starting layers."""

    layers_on: int
    cosine: float
    error: float
    """Norm of the difference / norm of what was measured."""
    draws: int


@dataclass(frozen=True)
class ByDistance:
    """With one thing held or another."""

    held: Held
    points: tuple[AtDistance, ...]


def by_distance(
    subject: Subject,
    *,
    ways: Sequence[Held] = ANSWERS,
    draws: int = 4,
    seed: int = 0,
) -> tuple[ByDistance, ...]:
    """Ablate half of each layer's features, `draws` times a layer.

    A way is left out where no later layer has a feature with a row, and where the numbers overflow:
    with norm denominators held, large changes can grow from layer to layer.
    """
    graph = subject.graph
    sets = _draws(subject, draws, seed)
    shares = change_shares(graph, ({int(row): -1.0 for row in rows} for rows in sets))
    foretold = predict(graph, shares).total
    interventions = [
        tuple(change for row in rows for change in subject.change(int(row))) for rows in sets
    ]
    starts = [int(graph.nodes.layer[rows[0]]) for rows in sets]
    found = []
    for held in ways:
        try:
            measured = answers(subject, interventions, held, linear=not subject.has_gates).values
        except StrengthError:
            continue
        found.append(ByDistance(held, _points(subject, starts, foretold, measured)))
    return tuple(one for one in found if one.points)


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
    subject: Subject, starts: Sequence[int], foretold: Floats, measured: Floats
) -> tuple[AtDistance, ...]:
    nodes, L = subject.graph.nodes, subject.graph.info.n_layers
    compared = (nodes.kind == NodeKind.FEATURE) & nodes.expanded
    points = []
    for on in range(1, L):
        figures = []
        for column, start in enumerate(starts):
            here = compared & (nodes.layer == start + on)
            figures.append(_two(foretold[here, column], measured[here, column]))
        known = np.array([two for two in figures if np.isfinite(two).all()])
        if len(known):
            cosine, error = np.median(known, axis=0).tolist()
            points.append(AtDistance(on, cosine, error, len(known)))
    return tuple(points)


def _two(foretold: Floats, measured: Floats) -> tuple[float, float]:
    """Cosine and normalised error; NaN where nothing was measured."""
    size = float(np.linalg.norm(measured))
    both = size * float(np.linalg.norm(foretold))
    if both == 0:
        return float("nan"), float("nan")
    return float(foretold @ measured) / both, float(np.linalg.norm(foretold - measured)) / size
