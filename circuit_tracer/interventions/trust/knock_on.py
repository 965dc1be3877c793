"""The knock-on test: ablate features one by one and see whether what follows was foretold.

Of every ablated feature s and every later node t (active features with a row, and targets) that a
route of the graph joins through at least one further feature: the graph's signed sum over those
routes (`routes.py`) against what the model does. Direct edges are not counted, in either: measured
is the change with MLPs answering minus the change with all MLP outputs held (`passes.py`).

Features are drawn from five strata of equal size by influence on the targets, so that weak ones
are tested, too. Anthropic report a Spearman correlation of 0.72 between influence and the effect
of ablations; here signs count, and all pairs of an ablated feature and a later node.
Source: method.md section 8; "Circuit Tracing" (Anthropic, March 2025), evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Bools, Floats, Ints, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.interventions.routes import foretell
from circuit_tracer.interventions.trust.passes import ANSWERS, Held, Subject, knock_on_of
from circuit_tracer.interventions.trust.statistics import Likeness, likeness, spearman

STRATA = 5


@dataclass(frozen=True)
class KnockOn:
    """Foretold against measured knock-on effects, with one thing held or another."""

    held: Held
    everything: Likeness
    """All later features and the targets."""
    targets: Likeness
    """The targets alone."""


@dataclass(frozen=True)
class KnockOnEffects:
    """The whole test."""

    rows: tuple[int, ...]
    """The ablated features, rows of the node table."""
    by_held: tuple[KnockOn, ...]
    by_layer: tuple[tuple[int, float, int], ...]
    """Layer of the ablated feature, Spearman (attention and norms held), pairs."""

    def at(self, held: Held) -> KnockOn:
        """One of them."""
        return next(one for one in self.by_held if one.held == held)


def draw_features(pruned: PrunedGraph, count: int, *, seed: int) -> Ints:
    """`count` features with a row and with influence, below the last layer, in equal parts from
    five strata by influence. All, where there are fewer. UsageError where there is none."""
    nodes = pruned.graph.nodes
    able = (nodes.kind == NodeKind.FEATURE) & (pruned.influence > 0) & (nodes.activation != 0)
    rows = np.flatnonzero(able & (nodes.layer < pruned.graph.info.n_layers - 1))
    if not len(rows):
        raise UsageError(
            "no feature below the last layer has influence on the targets, so there is no "
            "knock-on effect to test; trace with a larger --max-feature-nodes"
        )
    rows = rows[np.argsort(-pruned.influence[rows], kind="stable")]
    generator = np.random.default_rng(seed)
    strata = np.array_split(rows, min(STRATA, len(rows)))
    left, chosen = min(count, len(rows)), []
    for i, stratum in enumerate(strata):
        part = min(-(-left // (len(strata) - i)), len(stratum))
        chosen.append(generator.choice(stratum, part, replace=False))
        left -= part
    found: Ints = np.sort(np.concatenate(chosen))
    return found


def knock_on(
    subject: Subject,
    rows: Ints,
    *,
    ways: Sequence[Held] = ANSWERS,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda words: None,
) -> KnockOnEffects:
    """Ablate features (rows of the node table) one by one, with each of the ways of holding."""
    graph = subject.graph
    moved = np.zeros((len(graph.nodes), len(rows)))
    moved[rows, np.arange(len(rows))] = -1.0
    foretold = foretell(graph, moved).knock_on
    joined = np.abs(foretold) > 0
    joined[~graph.nodes.expanded] = False  # features without a row: nothing is foretold of them
    is_target = graph.nodes.kind == NodeKind.LOGIT
    source = np.broadcast_to(np.arange(len(rows)), joined.shape)
    interventions = [subject.change(int(row)) for row in rows]
    found: list[KnockOn] = []
    by_layer: tuple[tuple[int, float, int], ...] = ()
    for held in ways:
        on_progress(f"knock-on effects, {held}")
        measured = knock_on_of(subject, interventions, held)

        everything, targets = (
            likeness(foretold[mask], measured[mask], source[mask], seed=seed)
            for mask in (joined, joined & is_target[:, None])
        )
        found.append(KnockOn(held, everything, targets))
        if held == "held":
            by_layer = _by_layer(subject, rows, foretold, measured, joined)
    return KnockOnEffects(tuple(rows.tolist()), tuple(found), by_layer)


def _by_layer(
    subject: Subject, rows: Ints, foretold: Floats, measured: Floats, joined: Bools
) -> tuple[tuple[int, float, int], ...]:
    layers, found = subject.graph.nodes.layer[rows], []
    for layer in np.unique(layers).tolist():
        mask = joined & (layers == layer)[None, :]
        found.append((layer, spearman(foretold[mask], measured[mask]), int(mask.sum())))
    return tuple(found)
