"""The way of a prompt: tokens -> capture -> replacement model -> targets -> sweep -> graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.replacement import build_replacement, check_fits
from circuit_tracer.attribution.selection import expand
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.attribution.targets import choose_targets, resolve_position
from circuit_tracer.errors import CircuitTracerError, DictionaryError, UsageError
from circuit_tracer.graphs.graph import Edges, Graph, GraphInfo
from circuit_tracer.models import Model
from circuit_tracer.transcoders.dictionary import Dictionary

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
    zeroed_positions: int = 1
    """Leading positions without features and errors (1 for BOS; 0 keeps everything)."""

    def __post_init__(self) -> None:
        """Raise UsageError for what cannot be, before anything is opened."""
        if self.targets and self.contrast:
            raise UsageError("--target and --contrast exclude each other; give one of them")
        if not 0 < self.desired_logit_prob <= 1:
            raise UsageError(
                f"--desired-logit-prob {self.desired_logit_prob} must lie above 0 and at most at 1"
            )
        if self.coverage is not None and not 0 < self.coverage <= 1:
            raise UsageError(f"--coverage {self.coverage} must lie above 0 and at most at 1")
        for flag, value, least in (
            ("--max-n-logits", self.max_n_logits, 1),
            ("--batch-size", self.batch_size, 1),
            ("--max-feature-nodes", self.max_feature_nodes, 0),
            ("--zero-positions", self.zeroed_positions, 0),
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
    dictionary: Dictionary,
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
    ids = model.tokenize(prompt)
    at = resolve_position(settings.position, len(ids))
    _check_zeroed(settings.zeroed_positions, at)
    seconds: dict[str, float] = {}
    # Nothing after the explained position can matter: the model is causal.
    assembler, edges = _assembled(
        model, dictionary, ids[: at + 1], settings, seconds, on_progress or (lambda progress: None)
    )
    dtype = str(model.torch_dtype).removeprefix("torch.")
    residual, tolerance = assembler.check_conservation(dtype, _target_names(assembler))
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
    )
    nodes = assembler.nodes(_node_labels(assembler, info, labels))
    return Trace(
        graph=Graph(info, nodes, edges),
        seconds=seconds,
        n_active=len(assembler.model.features),
        n_expanded=int(assembler.expanded[assembler.n_logits :].sum()),
    )


def _assembled(
    model: Model,
    dictionary: Dictionary,
    ids: list[int],
    settings: TraceSettings,
    seconds: dict[str, float],
    report: OnProgress,
) -> tuple[Assembler, Edges]:
    """The costly part: forward pass, encoding, sweep. Fills in `seconds`."""
    with _memory_remedy(), _exact_products(), torch.no_grad():
        report(Progress("forward", 0, 0, f"{len(ids)} tokens"))
        with _timed(seconds, "forward"):
            capture = model.capture(ids)
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
                capture, model.wiring, dictionary, n_zeroed=settings.zeroed_positions
            )
            assembler = Assembler(replacement, chosen)
        n_rows = min(settings.max_feature_nodes, len(replacement.features)) + assembler.n_logits
        report(Progress("sweep", 0, n_rows, _expectation(assembler, n_rows)))
        with _timed(seconds, "sweep"):
            expand(
                Sweep(replacement),
                assembler,
                max_feature_nodes=settings.max_feature_nodes,
                coverage=settings.coverage,
                batch_size=settings.batch_size,
                on_progress=lambda done, total: report(Progress("sweep", done, total)),
            )
            return assembler, assembler.edges()


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {}
    for name in ("circuit-tracer-cli", "torch", "transformers", "nnsight"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _check_together(dictionary: Dictionary, model: Model) -> None:
    check_fits(dictionary, model.wiring)
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
    megabytes = 3 * 12 * n_edges / 2**20  # three columns, held about three times while sorting
    return (
        f"{len(assembler.model.features)} active features, {n_rows} rows, "
        f"up to {n_edges:,} edges, about {max(megabytes, 1):,.0f} MB"
    )


def _target_names(assembler: Assembler) -> list[str]:
    features = assembler.model.features
    names = [f'the target "{t.token}"' for t in assembler.chosen.targets]
    triples = zip(
        features.layer.tolist(), features.index.tolist(), features.position.tolist(), strict=True
    )
    return names + [f"feature L{layer}/{index}@{position}" for layer, index, position in triples]


def _node_labels(
    assembler: Assembler,
    info: GraphInfo,
    labels: Labels | None,
) -> tuple[str, ...]:
    """Tokens for embeddings, cards' labels for features, "" for errors, the text of targets."""
    text = [""] * assembler.n_nodes
    n_tokens = assembler.model.n_tokens
    text[:n_tokens] = [token.strip() or token for token in info.tokens[:n_tokens]]
    features = assembler.model.features
    if labels is not None:
        pairs = list(zip(features.layer.tolist(), features.index.tolist(), strict=True))
        found = labels(pairs)
        for row, label in zip(assembler.columns.feature.tolist(), found, strict=True):
            text[row] = label
    for i, target in enumerate(info.targets):
        text[assembler.columns.count + i] = target.token.strip() or target.token
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
