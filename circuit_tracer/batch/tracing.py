"""Groups of prompts through the model: one forward pass a group, then a graph a prompt.

Prompts of equal length share a group. Groups follow from the prompt file alone: its lines are
sorted by length, in their order, and a group that is full is closed. So a prompt is computed beside
the same neighbours whatever was done before, by whichever process, and comes out the same to the
last bit.

A prompt that cannot be traced is an outcome like another; what is wrong with the model, the
dictionary or the disk ends the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import torch

from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.attribution.replacement import Encoded, encode
from circuit_tracer.attribution.resources import memory_remedy, products
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import (
    Frozen,
    Labels,
    Prepared,
    freeze_prompt,
    prepare,
    trace_frozen,
)
from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.tables import Failed, Traced
from circuit_tracer.errors import (
    CircuitTracerError,
    DictionaryError,
    ModelError,
    OutputError,
    reason,
)
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.head_loadings import leading_heads
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.models.capture import Capture
from circuit_tracer.models.check import check_wiring
from circuit_tracer.models.frozen import FoldedAttention, fold_attention
from circuit_tracer.transcoders.neurons import AnyDictionary

T = TypeVar("T")

MOST_PROMPTS = 16
"""Prompts of a group: with more of them, few processes would have unequal shares of a run."""
MOST_TOKENS = 1024
"""Tokens of a group: long prompts go alone, so that memory is that of one."""


@dataclass(frozen=True)
class Group(Generic[T]):
    """Prompts of one length."""

    key: str
    """What processes claim it by."""
    members: tuple[T, ...]


def grouped(prompts: Sequence[tuple[str, int, T]]) -> list[Group[T]]:
    """Groups of (id, length in tokens, prompt), in the order in which they become full."""
    filling: dict[int, list[tuple[str, T]]] = {}
    full = []
    for key, length, prompt in prompts:
        group = filling.setdefault(length, [])
        group.append((key, prompt))
        if len(group) >= max(1, min(MOST_PROMPTS, MOST_TOKENS // length)):
            full.append(_closed(filling.pop(length)))
    return [*full, *map(_closed, filling.values())]


def _closed(group: list[tuple[str, T]]) -> Group[T]:
    digest = hashlib.sha256("\n".join(key for key, _ in group).encode()).hexdigest()
    return Group(digest[:32], tuple(prompt for _, prompt in group))


ENCODED_TOGETHER = 1 << 24
"""Activations, silent features included, of a group that is encoded together (64 MB in float32)."""
FATAL = (ModelError, DictionaryError, OutputError)
"""What no other prompt can escape either."""


@dataclass(frozen=True)
class Tracer:
    """What prompts are traced with."""

    model: Model
    dictionary: AnyDictionary
    settings: TraceSettings
    """Of the run; a line's own targets or contrast replace its."""
    labels: Labels | None = None
    relabel: Callable[[PrunedGraph], PrunedGraph] | None = None
    """Labels made for the features of a finished graph."""
    node_threshold: float = 0.8
    edge_threshold: float = 0.98
    heads: bool = False
    """Whether the heads that carry the kept edges are wanted: as much work as the sweep."""

    def pruned(self, graph: Graph) -> PrunedGraph:
        """The graph with what is kept of it, labelled."""
        pruned = prune(
            graph, node_threshold=self.node_threshold, edge_threshold=self.edge_threshold
        )
        return pruned if self.relabel is None else self.relabel(pruned)


@dataclass(frozen=True)
class Plan:
    """The prompts of a run by length, and those that do not even become tokens."""

    groups: list[Group[Entry]]
    failed: list[Failed]


def plan(entries: Sequence[Entry], length_of: Callable[[Entry], int]) -> Plan:
    """Put the prompts of a run in groups by their length in tokens; what that raises of one, but
    for what is wrong with the model, is its failure."""
    prompts, failed = [], []
    for entry in entries:
        if entry.wrong:
            failed.append(Failed(entry, "BadLine", entry.wrong))
            continue
        try:
            length = length_of(entry)
        except FATAL:
            raise
        except CircuitTracerError as error:
            failed.append(Failed(entry, type(error).__name__, str(error)))
            continue
        prompts.append((entry.key, length, entry))  # not its tokens: there may be millions
    return Plan(grouped(prompts), failed)


def prompt_length(tracer: Tracer, entry: Entry) -> int:
    """How many tokens of a prompt are run."""
    prepared = _prepared(tracer, entry)
    return len(tracer.model.needed(list(prepared.ids), prepared.n_explained))


