"""The way of a prompt: tokens -> capture -> replacement model -> targets -> sweep -> graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.conservation import audit, check_conservation
from circuit_tracer.attribution.directions import DirectionTarget, below
from circuit_tracer.attribution.estimate import estimate
from circuit_tracer.attribution.replacement import (
    Encoded,
    LocalReplacementModel,
    build_replacement,
)
from circuit_tracer.attribution.resources import memory_remedy, products, timed
from circuit_tracer.attribution.selection import expand
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.targets import ChosenTargets, choose_targets, resolve_position
from circuit_tracer.attribution.totals import token_totals
from circuit_tracer.errors import DictionaryError, UsageError
from circuit_tracer.graphs.edges.store import UnorderedGraph
from circuit_tracer.graphs.graph import Graph, GraphInfo, NodeKind
from circuit_tracer.graphs.token_text import prompt_texts, target_texts
from circuit_tracer.graphs.token_totals import TokenTotals
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.check import check_wiring
from circuit_tracer.models.frozen import FoldedAttention
from circuit_tracer.transcoders.dictionary import check_fits, reading_point
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons
from circuit_tracer.versions import versions

OnProgress = Callable[["Progress"], None]
Labels = Callable[[list[tuple[int, int]]], list[str]]
"""Short texts of (layer, feature) pairs, in their order."""


@dataclass(frozen=True)
class Progress:
    """Where a trace is: for a line on the terminal."""

    stage: str
    """"forward", "encode", "sweep"."""
    done: int
    total: int
    """Rows, in the sweep; otherwise 0."""
    note: str = ""
    """Said once when a stage starts: how many tokens, what the sweep will take."""
    seconds: float = 0.0
    """With the sweep's note: how long it is expected to take."""


@dataclass(frozen=True)
class Trace:
    """A whole graph and how it came about."""

    unordered: UnorderedGraph
    """Its store is empty once `graph` has been asked for."""
    seconds: dict[str, float]
    """Wall time of "forward", "encode" and "sweep"."""
    n_active: int
    """Features that fire on the prompt."""
    n_expanded: int
    """Features that got a row."""

    @cached_property
    def graph(self) -> Graph:
        """The graph itself; the first time raises OutputError when the disk is full."""
        graph = self.unordered.ordered()
        self.unordered.store.close()
        return graph


@dataclass(frozen=True)
class Prepared:
    """A prompt as it goes into the model."""

    prompt: str
    ids: tuple[int, ...]
    """All its tokens."""
    at: int
    """Position whose output is explained."""
    settings: TraceSettings
    """With what was left to the prompt filled in."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time so far of "forward", "encode" and "sweep"."""

    @property
    def n_explained(self) -> int:
        """Tokens up to the explained position: what is captured of the prompt's pass."""
        return self.at + 1


def trace(
    model: Model,
    dictionary: AnyDictionary,
    prompt: str,
    settings: TraceSettings | None = None,
    *,
    direction: DirectionTarget | None = None,
    labels: Labels | None = None,
    on_progress: OnProgress | None = None,
) -> Trace:
    """Trace one prompt into a whole (unpruned) attribution graph.

    `direction` is explained in place of logits, at the settings' position: only what lies below it
    is in the graph.
    `dictionary` must be on the model's device and in its dtype. `labels` gives short texts of
    (layer, feature) pairs. Raises PromptError, UsageError, DictionaryError, ConservationError, and
    CircuitTracerError when memory runs out.
    """
    frozen = freeze(model, dictionary, prompt, settings or TraceSettings(), direction, on_progress)
    return trace_frozen(model, frozen, labels=labels, on_progress=on_progress)


