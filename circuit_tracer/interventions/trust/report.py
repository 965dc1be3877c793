"""Measure all that a reader needs before believing a graph, and say what follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from circuit_tracer.attribution.tracing import trace
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import Ints, NodeKind
from circuit_tracer.graphs.influence import Scores
from circuit_tracer.graphs.plain import plain
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.trust_file import fingerprint
from circuit_tracer.interventions.engine import rows_at_once
from circuit_tracer.interventions.trust.agreement import DictionaryAgreement, agreement
from circuit_tracer.interventions.trust.distance import ByDistance, by_distance
from circuit_tracer.interventions.trust.gates import Departure, departures
from circuit_tracer.interventions.trust.integrity import (
    Conservation,
    DirectCheck,
    conservation,
    direct_check,
)
from circuit_tracer.interventions.trust.knock_on import KnockOnEffects, draw_features, knock_on
from circuit_tracer.interventions.trust.number_format import (
    NumberFormat,
    number_format,
    settings_of,
)
from circuit_tracer.interventions.trust.passes import ANSWERS, Held, Subject, answers
from circuit_tracer.interventions.trust.places import Places, places
from circuit_tracer.interventions.trust.sufficiency import (
    THRESHOLDS,
    Sufficiency,
    sufficiency,
)
from circuit_tracer.interventions.trust.verdict import Verdict, judge
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary

MOST_CHECKED = 150
"""Kept nodes whose edges are checked one by one, those of most influence."""
QUICK_ANSWERS: tuple[Held, ...] = ("held", "free")
PROBE = 8
"""Rows of the passes that tell how long a row takes."""
SMALL_WIDTH = 512

OnStage = Callable[[str], None]
"""Told what is done next."""


@dataclass(frozen=True)
class TrustSettings:
    """What is measured, and how much of it."""

    features: int = 40
    """Features ablated one by one."""
    random_sets: int = 20
    """Matched random sets at every node threshold."""
    draws: int = 4
    """Perturbations of each layer for the response by distance."""
    seed: int = 0
    quick: bool = False
    """Only what takes a second on a small model: sums, direct edges, scores, knock-on effects."""

    def __post_init__(self) -> None:
        """Raise UsageError for too few."""
        for flag, value, least in (
            ("--features", self.features, 2),
            ("--random-sets", self.random_sets, 1),
            ("--draws", self.draws, 1),
            ("--seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"{flag} {value} must be at least {least}")


@dataclass(frozen=True)
class Estimate:
    """What a report will take; tracing again (other dictionary, number format) not counted."""

    rows: int
    """Interventions to be run."""
    seconds: float
    memory: int
    """Bytes, beside the model and the graph."""

    def __str__(self) -> str:
        size = self.memory / 1e9
        return f"{self.rows:,} interventions, about {self.seconds:.0f} s and {size:.1f} GB"


@dataclass(frozen=True)
class Measurements:
    """What was found; None for what was not measured."""

    has_errors: bool
    """Whether the dictionary leaves errors (neurons do not)."""
    node_threshold: float
    conservation: Conservation
    direct: DirectCheck | None
    scores: Scores
    places: Places
    knock_on: KnockOnEffects | None = None
    distance: tuple[ByDistance, ...] = ()
    sufficiency: tuple[Sufficiency, ...] = ()
    gates: tuple[Departure, ...] = ()
    agreement: DictionaryAgreement | None = None
    number_format: NumberFormat | None = None


@dataclass(frozen=True)
class Trust:
    """The report."""

    prompt: str
    model: str
    dictionary: str
    fingerprint: str
    """Of the graph the report is about."""
    settings: TrustSettings
    verdict: Verdict
    measured: Measurements
    notes: tuple[str, ...]
    """Why something was not measured."""
    seconds: dict[str, float]
    """Wall time by stage."""

    def to_json(self) -> dict[str, Any]:
        """As JSON's own types; NaN becomes null."""
        record: dict[str, Any] = plain(asdict(self))
        return record


def trust(
    model: Model,
    dictionary: AnyDictionary,
    pruned: PrunedGraph,
    settings: TrustSettings | None = None,
    *,
    other: Dictionary | None = None,
    on_stage: OnStage = lambda words: None,
    on_estimate: Callable[[Estimate], None] = lambda expected: None,
) -> Trust:
    """Measure a graph with the model and dictionary it was traced with.

    `other` is another dictionary of the model, to compare stories with. `on_estimate` is told
    beforehand what it will take. Raises UsageError for a
    graph of another model, dictionary or tokenizer, or one without features to test.
    """
    settings = settings or TrustSettings()
    with _threads(model):
        run = _Run(Subject.of(pruned.graph, model, dictionary), pruned, settings, on_stage)
        on_estimate(expected(run.subject, pruned, settings))
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


