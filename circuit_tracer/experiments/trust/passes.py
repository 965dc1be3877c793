"""The model's own answer to many interventions, read off at every node of a graph.

What answers depends on what is held, from most to least:

* still: attention patterns, norm denominators and all MLP outputs but for the change itself. The
  model is then what the graph's edges describe; what is measured must equal them.
* held: attention patterns and norm denominators, as in the graph; MLPs above the change answer.
  What the graph claims of routes, tested on the model's own MLPs.
* constrained: attention patterns alone; norms answer as well.
* free: nothing.

A cross-layer feature writes wherever its decoder reaches, as in the graph, unless told otherwise:
its later decoders stand for what later MLPs make of it, and count twice where these answer.

A feature's value is what its encoder reads linearly (its pre-activation, whose parts the edges
are), so a feature that falls silent counts with the whole of its fall. A neuron's value is its
activation. A target's is its logit minus the mean logit, or the difference of two.

Shapes: n nodes, k interventions, T tokens, L layers, d model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.graphs.graph import Floats, Graph, Ints, NodeKind
from circuit_tracer.interventions.engine import passes
from circuit_tracer.interventions.freezing import Freezing, frozen_norms
from circuit_tracer.interventions.linear import LinearFeatures
from circuit_tracer.interventions.original import Original, run_again
from circuit_tracer.interventions.selection import change_of
from circuit_tracer.interventions.spec import Intervention, Strength, Writes, highest_layer
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons

Held = Literal["still", "held", "constrained", "free"]
ANSWERS: tuple[Held, ...] = ("held", "constrained", "free")
"""Ways in which something beyond the change itself answers."""
QUICK_ANSWERS: tuple[Held, ...] = ("held", "free")
"""Those of a brief report."""


@dataclass(frozen=True)
class Subject:
    """A graph with what it was traced from, and the pass it was traced on."""

    graph: Graph
    model: Model
    dictionary: AnyDictionary
    original: Original

    @classmethod
    def of(cls, graph: Graph, model: Model, dictionary: AnyDictionary) -> Subject:
        """Run the graph's prompt again. UsageError for another model, dictionary or tokenizer."""
        return cls(graph, model, dictionary, run_again(model, dictionary, graph.info))

    @property
    def has_gates(self) -> bool:
        """Whether features are neurons, whose edges are no tangents (method.md section 1)."""
        return isinstance(self.dictionary, Neurons)

    @cached_property
    def features(self) -> LinearFeatures:
        """The graph's features as they answer in its own terms."""
        return LinearFeatures.of(self.graph, self.dictionary, self.original)

    def change(self, row: int, times: float = 0.0) -> Intervention:
        """One node of the graph at a multiple of itself; 0 ablates."""
        return (change_of(self.graph, row, Strength(times)),)


@dataclass(frozen=True)
class Answers:
    """What a batch of interventions did."""

    values: Floats
    """(n, k) changes of the features' and targets' values; 0 for other nodes."""
    targets: Floats
    """(k, t) values of the targets with the change, in the order of the graph's."""
    moved: Floats
    """(k, t) by how much they changed."""