def freeze(
    model: Model,
    dictionary: AnyDictionary,
    prompt: str,
    settings: TraceSettings,
    direction: DirectionTarget | None,
    on_progress: OnProgress | None,
) -> Frozen:
    """A prompt's pass, frozen, with the targets chosen. Raises what `trace` does."""
    check_together(dictionary, model)
    prepared = prepare(model, prompt, settings)
    if direction is not None:
        direction.check(model, prepared.settings)
    report = on_progress or (lambda progress: None)
    report(Progress("forward", 0, 0, f"{prepared.n_explained} tokens"))
    with memory_remedy(), products():
        with timed(prepared.seconds, "forward"):
            capture = model.capture(list(prepared.ids), prepared.n_explained)
            check_wiring(capture, model.wiring)
        report(Progress("encode", 0, 0))
        return freeze_prompt(model, dictionary, prepared, capture, direction=direction)


def prepare(model: Model, prompt: str, settings: TraceSettings) -> Prepared:
    """Tokenise a prompt and settle what it decides. Raises PromptError and UsageError."""
    ids = model.tokenize(prompt, chat=settings.chat, system=settings.system)
    at = resolve_position(settings.position, len(ids))
    settings = settings.resolved(model, ids)
    zeroed = settings.zeroed_positions or 0
    if zeroed > at:
        raise UsageError(
            f"`position` {at} is one of the first {zeroed}, whose features are left out; explain a "
            f"later position, or lower `zeroed_positions` to {at}{' or less' if at else ''}"
        )
    return Prepared(prompt, tuple(ids), at, settings)


class Frozen(NamedTuple):
    """What of a forward pass the sweep works with."""

    prepared: Prepared
    chosen: ChosenTargets
    model: LocalReplacementModel


@torch.no_grad()
def freeze_prompt(
    model: Model,
    dictionary: AnyDictionary,
    prepared: Prepared,
    capture: Capture,
    *,
    direction: DirectionTarget | None = None,
    encoded: Encoded | None = None,
    folded: Sequence[FoldedAttention] | None = None,
) -> Frozen:
    """Choose the targets of a captured prompt and freeze it.

    `encoded` and `folded` as in `build_replacement`.
    """
    settings = prepared.settings
    with timed(prepared.seconds, "forward"):
        chosen = choose_targets(model, capture, settings, direction)
    with timed(prepared.seconds, "encode"):
        replacement = build_replacement(
            capture,
            model.wiring,
            dictionary,
            n_zeroed=settings.zeroed_positions or 0,
            encoded=encoded,
            folded=folded,
        )
    explained = below(replacement, chosen.targets[0].direction, capture, model.wiring)
    return Frozen(prepared, chosen, explained)


def trace_frozen(
    model: Model,
    frozen: Frozen,
    *,
    labels: Labels | None = None,
    rows: NDArray[np.int64] | None = None,
    on_progress: OnProgress | None = None,
) -> Trace:
    """The graph of a frozen prompt.

    `rows` are the numbers of the features that get a row, those of most influence if not given.
    Without `on_progress` it is not worked out beforehand what the sweep will take. Raises what
    `trace` does.
    """
    assembler, prepared = sweep_frozen(frozen, on_progress, rows), frozen.prepared
    cotangents = prepared.settings.cotangents
    dtype = cotangents or dtype_name(model)
    residual, tolerance = check_conservation(assembler, dtype)
    with memory_remedy(), products(), timed(prepared.seconds, "sweep"):
        totals, *_ = token_totals(
            frozen.model,
            frozen.chosen,
            dtype=dtype_name(model),
            batch_size=prepared.settings.batch_size,
            sweep=None if cotangents else assembler.sweep,
        )
    info = run_info(model, frozen, totals, residual, tolerance, dtype)
    if cotangents:
        with memory_remedy(), products():
            info = replace(info, settings={**info.settings, "audit": asdict(audit(assembler))})
    return Trace(
        unordered=assembler.graph(info, partial(_labels, info, labels)),
        seconds=prepared.seconds,
        n_active=len(assembler.model.features),
        n_expanded=len(assembler.table) - assembler.n_logits,
    )


