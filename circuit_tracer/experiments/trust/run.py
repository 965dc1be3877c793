"""Measure all that a reader needs before believing a graph, and judge it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from circuit_tracer.attribution.tracing import trace
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.trust.estimate import expected
from circuit_tracer.experiments.trust.passes import QUICK_WAYS, WAYS, Subject
from circuit_tracer.experiments.trust.results import DictionaryAgreement, Measurements, Trust
from circuit_tracer.experiments.trust.results_file import fingerprint
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.experiments.trust.steps.agreement import agreement
from circuit_tracer.experiments.trust.steps.distance import by_distance
from circuit_tracer.experiments.trust.steps.gates import departures
from circuit_tracer.experiments.trust.steps.indirect import draw_features, indirect_effects
from circuit_tracer.experiments.trust.steps.integrity import (
    MOST_CHECKED,
    conservation,
    direct_check,
)
from circuit_tracer.experiments.trust.steps.number_format import number_format, settings_of
from circuit_tracer.experiments.trust.steps.places import places
from circuit_tracer.experiments.trust.steps.ranking import RANKED, ranking
from circuit_tracer.experiments.trust.steps.sufficiency import sufficiency
from circuit_tracer.experiments.trust.verdict import judge
from circuit_tracer.graphs.graph import Ints, NodeKind
from circuit_tracer.graphs.named_tokens import check_explains_logits
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.interventions.engine import few_threads
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary

OnStage = Callable[[str], None]
"""Called with what is done next."""


def trust(
    model: Model,
    dictionary: AnyDictionary,
    pruned: PrunedGraph,
    settings: TrustSettings | None = None,
    *,
    other: Dictionary | None = None,
    on_stage: OnStage = lambda words: None,
    on_estimate: Callable[[Estimate], None] | None = None,
) -> Trust:
    """Measure a graph with the model and dictionary it was traced with.

    `other` is another dictionary of the model, to compare stories with. `on_estimate` gets
    what it will take before it begins. Raises UsageError for a graph of another model, dictionary
    or tokenizer, or of a direction.
    """
    settings = settings or TrustSettings()
    check_explains_logits(pruned.graph.info)
    with few_threads(model):
        run = _Run(Subject.of(pruned.graph, model, dictionary), pruned, settings, on_stage)
        if on_estimate is not None:  # a moment's trial, which nobody else waits for
            on_estimate(expected(run.subject, pruned, settings, sweeps=run.sweeps(other)))
        found = run.measure(other)
    info = pruned.graph.info
    return Trust(
        prompt=info.prompt,
        model=info.model.name,
        dictionary=info.dictionary.name,
        fingerprint=fingerprint(pruned),
        settings=settings,
        verdict=judge(found),
        measured=found,
        notes=tuple(run.notes),
        seconds=run.seconds,
    )


class _Run:
    """One report in the making."""

    def __init__(
        self, subject: Subject, pruned: PrunedGraph, settings: TrustSettings, on_stage: OnStage
    ) -> None:
        self.subject, self.pruned, self.settings = subject, pruned, settings
        self.on_stage = on_stage
        self.seconds: dict[str, float] = {}
        self.notes: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report what is done next, and keep how long it took."""
        self.on_stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def sweeps(self, other: Dictionary | None) -> int:
        """How often the prompt is swept again."""
        if self.settings.quick:
            return 0
        return int(other is not None and not self.subject.has_gates) + int(self._lowers)

    @property
    def _lowers(self) -> bool:
        return self.pruned.graph.info.dtype == "float32"

    def measure(self, other: Dictionary | None) -> Measurements:
        """Everything that was asked for."""
        subject, pruned, settings = self.subject, self.pruned, self.settings
        graph = pruned.graph
        with self.stage("sums and direct edges"):
            rows = self._draw()
            checked = np.union1d(rows, self._most_influential())
            found = Measurements(
                has_errors=len(graph.nodes.of_kind(NodeKind.ERROR)) > 0,
                node_threshold=pruned.node_threshold,
                conservation=conservation(graph),
                direct=direct_check(subject, checked),
                scores=pruned.scores,
                places=places(pruned),
            )
        if len(rows):
            with self.stage("indirect effects"):
                ways = QUICK_WAYS if settings.quick else WAYS
                full = not settings.quick
                tested = indirect_effects(
                    subject, rows, ways=ways, seed=settings.seed, replaced=full
                )
                found = replace(found, indirect=tested)
        if subject.has_gates:
            with self.stage("gates"):
                found = replace(found, gates=departures(subject, checked))
        return found if settings.quick else self._rest(found, other)

    def _rest(self, found: Measurements, other: Dictionary | None) -> Measurements:
        subject, pruned, settings = self.subject, self.pruned, self.settings
        if found.indirect is not None:
            with self.stage("ranking by influence"):
                rows = draw_features(pruned, RANKED, seed=settings.seed, last_layer=True)
                ranked = ranking(subject, pruned, rows, seed=settings.seed)
                found = replace(found, ranking=ranked)
        with self.stage("response by distance"):
            distance = by_distance(subject, draws=settings.draws, seed=settings.seed)
        with self.stage("sufficiency and necessity"):
            curves = sufficiency(subject, pruned, n_random=settings.random_sets, seed=settings.seed)
        found = replace(found, distance=distance, sufficiency=curves)
        if distance and all(curve.frozen != "attention, norms" for curve in distance):
            self.notes.append(
                "with norm denominators frozen the response to half of a layer's features grows "
                "until the numbers overflow, so it has no curve"
            )
        if other is not None and isinstance(subject.dictionary, Dictionary):
            with self.stage("the other dictionary"):
                found = replace(found, agreement=self._agreement(subject.dictionary, other))
        elif not subject.has_gates:
            self.notes.append("there is no second dictionary of this model to compare with")
        if self._lowers:
            with self.stage("number format"):
                moved = number_format(subject.model, subject.dictionary, pruned)
                found = replace(found, number_format=moved)
        else:
            self.notes.append("only a float32 graph is swept again in bfloat16")
        return found

    def _draw(self) -> Ints:
        try:
            return draw_features(self.pruned, self.settings.features, seed=self.settings.seed)
        except UsageError as error:
            self.notes.append(f"indirect effects were not tested: {error}")
            return np.zeros(0, dtype=np.int64)

    def _most_influential(self) -> Ints:
        """Kept nodes (tokens and errors among them) whose direct effects are checked."""
        nodes, pruned = self.pruned.graph.nodes, self.pruned
        rows = pruned.kept_rows[nodes.kind[pruned.kept_rows] != NodeKind.LOGIT]
        order = np.argsort(-pruned.influence[rows], kind="stable")
        return np.sort(rows[order[:MOST_CHECKED]])

    def _agreement(self, dictionary: Dictionary, other: Dictionary) -> DictionaryAgreement:
        info, pruned = self.pruned.graph.info, self.pruned
        settings = replace(settings_of(info), cotangents=None)
        theirs = prune(
            trace(self.subject.model, other, info.prompt, settings).graph,
            node_threshold=pruned.node_threshold,
            edge_threshold=pruned.edge_threshold,
        )
        return agreement(pruned, dictionary, theirs, other, seed=self.settings.seed)