@contextmanager
def _threads(model: Model) -> Iterator[None]:
    """One thread for small models: their products gain nothing from more, and where the cores are
    busy the threads wait for each other, by a factor of twenty."""
    before = torch.get_num_threads()
    if model.device.type == "cpu" and model.d_model < SMALL_WIDTH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def expected(subject: Subject, pruned: PrunedGraph, settings: TrustSettings) -> Estimate:
    """Time from a few passes that are run for it; memory from the sizes of a pass and of tables."""
    L, n = pruned.graph.info.n_layers, len(pruned.graph.nodes)
    ways = 2 if settings.quick else 3
    rows = settings.features + MOST_CHECKED + 2 * ways * settings.features
    if not settings.quick:
        points = len(THRESHOLDS) + 1
        rows += 3 * settings.draws * (L - 1) + 2 * points * (3 + 2 * settings.random_sets)
    one, several = (_fastest(subject, count) for count in (1, PROBE))
    a_row = max((several - one) / (PROBE - 1), several / (20 * PROBE))
    wiring, T = subject.model.wiring, subject.original.n_tokens
    at_once = min(rows, rows_at_once(subject.model, T, 1, keep_inside=True))
    passes = (4 if settings.quick else 14) + rows // at_once
    width = wiring.mlp_weights(0).gate.shape[0]
    a_token = 16 * wiring.d_model + 4 * width + 3 * (wiring.n_heads * T + L * wiring.d_model)
    numbers = at_once * T * a_token * subject.original.capture.embeddings.element_size()
    tables = 8 * 5 * n * max(settings.features, MOST_CHECKED)
    return Estimate(rows, passes * one + rows * a_row, numbers + tables)


def _fastest(subject: Subject, count: int) -> float:
    """Seconds of a pass of so many rows, the first of which warms up."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        answers(subject, [()] * count, "constrained")
        found.append(time.perf_counter() - start)
    return min(found)


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
        """Say what is done, and how long it took."""
        self.on_stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def measure(self, other: Dictionary | None) -> Measurements:
        """Everything that was asked for."""
        subject, pruned, settings = self.subject, self.pruned, self.settings
        graph, has_gates = pruned.graph, subject.has_gates
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
            with self.stage("knock-on effects"):
                ways = QUICK_ANSWERS if settings.quick else ANSWERS
                tested = knock_on(subject, rows, ways=ways, seed=settings.seed)
                found = replace(found, knock_on=tested)
        if has_gates:
            with self.stage("gates"):
                found = replace(found, gates=departures(subject, checked[:20]))
        return found if settings.quick else self._rest(found, other)

    def _rest(self, found: Measurements, other: Dictionary | None) -> Measurements:
        subject, pruned, settings = self.subject, self.pruned, self.settings
        with self.stage("response by distance"):
            distance = by_distance(subject, draws=settings.draws, seed=settings.seed)
        with self.stage("sufficiency and necessity"):
            curves = sufficiency(subject, pruned, n_random=settings.random_sets, seed=settings.seed)
        found = replace(found, distance=distance, sufficiency=curves)
        if other is not None and isinstance(subject.dictionary, Dictionary):
            with self.stage("the other dictionary"):
                found = replace(found, agreement=self._agreement(subject.dictionary, other))
        elif not subject.has_gates:
            self.notes.append("there is no second dictionary of this model to compare with")
        if pruned.graph.info.dtype == "float32":
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
            self.notes.append(f"knock-on effects were not tested: {error}")
            return np.zeros(0, dtype=np.int64)

    def _most_influential(self) -> Ints:
        """Kept nodes (tokens and errors among them) whose direct effects are checked."""
        nodes, pruned = self.pruned.graph.nodes, self.pruned
        rows = pruned.kept_rows[nodes.kind[pruned.kept_rows] != NodeKind.LOGIT]
        order = np.argsort(-pruned.influence[rows], kind="stable")
        found: Ints = np.sort(rows[order[:MOST_CHECKED]])
        return found

    def _agreement(self, dictionary: Dictionary, other: Dictionary) -> DictionaryAgreement:
        info, pruned = self.pruned.graph.info, self.pruned
        settings = replace(settings_of(info), cotangents=None)
        theirs = prune(
            trace(self.subject.model, other, info.prompt, settings).graph,
            node_threshold=pruned.node_threshold,
            edge_threshold=pruned.edge_threshold,
        )
        return agreement(pruned, dictionary, theirs, other, seed=self.settings.seed)