def run_info(
    model: Model,
    frozen: Frozen,
    totals: tuple[TokenTotals, ...],
    residual: float,
    tolerance: float,
    dtype: str,
) -> GraphInfo:
    """The facts of a run, those of its graph."""
    prepared = frozen.prepared
    return GraphInfo(
        prompt=prepared.prompt,
        tokens=tuple(model.token_text(i) for i in prepared.ids),
        token_ids=prepared.ids,
        n_layers=model.n_layers,
        targets=frozen.chosen.targets,
        model=model.identity,
        dictionary=frozen.model.dictionary.identity,
        dtype=dtype,
        conservation_residual=residual,
        conservation_tolerance=tolerance,
        settings=asdict(prepared.settings) | {"weights_dtype": model.weights_dtype},
        versions=versions(),
        logit_softcap=model.wiring.logit_softcap,
        totals=totals,
    )


def dtype_name(model: Model) -> str:
    """What a model computes in: "float32"."""
    return str(model.torch_dtype).removeprefix("torch.")


def sweep_frozen(
    frozen: Frozen,
    on_progress: OnProgress | None = None,
    rows: NDArray[np.int64] | None = None,
) -> Assembler:
    """The costly part: all rows, collected; `rows` as in `trace_frozen`."""
    report = on_progress or (lambda progress: None)
    settings, seconds = frozen.prepared.settings, frozen.prepared.seconds
    n_features, budget = len(frozen.model.features), settings.max_feature_nodes or 0
    n_rows = min(budget, n_features) + len(frozen.chosen.targets)
    with memory_remedy(), products(), torch.no_grad():
        with timed(seconds, "encode"):
            assembler = Assembler(
                frozen.model,
                frozen.chosen,
                edge_floor=settings.edge_floor_for(n_rows, n_features),
                cotangents=torch.bfloat16 if settings.cotangents == "bf16" else None,
            )

        def plan(coming: NDArray[np.int64]) -> None:
            expected = estimate(assembler, coming, n_rows, settings.batch_size)
            report(Progress("sweep", 0, n_rows, str(expected), expected.seconds))

        with timed(seconds, "sweep"), products(settings.cotangents):
            if rows is not None:
                targets = np.concatenate([np.arange(assembler.n_logits), rows + assembler.n_logits])
                assembler.run(targets, np.ones(len(targets)), batch_size=settings.batch_size)
                return assembler
            expand(
                assembler,
                max_feature_nodes=budget,
                coverage=settings.coverage,
                batch_size=settings.batch_size,
                on_plan=None if on_progress is None else plan,
                on_progress=lambda done, total: report(Progress("sweep", done, total)),
            )
            return assembler


def check_together(dictionary: AnyDictionary, model: Model) -> None:
    """Raise DictionaryError unless a dictionary stands for this model's MLPs, on its device, in its
    dtype."""
    reading_point(dictionary.identity.name, dictionary.reads)
    check_fits(dictionary.identity.name, dictionary.shape, model)
    if isinstance(dictionary, Neurons):
        return  # the model's own
    weights = dictionary.layers[0].W_enc
    if (weights.dtype, weights.device) != (model.torch_dtype, model.device):
        raise DictionaryError(
            f"the dictionary is {weights.dtype} on {weights.device} and the model "
            f"{model.torch_dtype} on {model.device}; open it with open_transcoders(name, model)"
        )


def _labels(
    info: GraphInfo,
    of_features: Labels | None,
    kind: NDArray[np.int8],
    layer: NDArray[np.int32],
    feature: NDArray[np.int64],
) -> tuple[str, ...]:
    """Tokens and targets as they are shown, cards' labels for features, "" for errors."""
    text = [""] * len(kind)
    rows = np.flatnonzero(kind == NodeKind.FEATURE)
    pairs = list(zip(layer[rows].tolist(), feature[rows].tolist(), strict=True))
    for of_kind, labels in (
        (NodeKind.EMBEDDING, prompt_texts(info.tokens)),
        (NodeKind.LOGIT, target_texts(info.targets)),
        (NodeKind.FEATURE, [""] * len(pairs) if of_features is None else of_features(pairs)),
    ):
        rows = np.flatnonzero(kind == of_kind)
        fewer = of_kind == NodeKind.EMBEDDING  # nodes than tokens: up to the explained position
        for row, label in zip(rows.tolist(), labels, strict=not fewer):
            text[row] = label
    return tuple(text)
