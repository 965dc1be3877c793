"""The knock-on test: ablate features one by one and see whether what follows was foretold.

Of every ablated feature s and every later node t (active features with a row, and targets) that a
route of the graph joins through at least one further feature: the graph's signed sum over those
routes (`routes.py`) against what the model does. Direct edges are not counted, in either: measured
is the change with MLPs answering minus the change with all MLP outputs held (`passes.py`).

A graph holds the denominators of norms and attention patterns. Where these answer in the model,
there are two forecasts: *foretold*, the graph's sums as they are; and *foretold as they answer*,
the graph's features with their edges' own vectors, linear, dictionary and errors held, while norms
(and attention, where that is not held) do what they do in the model (`linear.py`), again less what
comes about with all MLP outputs held. With attention and norms held the two are the same. Where the
second holds up and the first does not, it is not the features that the graph has wrong.

A cross-layer feature's later decoders stand for what later MLPs make of it. They are direct edges
here, written as in the graph, so that what the MLPs make of it again is not in question. *On its
own* puts it in question: the feature is ablated at its own layer alone, the later MLPs answer for
its later decoders, and all that comes about through them is set beside the graph's sum over all
routes less what its own layer's decoder does directly.

Features are drawn from five strata of equal size by influence on the targets, so that weak ones
are tested, too. Anthropic report a Spearman correlation of 0.72 between influence and the effect
of ablations (`ranking.py`); here signs count, and all pairs of an ablated feature and a later node.
Source: method.md section 8; "Circuit Tracing" (Anthropic, March 2025), evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from circuit_tracer.errors import StrengthError, UsageError
from circuit_tracer.experiments.kit.statistics import Likeness, likeness, spearman
from circuit_tracer.experiments.trust.passes import ANSWERS, Held, Subject, answers
from circuit_tracer.graphs.graph import Bools, Floats, Ints, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.interventions.prediction import ablation_shares, predict

STRATA = 5


@dataclass(frozen=True)
class KnockOn:
    """Foretold against measured knock-on effects, with one thing held or another."""

    held: Held
    everything: Likeness
    """All later features and the targets; foretold by the graph's sums."""
    targets: Likeness
    """The targets alone."""
    answering: Likeness
    """All later features and the targets; foretold with what is not held answering."""
    on_its_own: Likeness | None = None
    """Cross-layer features alone: later MLPs answer for their later decoders."""


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


def draw_features(pruned: PrunedGraph, count: int, *, seed: int, last_layer: bool = False) -> Ints:
    """`count` features with a row and with influence, in equal parts from five strata by influence;
    those of the last layer only if asked for. All, where there are fewer. UsageError for none."""
    nodes = pruned.graph.nodes
    able = (nodes.kind == NodeKind.FEATURE) & (pruned.influence > 0) & (nodes.activation != 0)
    below = pruned.graph.info.n_layers - (0 if last_layer else 1)
    rows = np.flatnonzero(able & (nodes.layer < below))
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
    routes = predict(graph, ablation_shares(graph, rows))
    foretold = routes.indirect
    joined = np.abs(foretold) > 0
    joined[~graph.nodes.expanded] = False  # features without a row: nothing is foretold of them
    is_target = graph.nodes.kind == NodeKind.LOGIT
    source = np.broadcast_to(np.arange(len(rows)), joined.shape)
    own_layer = _own_layer(subject, rows)
    found: list[KnockOn] = []
    by_layer: tuple[tuple[int, float, int], ...] = ()
    for held in ways:
        on_progress(f"knock-on effects, {held}")
        try:
            measured, forecast = measured_and_forecast(subject, rows, held)
        except StrengthError:  # nothing is known of what overflows
            measured, forecast = np.full_like(foretold, np.nan), None

        def compared(expected: Floats, mask: Bools, effects: Floats = measured) -> Likeness:
            known = mask & np.isfinite(effects)
            return likeness(expected[known], effects[known], source[known], seed=seed)

        everything = compared(foretold, joined)
        found.append(
            KnockOn(
                held,
                everything,
                compared(foretold, joined & is_target[:, None]),
                everything if forecast is None else compared(forecast, joined),
                compared(routes.total - own_layer, joined, _on_its_own(subject, rows, held))
                if own_layer is not None
                else None,
            )
        )
        if held == "held":
            by_layer = _by_layer(subject, rows, foretold, measured, joined)
    return KnockOnEffects(tuple(rows.tolist()), tuple(found), by_layer)


def measured_and_forecast(
    subject: Subject, rows: Ints, held: Held, *, times: float = 0.0
) -> tuple[Floats, Floats | None]:
    """(n, k) measured knock-on effects of features at a multiple of themselves, and those that are
    foretold as norms and attention answer (None where they are held, so that it is the graph's own
    forecast)."""
    interventions = [subject.change(int(row), times) for row in rows]
    linear = not subject.has_gates
    whole = answers(subject, interventions, held, linear=linear).values
    rest = answers(subject, interventions, held, linear=linear, mlps_held=True).values
    if held == "held":
        return whole - rest, None
    forecast = answers(subject, interventions, held, graph_answers=True).values
    if not linear:  # in the graph's terms, as the forecast is
        rest_linear = answers(subject, interventions, held, mlps_held=True).values
        return whole - rest, forecast - rest_linear
    return whole - rest, forecast - rest


def _own_layer(subject: Subject, rows: Ints) -> Floats | None:
    """(n, k) what cross-layer features do directly through the decoder of their own layer, all else
    held as in the graph; None for features that write to no other."""
    if subject.dictionary.kind != "clt":
        return None
    interventions = [subject.change(int(row)) for row in rows]
    return answers(subject, interventions, "still", writes="own").values


def _on_its_own(subject: Subject, rows: Ints, held: Held) -> Floats:
    """(n, k) what came about through later MLPs when features write to their own layer alone."""
    interventions = [subject.change(int(row)) for row in rows]
    whole = answers(subject, interventions, held, writes="frozen").values
    rest = answers(subject, interventions, held, writes="own", mlps_held=True).values
    return whole - rest


def _by_layer(
    subject: Subject, rows: Ints, foretold: Floats, measured: Floats, joined: Bools
) -> tuple[tuple[int, float, int], ...]:
    layers, found = subject.graph.nodes.layer[rows], []
    for layer in np.unique(layers).tolist():
        mask = joined & (layers == layer)[None, :]
        found.append((layer, spearman(foretold[mask], measured[mask]), int(mask.sum())))
    return tuple(found)
