"""The way of a prompt: tokens -> capture -> replacement model -> targets -> sweep -> graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.audit import audit
from circuit_tracer.attribution.estimate import estimate
from circuit_tracer.attribution.replacement import (
    build_replacement,
    check_fits,
)
from circuit_tracer.attribution.selection import expand
from circuit_tracer.attribution.settings import Cotangents, TraceSettings
from circuit_tracer.attribution.targets import choose_targets, resolve_position
from circuit_tracer.errors import CircuitTracerError, DictionaryError, UsageError
from circuit_tracer.graphs.graph import Graph, GraphInfo, NodeKind
from circuit_tracer.models import Model
from circuit_tracer.models.check import check_wiring
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons

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

    graph: Graph
    seconds: dict[str, float]
    """Wall time of "forward", "encode" and "sweep"."""
    n_active: int
    """Features that fire on the prompt."""
    n_expanded: int
    """Features that got a row."""


def trace(
    model: Model,
    dictionary: AnyDictionary,
    prompt: str,
    settings: TraceSettings | None = None,
    *,
    labels: Labels | None = None,
    on_progress: OnProgress | None = None,
) -> Trace:
    """Trace one prompt into a whole (unpruned) attribution graph.

    `dictionary` must be on the model's device and in its dtype. `labels` gives short texts of
    (layer, feature) pairs. Raises PromptError, UsageError, DictionaryError, ConservationError, and
    CircuitTracerError when memory runs out.
    """
    settings = settings or TraceSettings()
    _check_together(dictionary, model)
    ids = model.tokenize(prompt, chat=settings.chat, system=settings.system)
    at = resolve_position(settings.position, len(ids))
    settings = settings.resolved(model, ids)
    _check_zeroed(settings.zeroed_positions or 0, at)
    seconds: dict[str, float] = {}
    # Nothing after the explained position can matter: the model is causal.
    assembler = _assembled(
        model, dictionary, ids[: at + 1], settings, seconds, on_progress or (lambda progress: None)
    )
    dtype = settings.cotangents or str(model.torch_dtype).removeprefix("torch.")
    residual, tolerance = assembler.check_conservation(dtype)
    audited = {"audit": asdict(audit(assembler))} if settings.cotangents else {}
    info = GraphInfo(
        prompt=prompt,
        tokens=tuple(model.token_text(i) for i in ids),
        token_ids=tuple(ids),
        n_layers=model.n_layers,
        targets=assembler.chosen.targets,
        model=model.identity,
        dictionary=dictionary.identity,
        dtype=dtype,
        conservation_residual=residual,
        conservation_tolerance=tolerance,
        settings=asdict(settings) | {"weights_dtype": model.weights_dtype} | audited,
        versions=versions(),
        logit_softcap=model.wiring.logit_softcap,
    )
    nodes, edges = assembler.graph(_Labels(info, labels))
    return Trace(
        graph=Graph(info, nodes, edges),
        seconds=seconds,
        n_active=len(assembler.model.features),
        n_expanded=len(assembler.table) - assembler.n_logits,
    )


def _assembled(
    model: Model,
    dictionary: AnyDictionary,
    ids: list[int],
    settings: TraceSettings,
    seconds: dict[str, float],
    report: OnProgress,
) -> Assembler:
    """The costly part: forward pass, encoding, sweep. Fills in `seconds`."""
    with _memory_remedy(), _products(), torch.no_grad():
        report(Progress("forward", 0, 0, f"{len(ids)} tokens"))
        with _timed(seconds, "forward"):
            capture = model.capture(ids)
            check_wiring(capture, model.wiring)
            chosen = choose_targets(
                model,
                capture,
                tokens=settings.targets,
                contrast=settings.contrast,
                why_not=settings.why_not,
                max_n_logits=settings.max_n_logits,
                desired_logit_prob=settings.desired_logit_prob,
            )
        report(Progress("encode", 0, 0))
        with _timed(seconds, "encode"):
            replacement = build_replacement(
                capture, model.wiring, dictionary, n_zeroed=settings.zeroed_positions or 0
            )
            del capture
            budget = settings.max_feature_nodes or 0
            n_rows = min(budget, len(replacement.features)) + len(chosen.targets)
            assembler = Assembler(
                replacement,
                chosen,
                edge_floor=settings.edge_floor_for(n_rows, len(replacement.features)),
                cotangents=torch.bfloat16 if settings.cotangents == "bf16" else None,
            )

        def plan(coming: NDArray[np.int64]) -> None:
            expected = estimate(assembler, coming, n_rows, settings.batch_size)
            report(Progress("sweep", 0, n_rows, str(expected), expected.seconds))

        with _timed(seconds, "sweep"), _products(settings.cotangents):
            expand(
                assembler,
                max_feature_nodes=budget,
                coverage=settings.coverage,
                batch_size=settings.batch_size,
                on_plan=plan,
                on_progress=lambda done, total: report(Progress("sweep", done, total)),
            )
            return assembler


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {}
    for name in ("circuit-tracer-cli", "torch", "transformers", "nnsight"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _check_together(dictionary: AnyDictionary, model: Model) -> None:
    check_fits(dictionary, model.wiring)
    if isinstance(dictionary, Neurons):
        return  # the model's own
    weights = dictionary.layers[0].W_enc
    if (weights.dtype, weights.device) != (model.torch_dtype, model.device):
        raise DictionaryError(
            f"the dictionary is {weights.dtype} on {weights.device} and the model "
            f"{model.torch_dtype} on {model.device}; open it with open_transcoders(name, model)"
        )


def _check_zeroed(zeroed: int, at: int) -> None:
    if zeroed > at:
        raise UsageError(
            f"--position {at} is one of the first {zeroed}, whose features are left out; explain a "
            f"later position, or lower --zero-positions to {at} or less"
        )


@dataclass(frozen=True)
class _Labels:
    """Tokens for embeddings, cards' labels for features, "" for errors, the text of targets."""

    info: GraphInfo
    of_features: Labels | None

    def __call__(
        self, kind: NDArray[np.int8], layer: NDArray[np.int32], feature: NDArray[np.int64]
    ) -> tuple[str, ...]:
        text = [""] * len(kind)
        embeddings = np.flatnonzero(kind == NodeKind.EMBEDDING)
        for row, token in zip(embeddings.tolist(), self.info.tokens, strict=False):
            text[row] = token.strip() or token
        for row, target in zip(
            np.flatnonzero(kind == NodeKind.LOGIT).tolist(), self.info.targets, strict=True
        ):
            text[row] = target.token.strip() or target.token
        if self.of_features is not None:
            rows = np.flatnonzero(kind == NodeKind.FEATURE)
            pairs = list(zip(layer[rows].tolist(), feature[rows].tolist(), strict=True))
            for row, label in zip(rows.tolist(), self.of_features(pairs), strict=True):
                text[row] = label
        return tuple(text)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


@contextmanager
def _products(cotangents: Cotangents | None = None) -> Iterator[None]:
    """Hold float32 products to full precision on GPUs, or let them be TF32 where asked for."""
    before: Any = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if cotangents == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _memory_remedy() -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        text = str(error).lower()
        if isinstance(error, RuntimeError) and "memory" not in text:
            raise
        raise CircuitTracerError(
            "memory ran out; lower --max-feature-nodes (or set --coverage 0.9), then --batch-size, "
            "or shorten the prompt"
        ) from error
