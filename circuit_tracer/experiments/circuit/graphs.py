"""Circuits and graphs: what a prompt's graph says of components, and a circuit as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuit_tracer.attribution.assembly import Assembler
from circuit_tracer.attribution.estimate import Expectation, estimate
from circuit_tracer.attribution.features import ActiveFeatures
from circuit_tracer.attribution.settings import MANY_EDGES, MOST_ROWS, TraceSettings
from circuit_tracer.attribution.totals import total_effects
from circuit_tracer.attribution.tracing import Frozen, Labels, freeze, trace, trace_frozen
from circuit_tracer.experiments.circuit.components import Components
from circuit_tracer.experiments.circuit.judging import Asked
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.influence import influence
from circuit_tracer.graphs.pruning import PrunedGraph, keep_nodes
from circuit_tracer.models.devices import as_numpy

MOST_ENTRIES = 100_000_000
"""Rows of a circuit's graph times features of the prompt: seconds on one core, and 1 GB."""


def asking(components: Components, one: Asked) -> TraceSettings:
    """What is traced of a prompt: its answer against the other token."""
    tokens = [f"id:{number}" for number in (one.answer, one.against)]
    return replace(one.way, contrast=",".join(tokens), zeroed_positions=components.n_zeroed)


def by_influence(components: Components, prompts: Sequence[Asked]) -> Float[Tensor, "N"]:
    """Influence of each feature on the answers, over positions and prompts."""
    ranking = torch.zeros(len(components), dtype=components.dtype, device=components.model.device)
    for one in prompts:
        settings = asking(components, one)
        graph = trace(components.model, components.dictionary, one.prompt, settings).graph
        fires = graph.nodes.kind == NodeKind.FEATURE
        starts = np.array([block.start for block in components.blocks])
        numbers = starts[graph.nodes.layer[fires]] + graph.nodes.feature[fires]
        worth = torch.from_numpy(influence(graph)[fires]).to(ranking)
        ranking.index_add_(0, torch.from_numpy(numbers).to(ranking.device), worth)
    return ranking


def by_total(components: Components, prompts: Sequence[Asked]) -> Float[Tensor, "N"]:
    """Absolute total effect of each feature on the answers, over positions and prompts."""
    ranking = torch.zeros(len(components), dtype=components.dtype, device=components.model.device)
    for one in prompts:
        frozen = _frozen(components, one)
        numbers = _components_of(components, frozen)
        ranking.index_add_(0, numbers, _total(frozen).abs().to(ranking))
    return ranking


def circuit_graph(
    components: Components, one: Asked, chosen: Bool[Tensor, "N"], labels: Labels | None
) -> PrunedGraph:
    """A prompt's graph with the features of a circuit alone, tokens, errors and targets.

    Features at positions where they do nothing to the answer have no row; of more than `MOST_ROWS`,
    or than `MOST_ENTRIES` has room for, those that do most have one, and of a graph with more than
    `MANY_EDGES` edges the kept part is all there is. Channels of attention are no nodes: edges pass
    through attention as in any graph. Raises what `trace` does.
    """
    frozen = _frozen(components, one)
    total = _total(frozen)
    worth = torch.where(chosen[_components_of(components, frozen)], total.abs(), 0)
    most = min(_most_rows(frozen), int((worth > 0).sum()))
    rows = worth.argsort(descending=True, stable=True)[:most]
    traced = trace_frozen(
        components.model, frozen, labels=labels, rows=as_numpy(rows.sort().values)
    )
    nodes = traced.graph.nodes
    kept = (nodes.kind == NodeKind.ERROR) | (nodes.expanded & (nodes.kind == NodeKind.FEATURE))
    pruned = keep_nodes(traced.graph, kept, node_threshold=1.0)
    return pruned if len(traced.graph.edges) <= MANY_EDGES else pruned.kept_alone()


def expected_graph(components: Components, one: Asked, n_components: int) -> Expectation:
    """What a prompt's graph takes at most, of a circuit of so many components."""
    frozen = _frozen(components, one)
    assembler = Assembler(frozen.model, frozen.chosen)
    rows = min(_most_rows(frozen), n_components * frozen.model.n_tokens) + assembler.n_logits
    targets = np.arange(assembler.n_logits)
    return estimate(assembler, targets, rows, frozen.prepared.settings.batch_size)


def _most_rows(frozen: Frozen) -> int:
    return min(MOST_ROWS, MOST_ENTRIES // max(len(frozen.model.features), 1))


def _frozen(components: Components, one: Asked) -> Frozen:
    settings = asking(components, one)
    return freeze(components.model, components.dictionary, one.prompt, settings, None, None)


def _total(frozen: Frozen) -> Float[Tensor, "n"]:
    targets, _ = frozen.chosen.at_stream(frozen.model)
    found = total_effects(frozen.model, targets)
    assert found.features is not None
    return found.features[0]


def _components_of(components: Components, frozen: Frozen) -> Tensor:
    """(n,) the component of each of a prompt's features, by their numbers."""
    features = frozen.model.features
    starts = torch.tensor([one.start for one in components.blocks], device=components.model.device)
    if isinstance(features, ActiveFeatures):
        return starts[features.layer] + features.index
    parts: list[Tensor] = []
    for layer, activations in enumerate(features.activations):
        here = torch.arange(activations.shape[1], device=starts.device) + starts[layer]
        parts.append(here.repeat(len(activations) - features.n_zeroed))
    return torch.cat(parts)
