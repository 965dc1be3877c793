"""The model's own response to many interventions, read off at every node of a graph.

What responds depends on what is frozen, from most to least:

* everything: attention patterns, norm denominators and all MLP outputs but for the change itself.
  The model is then what the graph's edges describe; what is measured must equal them.
* attention, norms: patterns and denominators, as in the graph; MLPs after the change respond. What
  the graph claims of routes, tested on the model's own MLPs.
* attention: patterns alone; norms respond as well.
* nothing.

A cross-layer feature writes wherever its decoder reaches, as in the graph, unless `writes` limits
it: its later decoders stand for what later MLPs make of it, and count twice where these respond.

A feature's value is what its encoder reads linearly (its pre-activation, whose parts the edges
are), so a feature that falls silent counts with the whole of its fall. A neuron's value is its
activation. A target's is its logit minus the mean logit, or the difference of two.

Shapes: n nodes, k interventions, T tokens, L layers, d model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.attribution.targets import target_values
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust.results import Frozen
from circuit_tracer.graphs.graph import Floats, Graph, Ints, NodeKind
from circuit_tracer.interventions.engine import passes
from circuit_tracer.interventions.freezing import Freezing, frozen_norms
from circuit_tracer.interventions.linear import LinearFeatures
from circuit_tracer.interventions.original import Original, run_again
from circuit_tracer.interventions.responding import ReplacedFeatures, RespondingFeatures
from circuit_tracer.interventions.selection import change_of
from circuit_tracer.interventions.spec import Intervention, Strength, Writes, highest_layer
from circuit_tracer.models import Model
from circuit_tracer.models.devices import as_floats
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.neurons import AnyDictionary, Neurons

WAYS: tuple[Frozen, ...] = ("attention, norms", "attention", "nothing")
"""Ways of freezing in which something beyond the change itself responds."""
QUICK_WAYS: tuple[Frozen, ...] = ("attention, norms", "nothing")
"""Those of a brief report."""
Responding = Literal["graph", "replacement"]
"""What responds in the MLPs' place in a prediction."""
FREER_WAYS: tuple[Frozen, ...] = ("attention", "nothing")
"""Those in which norms respond."""


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
        return cls(graph, model, dictionary, run_again(model, dictionary, graph))

    @property
    def has_gates(self) -> bool:
        """Whether features are neurons, whose edges are no tangents (method.md section 1)."""
        return isinstance(self.dictionary, Neurons)

    @cached_property
    def features(self) -> LinearFeatures:
        """The graph's features as they respond in its own terms."""
        return LinearFeatures.of(self.graph, self.original)

    @cached_property
    def has_all_edges(self) -> bool:
        """Whether every edge was kept of the nodes whose inputs were computed."""
        return not self.graph.nodes.dropped.any()

    def changes(self, rows: Iterable[int], times: float = 0.0) -> list[Intervention]:
        """Nodes of the graph one by one at a multiple of themselves; 0 ablates."""
        return [(change_of(self.graph, int(row), Strength(times)),) for row in rows]

    def ablation(self, rows: Iterable[int]) -> Intervention:
        """Nodes of the graph ablated together."""
        return tuple(change for (change,) in self.changes(rows))


@dataclass(frozen=True)
class Responses:
    """What a batch of interventions did."""

    values: Floats
    """(n, k) changes of the features' and targets' values; 0 for other nodes."""
    targets: Floats
    """(k, t) values of the targets with the change, in the order of the graph's."""
    moved: Floats
    """(k, t) by how much they changed."""


@torch.no_grad()
def responses(
    subject: Subject,
    interventions: Sequence[Intervention],
    frozen: Frozen,
    *,
    linear: bool = True,
    every_node: bool = True,
    freeze_mlps: bool = False,
    writes: Writes = "all",
    responding: Responding | None = None,
) -> Responses:
    """Carry out interventions, one a column. UsageError where the numbers overflow.

    Without `linear` features are encoded as the model would have them (neurons always differ).
    Without `every_node` only targets are read. `freeze_mlps` keeps all MLP outputs as they were but
    for the change, whatever else responds: what is then missing went through an MLP. `writes`
    chooses the layers at which cross-layer features are written (`spec.Writes`). With `responding`
    it is a prediction, in which norms and attention that are not frozen do what they do in the
    model, and in the MLPs' place respond the graph's own features, linearly, or the replacement
    model's, encoders and all (not of neurons, whose replacement model is the model).
    """
    if frozen not in get_args(Frozen):
        ways = ", ".join(f'"{way}"' for way in get_args(Frozen))
        raise UsageError(f'`frozen` is "{frozen}"; use one of {ways}')
    graph, model, original = subject.graph, subject.model, subject.original
    at = torch.tensor(sorted({t.position for t in graph.info.targets}), device=model.device)
    no_mlp_responds = frozen == "everything" or freeze_mlps
    norms_respond = frozen in ("attention", "nothing")
    freezing = Freezing(
        attention=frozen != "nothing",
        norms={} if norms_respond else frozen_norms(model.wiring, original.capture),
        skips_carry=no_mlp_responds or responding is not None,
        writes=writes,
        features=_responding(subject, responding),
    )
    ends = [  # last layer whose MLP output is frozen, or at which no feature responds
        model.n_layers - 1 if no_mlp_responds else -1 if frozen == "nothing" else highest_layer(one)
        for one in interventions
    ]
    values = np.zeros((len(graph.nodes), len(interventions)))
    targets = np.zeros((len(interventions), len(graph.info.targets)))
    moved = np.zeros_like(targets)
    for batch in passes(
        model,
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
    return Responses(values, targets, moved)


def _responding(subject: Subject, which: Responding | None) -> RespondingFeatures | None:
    if which is None:
        return None
    if which == "graph":
        return subject.features
    assert isinstance(subject.dictionary, Dictionary), "neurons are the model"
    return ReplacedFeatures(subject.dictionary, subject.original)


def _targets(subject: Subject, logits: Float[Tensor, "B P V"], at: Tensor) -> Floats:
    """(B, t) values of the graph's targets."""
    where = {int(position): i for i, position in enumerate(at)}
    columns = [
        target_values(logits[:, where[target.position]].T, [target.vocabulary_ids])[0]
        for target in subject.graph.info.targets
    ]
    return as_floats(torch.stack(columns, 1))


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
