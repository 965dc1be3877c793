"""Groups of prompts through the model: one forward pass a group, then a graph a prompt.

A prompt that cannot be traced is an outcome like another; what is wrong with the model, the
dictionary or the disk ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from circuit_tracer.attribution.around import memory_remedy, products
from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.attribution.tracing import (
    Labels,
    Prepared,
    freeze_prompt,
    prepare,
    trace_frozen,
)
from circuit_tracer.batch.groups import Group, grouped
from circuit_tracer.batch.manifest import Entry
from circuit_tracer.errors import CircuitTracerError, DictionaryError, ModelError, OutputError
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.models import Model
from circuit_tracer.models.check import check_wiring
from circuit_tracer.transcoders.neurons import AnyDictionary

if TYPE_CHECKING:
    from circuit_tracer.graphs.heads import LeadingHead
    from circuit_tracer.models.capture import Capture

FATAL = (ModelError, DictionaryError, OutputError)
"""What no other prompt can escape either."""


@dataclass(frozen=True)
class Tracer:
    """What prompts are traced with."""

    model: Model
    dictionary: AnyDictionary
    settings: TraceSettings
    """Of the run; a line's own targets or contrast take the place of its."""
    labels: Labels | None = None
    relabel: Callable[[PrunedGraph], PrunedGraph] | None = None
    """Labels made for the features of a finished graph."""
    node_threshold: float = 0.8
    edge_threshold: float = 0.98
    heads: bool = False
    """Whether the heads that carry the kept edges are wanted: as much work as the sweep."""

    def pruned(self, graph: Graph) -> PrunedGraph:
        """The graph with what is kept of it, labelled."""
        found = prune(graph, node_threshold=self.node_threshold, edge_threshold=self.edge_threshold)
        return found if self.relabel is None else self.relabel(found)


class Failed(NamedTuple):
    """A prompt that could not be traced."""

    entry: Entry
    kind: str
    """The exception's class."""
    message: str


class Traced(NamedTuple):
    """A prompt's whole graph."""

    entry: Entry
    graph: Graph
    sweeping: float
    """Seconds of the sweep alone."""
    pruned: PrunedGraph | None = None
    """The graph pruned, where that had to be done to know more of it."""
    heads: tuple[LeadingHead, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The prompts of a run by length, and those that do not even become tokens."""

    groups: list[Group[Entry]]
    failed: list[Failed]


def plan(tracer: Tracer, entries: Sequence[Entry]) -> Plan:
    """Tokenise all prompts of a run and put them in groups."""
    found, failed = [], []
    for entry in entries:
        if entry.wrong:
            failed.append(Failed(entry, "BadLine", entry.wrong))
            continue
        try:
            length = len(_prepared(tracer, entry).explained)
        except FATAL:
            raise
        except CircuitTracerError as error:
            failed.append(Failed(entry, type(error).__name__, str(error)))
            continue
        found.append((entry.key, length, entry))  # not its tokens: there may be millions
    return Plan(grouped(found), failed)


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
    captures = _captures(tracer, members)
    for number, (entry, prepared) in enumerate(zip(group.members, members, strict=True)):
        capture, captures[number] = captures[number], None
        if entry.key not in wanted:
            continue
        try:
            yield _traced(tracer, entry, prepared, capture)
        except FATAL:
            raise
        except Exception as error:  # one prompt among thousands must not stop the others
            first = (str(error).strip().splitlines() or [""])[0]
            message = str(error) if isinstance(error, CircuitTracerError) else first
            yield Failed(entry, type(error).__name__, message)


def _captures(tracer: Tracer, members: list[Prepared]) -> list[Capture | None]:
    """A capture of each member; None where memory did not suffice for all of them together."""
    try:
        with memory_remedy(), products():
            captures = tracer.model.captures([one.explained for one in members])
            check_wiring(captures[0], tracer.model.wiring)
    except FATAL:
        raise
    except CircuitTracerError:
        return [None] * len(members)
    return list(captures)


def _traced(tracer: Tracer, entry: Entry, prepared: Prepared, capture: Capture | None) -> Traced:
    model, seconds = tracer.model, dict[str, float]()
    with memory_remedy(), products():
        if capture is None:
            capture = model.capture(prepared.explained)
        frozen = freeze_prompt(model, tracer.dictionary, prepared, capture, seconds)
    del capture
    traced = trace_frozen(model, tracer.dictionary, prepared, frozen, seconds, labels=tracer.labels)
    if not tracer.heads:
        return Traced(entry, traced.graph, seconds["sweep"])
    from circuit_tracer.attribution.heads import head_loadings
    from circuit_tracer.graphs.heads import leading_heads

    pruned = tracer.pruned(traced.graph)
    loadings = head_loadings(model, tracer.dictionary, pruned)
    heads = tuple(leading_heads(pruned, loadings, moves=1))
    return Traced(entry, traced.graph, seconds["sweep"], pruned, heads)