@torch.no_grad()
def answers(
    subject: Subject,
    interventions: Sequence[Intervention],
    held: Held,
    *,
    linear: bool = True,
    every_node: bool = True,
    mlps_held: bool = False,
    writes: Writes = "all",
    graph_answers: bool = False,
) -> Answers:
    """Carry out interventions, one a column. UsageError where the numbers overflow.

    Without `linear` features are encoded as the model would have them (neurons always differ).
    Without `every_node` only targets are read. `mlps_held` keeps all MLP outputs as they were but
    for the change, whatever else answers: what is then missing went through an MLP. `writes`
    says at which layers cross-layer features are written (`spec.Writes`). With
    `graph_answers` the graph's own features answer in the MLPs' place, linearly: a forecast, in
    which norms and attention that are not held do what they do in the model.
    """
    graph, model, original = subject.graph, subject.model, subject.original
    at = torch.tensor(sorted({t.position for t in graph.info.targets}), device=model.device)
    all_held = held == "still" or mlps_held or graph_answers
    keeps_norms = held in ("still", "held")
    freezing = Freezing(
        attention=held != "free",
        norms=frozen_norms(model.wiring, original.capture) if keeps_norms else {},
        skips_carry=all_held,
        writes=writes,
        features=subject.features if graph_answers else None,
    )
    ends = [_end(one, held, all_held, model.n_layers) for one in interventions]
    values = np.zeros((len(graph.nodes), len(interventions)))
    targets = np.zeros((len(interventions), len(graph.info.targets)))
    moved = np.zeros_like(targets)
    for batch in passes(
        model,
        subject.dictionary,
        original,
        interventions,
        ends,
        freezing,
        at=at,
        keep_seen=every_node,
    ):
        here = slice(batch.start, batch.end)
        found = _targets(subject, batch.logits, at)
        targets[here], moved[here] = found[1:], found[1:] - found[:1]
        if batch.seen is not None:
            _read_features(subject, batch.seen, values[:, here], linear=linear)
            values[graph.target_rows, here] = moved[here].T
    return Answers(values, targets, moved)


def knock_on_of(subject: Subject, interventions: Sequence[Intervention], held: Held) -> Floats:
    """(n, k) what came about through at least one further MLP: the change with MLPs answering
    minus the change with all MLP outputs held, all else alike."""
    linear = not subject.has_gates
    whole = answers(subject, interventions, held, linear=linear)
    rest = answers(subject, interventions, held, linear=linear, mlps_held=True)
    found: Floats = whole.values - rest.values
    return found


def _end(changes: Intervention, held: Held, all_held: bool, n_layers: int) -> int:
    """Last layer whose MLP output is held."""
    if all_held:
        return n_layers - 1
    return -1 if held == "free" else highest_layer(changes)


def _targets(subject: Subject, logits: Float[Tensor, "B P V"], at: Tensor) -> Floats:
    """(B, t) values of the graph's targets."""
    where = {int(position): i for i, position in enumerate(at)}
    columns = []
    for target in subject.graph.info.targets:
        here = logits[:, where[target.position]]
        plus = here[:, target.vocabulary_ids[0]]
        minus = here[:, target.vocabulary_ids[1]] if target.is_contrast else here.mean(-1)
        columns.append(as_floats(plus - minus))
    return np.stack(columns, axis=1)


def _read_features(
    subject: Subject, seen: Float[Tensor, "L B T d"], into: Floats, *, linear: bool
) -> None:
    """Fill in the changes of all features against the first row of the batch."""
    nodes = subject.graph.nodes
    fires = nodes.kind == NodeKind.FEATURE
    for layer in np.unique(nodes.layer[fires]).tolist():
        of_layer = np.flatnonzero(fires & (nodes.layer == layer))
        for position in np.unique(nodes.position[of_layer]).tolist():
            rows = of_layer[nodes.position[of_layer] == position]
            into[rows] = _changes(subject, rows, layer, position, seen[layer, :, position], linear)


def _changes(
    subject: Subject,
    rows: Ints,
    layer: int,
    position: int,
    seen: Float[Tensor, "B d"],
    linear: bool,
) -> Floats:
    """(rows, B - 1) changes of features of one layer at one position."""
    transcoder = subject.dictionary.layers[layer]
    index = torch.from_numpy(subject.graph.nodes.feature[rows]).to(seen.device)
    if not linear:
        fired = transcoder.encode(seen)[:, index]
        return as_floats(fired[1:] - fired[:1]).T
    x = subject.original.seen[layer][position].expand(len(index), -1)
    natural = subject.original.activations[layer][position, index]
    vectors, _ = transcoder.linear_rows(index, x, natural)
    return as_floats((seen[1:] - seen[:1]) @ vectors.T).T
