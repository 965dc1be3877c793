"""The test of indirect effects: ablate features one by one; is what follows as predicted?

Of every ablated feature s and every later node t (active features with a row, and targets) that a
route of the graph joins through at least one further feature: the graph's signed sum over those
routes (`interventions/prediction.py`) against what the model does. Direct edges are not counted, in
either: measured is the change with MLPs responding minus the change with all MLP outputs frozen.

A graph freezes the denominators of norms and attention patterns. Where these respond in the model,
there are two predictions: the graph's sums as they are; and the graph's features with their edges'
own vectors, linear, dictionary and errors frozen, while norms (and attention, where that is not
frozen) do what they do in the model (`interventions/linear.py`), again less what comes about with
all MLP outputs frozen. With attention and norms frozen the two are the same, unless edges
were too small to keep: the second has them all. Where the second holds up and the first does not,
it is not the features that the graph has wrong. A third is no first order: the replacement model
run for real, its encoders as they are and errors constant
(`interventions/responding.py`). What it lacks, the dictionary lacks.

A cross-layer feature's later decoders stand for what later MLPs make of it. They are direct edges
here, written as in the graph, so that what the MLPs make of it again is not in question. At its
*own layer* alone it is: the feature is ablated there only, the later MLPs respond in place of its
later decoders, and all that comes about through them is compared with the graph's sum over all
routes less what its own layer's decoder does directly.

Features are drawn from five strata of equal size by influence on the targets, so that weak ones
are tested, too. Anthropic report a Spearman correlation of 0.72 between influence and the effect
of ablations (`ranking.py`); here effects count with their sign, over all pairs of an ablated
feature and a later node.
Source: method.md section 8; "Circuit Tracing" (Anthropic, March 2025), evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from circuit_tracer.errors import StrengthError, UsageError
from circuit_tracer.experiments.kit.statistics import Likeness, likeness, spearman
from circuit_tracer.experiments.trust.passes import WAYS, Subject, responses
from circuit_tracer.experiments.trust.results import (
    Frozen,
    IndirectEffects,
    IndirectWay,
    LayerSpearman,
)
from circuit_tracer.graphs.graph import Bools, Floats, Ints, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.interventions.prediction import ablation_shares, predict

STRATA = 5


def draw_features(pruned: PrunedGraph, count: int, *, seed: int, last_layer: bool = False) -> Ints:
    """`count` features with a row and with influence, in equal parts from five strata by influence;
    those of the last layer only if asked for. All, where there are fewer. UsageError for none."""
    nodes = pruned.graph.nodes
    able = (nodes.kind == NodeKind.FEATURE) & (pruned.influence > 0) & (nodes.activation != 0)
    end = pruned.graph.info.n_layers - (0 if last_layer else 1)
    rows = np.flatnonzero(able & (nodes.layer < end))
    if not len(rows):
        raise UsageError(
            "no feature below the last layer has influence on the targets, so there is no "
            "indirect effect to test; trace with a larger `max_feature_nodes`"
        )
    rows = rows[np.argsort(-pruned.influence[rows], kind="stable")]
    generator = np.random.default_rng(seed)
    strata = np.array_split(rows, min(STRATA, len(rows)))
    left, chosen = min(count, len(rows)), []
    for i, stratum in enumerate(strata):
        part = min(-(-left // (len(strata) - i)), len(stratum))
        chosen.append(generator.choice(stratum, part, replace=False))
        left -= part
    return np.sort(np.concatenate(chosen))


def indirect_effects(
    subject: Subject,
    rows: Ints,
    *,
    ways: Sequence[Frozen] = WAYS,
    seed: int = 0,
    replaced: bool = True,
) -> IndirectEffects:
    """Ablate features (rows of the node table) one by one, with each of the ways of freezing, and
    the replacement model unless it is not to be run."""
    nodes = subject.graph.nodes
    prediction = predict(subject.graph, ablation_shares(subject.graph, rows))
    sums = prediction.indirect
    joined = (sums != 0) & nodes.expanded[:, None]  # nothing is predicted of features without a row
    on_targets = joined & (nodes.kind == NodeKind.LOGIT)[:, None]
    source = np.broadcast_to(np.arange(len(rows)), joined.shape)
    own_direct = None
    if subject.dictionary.kind == "clt":  # through the decoder of the feature's own layer
        own_direct = responses(subject, subject.changes(rows), "everything", writes="own").values
    found: list[IndirectWay] = []
    by_layer: tuple[LayerSpearman, ...] = ()
    for frozen in ways:
        try:
            effects = effects_of(subject, rows, frozen, replaced=replaced)
        except StrengthError:  # nothing is known of what overflows
            effects = Effects(np.full_like(sums, np.nan), None, None)
        measured = effects.measured

        def compared(predicted: Floats, mask: Bools, actual: Floats = measured) -> Likeness:
            known = mask & np.isfinite(actual)
            return likeness(predicted[known], actual[known], source[known], seed=seed)

        everything, own_layer = compared(sums, joined), None
        if own_direct is not None:
            at_own = _at_own_layer(subject, rows, frozen)
            own_layer = compared(prediction.total - own_direct, joined, at_own)
        linear, run = effects.responding, effects.replaced
        found.append(
            IndirectWay(
                frozen,
                everything,
                targets=compared(sums, on_targets),
                responding=everything if linear is None else compared(linear, joined),
                own_layer=own_layer,
                replaced=None if run is None else compared(run, joined),
            )
        )
        if frozen == "attention, norms":
            by_layer = tuple(_by_layer(subject, rows, sums, measured, joined))
    return IndirectEffects(tuple(rows.tolist()), tuple(found), by_layer)


class Effects(NamedTuple):
    """(n, k) indirect effects, measured and predicted."""

    measured: Floats
    responding: Floats | None
    """With norms and attention responding; None where both are frozen and the graph has all edges:
    its own sums."""
    replaced: Floats | None
    """With the replacement model run for real; None of neurons, and where it was not run."""


def effects_of(
    subject: Subject, rows: Ints, frozen: Frozen, *, times: float = 0.0, replaced: bool = False
) -> Effects:
    """Indirect effects of features at a multiple of themselves, one by one."""
    changes, linear = subject.changes(rows, times), not subject.has_gates
    whole = responses(subject, changes, frozen, linear=linear).values
    rest = responses(subject, changes, frozen, linear=linear, freeze_mlps=True).values
    run = None
    if replaced and linear:
        run = responses(subject, changes, frozen, responding="replacement").values - rest
    if frozen == "attention, norms" and subject.has_all_edges:
        return Effects(whole - rest, None, run)
    predicted = responses(subject, changes, frozen, responding="graph").values
    if not linear:  # in the graph's terms, as the prediction is
        predicted -= responses(subject, changes, frozen, freeze_mlps=True).values
        return Effects(whole - rest, predicted, None)
    return Effects(whole - rest, predicted - rest, run)


def _at_own_layer(subject: Subject, rows: Ints, frozen: Frozen) -> Floats:
    """(n, k) what came about through later MLPs when features write to their own layer alone."""
    changes = subject.changes(rows)
    whole = responses(subject, changes, frozen, writes="frozen").values
    rest = responses(subject, changes, frozen, writes="own", freeze_mlps=True).values
    return whole - rest


def _by_layer(
    subject: Subject, rows: Ints, predicted: Floats, measured: Floats, joined: Bools
) -> list[LayerSpearman]:
    layers, found = subject.graph.nodes.layer[rows], []
    for layer in np.unique(layers).tolist():
        mask = joined & (layers == layer)[None, :]
        figure = spearman(predicted[mask], measured[mask])
        found.append(LayerSpearman(layer, figure, int(mask.sum())))
    return found