def _prepared(tracer: Tracer, entry: Entry) -> Prepared:
    return prepare(tracer.model, entry.prompt, settings_of(tracer.settings, entry))


def settings_of(settings: TraceSettings, entry: Entry) -> TraceSettings:
    """The run's settings with what a line says of its own."""
    if not entry.targets and entry.contrast is None:
        return settings
    return replace(settings, targets=entry.targets, contrast=entry.contrast, why_not=None)


def trace_group(tracer: Tracer, group: Group[Entry], wanted: set[str]) -> Iterator[Traced | Failed]:
    """Graphs of those members of a group whose ids are wanted, one by one.

    The pass is that of all members, so that a graph does not depend on which were done before.
    """
    members = [_prepared(tracer, entry) for entry in group.members]
    passes = _forward(tracer, members)
    small = all(forward.encoded is not None for forward in passes)

    def freeze(i: int) -> Frozen | Failed:
        frozen = or_failed(group.members[i], partial(_frozen, tracer, members[i], passes[i]))
        passes[i] = _NOTHING  # a sweep needs the memory
        return frozen

    wanted_members = [i for i, entry in enumerate(group.members) if entry.key in wanted]
    ready = map(freeze, wanted_members)
    # All of them at once where they are small: between sweeps it would take twice as long.
    for i, frozen in zip(wanted_members, list(ready) if small else ready, strict=True):
        entry = group.members[i]
        if isinstance(frozen, Failed):
            yield frozen
        else:
            yield or_failed(entry, partial(_traced, tracer, entry, frozen))


def or_failed(entry: Entry, work: Callable[[], T]) -> T | Failed:
    """The result of `work`; one prompt among thousands must not stop the others."""
    try:
        return work()
    except FATAL:
        raise
    except Exception as error:
        ours = isinstance(error, CircuitTracerError)  # a sentence; of a foreign one the first
        return Failed(entry, type(error).__name__, str(error) if ours else reason(error))


class _Forward(NamedTuple):
    """What the members of a group share the work of; None where memory did not suffice for it."""

    capture: Capture | None = None
    encoded: Encoded | None = None
    folded: Sequence[FoldedAttention] | None = None


_NOTHING = _Forward()


def _forward(tracer: Tracer, members: list[Prepared]) -> list[_Forward]:
    """Of all members: one forward pass and, unless that takes much memory, one pass of encoders."""
    model = tracer.model
    try:
        with memory_remedy(), products():
            n_explained = members[0].n_explained  # of all: they are run over equally many tokens
            captures = model.captures([list(member.ids) for member in members], n_explained)
            check_wiring(captures[0], model.wiring)
            folded = [fold_attention(model.wiring, layer) for layer in range(model.n_layers)]
            zeroed = {member.settings.zeroed_positions or 0 for member in members}
            n_tokens = sum(len(capture.token_ids) for capture in captures)
            n_numbers = n_tokens * sum(layer.n_features for layer in tracer.dictionary.layers)
            encoded: list[Encoded] | list[None] = [None] * len(members)
            if len(zeroed) == 1 and n_numbers <= ENCODED_TOGETHER:
                with torch.no_grad():
                    encoded = encode(
                        captures, model.wiring, tracer.dictionary, n_zeroed=zeroed.pop()
                    )
    except FATAL:
        raise
    except CircuitTracerError:
        return [_NOTHING] * len(members)
    return [_Forward(*both, folded) for both in zip(captures, encoded, strict=True)]


def _frozen(tracer: Tracer, prepared: Prepared, known: _Forward) -> Frozen:
    model = tracer.model
    with memory_remedy(), products():
        capture = known.capture
        if capture is None:
            capture = model.capture(list(prepared.ids), prepared.n_explained)
        return freeze_prompt(
            model, tracer.dictionary, prepared, capture, encoded=known.encoded, folded=known.folded
        )


def _traced(tracer: Tracer, entry: Entry, frozen: Frozen) -> Traced:
    model = tracer.model
    traced = trace_frozen(model, frozen, labels=tracer.labels)
    if not tracer.heads:
        return Traced(entry, traced.unordered, traced.seconds["sweep"])
    pruned = tracer.pruned(traced.graph)
    loadings = head_loadings(model, tracer.dictionary, pruned)
    heads = tuple(leading_heads(pruned, loadings, moves=1))
    return Traced(entry, pruned, traced.seconds["sweep"], heads)
