"""The way of a prompt: tokens -> capture -> replacement model -> targets -> sweep -> graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.replacement import (
    LocalReplacementModel,
    build_replacement,
    check_fits,
)
from circuit_tracer.attribution.selection import expand
from circuit_tracer.attribution.targets import choose_targets, resolve_position
from circuit_tracer.errors import CircuitTracerError, DictionaryError, UsageError
from circuit_tracer.graphs.graph import Graph, GraphInfo, NodeKind
from circuit_tracer.models import Model
from circuit_tracer.models.check import check_wiring
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons

MANY_EDGES = 20_000_000
"""Graphs of up to so many edges are kept whole unless told otherwise (240 MB in float32)."""
DEFAULT_FLOOR = 2e-7
"""The edge floor of larger graphs."""
USUAL_DEPTH = 4
"""Nodes on an average path: what all influences sum to. For the expected number of edges."""

OnProgress = Callable[["Progress"], None]
Labels = Callable[[list[tuple[int, int]]], list[str]]
"""Short texts of (layer, feature) pairs, in their order."""


@dataclass(frozen=True)
class TraceSettings:
    """What a trace can be told; every field is stored with the graph."""

    targets: tuple[str, ...] = ()
    """Tokens to explain; empty means the model's own first choices."""
    contrast: str | None = None
    """"yes,no": explain logit(yes) - logit(no) instead."""
    position: int = -1
    """Position whose output is explained."""
    max_n_logits: int = 10
    """Most tokens the model's own choice may take."""
    desired_logit_prob: float = 0.95
    """Probability these tokens should reach together."""
    max_feature_nodes: int = 7500
    """Most features that get a row."""
    coverage: float | None = None
    """Stop expanding when the influence hidden in features without a row is below 1 - coverage."""
    batch_size: int = 64
    """Rows per walk through the layers; changes time and memory, not the graph."""
    edge_floor: float | None = None
    """Least share of the targets' influence that an edge must carry to be kept one by one; of
    smaller ones exact sums stay. None: 0 for graphs of up to `MANY_EDGES` edges, else
    `DEFAULT_FLOOR`."""
    zeroed_positions: int | None = None
    """Leading positions without features and errors; None takes the model's own (1 for BOS, 4 for
    chats with Gemma 3), 0 keeps everything."""
    chat: bool = False
    """Put the prompt into the model's chat template as one user turn."""
    system: str | None = None
    """The system turn in front of it."""

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be, before anything is opened."""
        if self.system is not None and not self.chat:
            raise UsageError("--system is a turn of a chat; add --chat, or leave it out")
        if self.targets and self.contrast:
            raise UsageError("--target and --contrast exclude each other; give one of them")
        if not 0 < self.desired_logit_prob <= 1:
            raise UsageError(
                f"--desired-logit-prob {self.desired_logit_prob} must lie above 0 and at most at 1"
            )
        if self.edge_floor is not None and not 0 <= self.edge_floor < 1:
            raise UsageError(f"--edge-floor {self.edge_floor} must be at least 0 and below 1")
        if self.coverage is not None and not 0 < self.coverage <= 1:
            raise UsageError(f"--coverage {self.coverage} must lie above 0 and at most at 1")
        for flag, value, least in (
            ("--max-n-logits", self.max_n_logits, 1),
            ("--batch-size", self.batch_size, 1),
            ("--max-feature-nodes", self.max_feature_nodes, 0),
            ("--zero-positions", self.zeroed_positions or 0, 0),
        ):
            if value < least:
                raise UsageError(f"{flag} {value} must be at least {least}")


@dataclass(frozen=True)
class Progress:
    """Where a trace is: for a line on the terminal."""

    stage: str
    """"forward", "encode", "sweep"."""
    done: int
    total: int
    """Rows, in the sweep; otherwise 0."""
    note: str = ""
    """Said once when a stage starts, e.g. how many features are active."""


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
    if settings.zeroed_positions is None:
        settings = replace(settings, zeroed_positions=model.zeroed_positions(ids))
    _check_zeroed(settings.zeroed_positions or 0, at)
    seconds: dict[str, float] = {}
    # Nothing after the explained position can matter: the model is causal.
    assembler = _assembled(
        model, dictionary, ids[: at + 1], settings, seconds, on_progress or (lambda progress: None)
    )
    dtype = str(model.torch_dtype).removeprefix("torch.")
    residual, tolerance = assembler.check_conservation(dtype)
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
        settings=asdict(settings) | {"weights_dtype": model.weights_dtype},
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
    with _memory_remedy(), _exact_products(), torch.no_grad():
        report(Progress("forward", 0, 0, f"{len(ids)} tokens"))
        with _timed(seconds, "forward"):
            capture = model.capture(ids)
            check_wiring(capture, model.wiring)
            chosen = choose_targets(
                model,
                capture,
                tokens=settings.targets,
                contrast=settings.contrast,
                max_n_logits=settings.max_n_logits,
                desired_logit_prob=settings.desired_logit_prob,
            )
        report(Progress("encode", 0, 0))
        with _timed(seconds, "encode"):
            replacement = build_replacement(
                capture, model.wiring, dictionary, n_zeroed=settings.zeroed_positions or 0
            )
            del capture
            n_rows = min(settings.max_feature_nodes, len(replacement.features))
            n_rows += len(chosen.targets)
            assembler = Assembler(
                replacement, chosen, edge_floor=_edge_floor(replacement, n_rows, settings)
            )
        report(Progress("sweep", 0, n_rows, _expectation(assembler, n_rows)))
        with _timed(seconds, "sweep"):
            expand(
                assembler,
                max_feature_nodes=settings.max_feature_nodes,
                coverage=settings.coverage,
                batch_size=settings.batch_size,
                on_progress=lambda done, total: report(Progress("sweep", done, total)),
            )
            return assembler


def _edge_floor(model: LocalReplacementModel, n_rows: int, settings: TraceSettings) -> float:
    """The floor given, or one that fits the size of the graph."""
    if settings.edge_floor is not None:
        return settings.edge_floor
    # A target has, on average, half of all nodes below it.
    return DEFAULT_FLOOR if n_rows * len(model.features) / 2 > MANY_EDGES else 0.0


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


def _expectation(assembler: Assembler, n_rows: int) -> str:
    """How large the sweep will be: a target has, on average, half of all nodes below it."""
    n_edges = n_rows * assembler.columns.count // 2
    if assembler.edge_floor:
        n_edges = min(n_edges, int(USUAL_DEPTH / assembler.edge_floor))
    megabytes = 3 * 12 * n_edges / 2**20  # three columns, held about three times while sorting
    return (
        f"{len(assembler.model.features):,} active features, {n_rows:,} rows, "
        f"up to {n_edges:,} edges, about {max(megabytes, 1):,.0f} MB"
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
def _exact_products() -> Iterator[None]:
    """Hold matrix products to full float32 on GPUs: TF32 would break conservation."""
    before: Any = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
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
