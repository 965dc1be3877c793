"""Total effects: against autograd through the replaced model, against the sum of all paths of an
exact graph, and their sums against the model's own values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tracer.attribution import TraceSettings, sources, sweep, totals, trace
from circuit_tracer.attribution.columns import SourceColumns
from circuit_tracer.attribution.sweep import SweepTargets
from circuit_tracer.attribution.totals import TotalEffects, total_effects
from circuit_tracer.attribution.totals_tracing import trace_totals
from circuit_tracer.errors import ConservationError
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.models import frozen as attention
from circuit_tracer.transcoders.neurons import open_neurons
from tests.attribution.frozen import (
    PROMPT,
    Frozen,
    every_logit,
    every_target,
    feature_targets,
    frozen,
    logit_targets,
    off,
)
from tests.device import on_host
from tests.oracle_replaced import ReplacedNetwork
from tests.tiny import FAMILIES, each_family_with

each_family = pytest.mark.parametrize("family", FAMILIES)


def dense(both: Frozen, found: TotalEffects) -> Tensor:
    """(n, columns) as the sweep's columns are."""
    columns = SourceColumns.of(both.replacement)
    assert found.features is not None
    table = on_host(found.tokens.new_zeros(len(found.tokens), columns.count))
    table[:, : columns.n_tokens] = on_host(found.tokens)
    for layer in range(columns.n_layers):
        start, end = columns.layer_start[layer : layer + 2]
        first = columns.first_feature(layer)
        table[:, first : first + end - start] = on_host(found.features[:, start:end])
        first = columns.first_error(layer)
        table[:, first : first + columns.n_errors] = on_host(found.errors[:, layer])
    return table


def last_logits(both: Frozen) -> tuple[Tensor, Tensor]:
    """All tokens at the last position."""
    n = len(both.model.unembedding)
    return torch.full((n,), both.replacement.n_tokens - 1), torch.arange(n)


def assert_totals_equal_autograd(both: Frozen, tolerance: float) -> None:
    """Of logits at two positions and of every so many features."""
    network = ReplacedNetwork(both.network)
    assert off(network.logits, both.network.own_logits) < tolerance
    at, token = every_logit(both.model, both.replacement.n_tokens, step=5)
    logits = total_effects(both.replacement, logit_targets(both.model, both.replacement, at, token))
    oracle = network.logit_totals(at, token)
    assert oracle.abs().max() > 0.1
    assert off(dense(both, logits), oracle) < tolerance
    chosen = torch.arange(0, len(both.network.features), 3)
    features = total_effects(both.replacement, feature_targets(both.replacement, chosen))
    ours, theirs = dense(both, features), network.feature_totals()[chosen]
    itself = both.network.columns.feature[chosen]
    theirs[torch.arange(len(chosen)), itself] = 0  # a value's gradient by itself is one
    assert off(ours, theirs) < tolerance


@each_family_with(
    "kind, skip, dtype, tolerance",
    ("clt", True, torch.float64, 1e-11),
    ("plt", False, torch.float32, 1e-5),
)
def test_totals_equal_autograd_through_the_replaced_model(
    family: str, kind: str, skip: bool, dtype: torch.dtype, tolerance: float
) -> None:
    assert_totals_equal_autograd(frozen(family, kind=kind, skip=skip, dtype=dtype), tolerance)


@each_family_with("dtype, tolerance", (torch.float64, 1e-11), (torch.float32, 1e-5))
def test_totals_of_neurons_equal_autograd_through_halved_gates(
    family: str, dtype: torch.dtype, tolerance: float
) -> None:
    both = frozen(family, dtype=dtype, dictionary=open_neurons)
    assert_totals_equal_autograd(both, tolerance)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "gpt_neox", "olmo2"])
@pytest.mark.parametrize(
    ("reads", "writes"),
    [("ln2.hook_normalized", "mlp.hook_out"), ("hook_resid_mid", "hook_mlp_out")],
)
@pytest.mark.parametrize(("kind", "skip"), [("plt", True), ("clt", False)])
def test_totals_equal_autograd_wherever_dictionaries_read_and_write(
    family: str, reads: str, writes: str, kind: str, skip: bool
) -> None:
    both = frozen(family, kind=kind, skip=skip, reads=reads, writes=writes, n_zeroed=2)
    assert_totals_equal_autograd(both, 1e-11)


SETUPS: list[dict[str, Any]] = [
    {"kind": "plt"},
    {"kind": "clt", "skip": True},
    {"dictionary": open_neurons},
]


@each_family
@pytest.mark.parametrize("setup", SETUPS, ids=["plt", "clt", "neurons"])
def test_tokens_errors_and_constant_sum_to_the_models_logits(
    family: str, setup: dict[str, Any]
) -> None:
    both = frozen(family, dtype=torch.float32, **setup)
    at, token = last_logits(both)
    found = total_effects(both.replacement, logit_targets(both.model, both.replacement, at, token))
    value = found.value
    final = both.replacement.final.bias
    own = both.model.wiring.unembedding_bias()
    if final is not None:
        value = value + both.model.unembedding @ final
    value = value if own is None else value + own
    assert off(value, both.network.own_logits[-1]) < 1e-5


def all_paths(graph: Graph) -> np.ndarray[Any, Any]:
    """(targets, nodes) from an exact graph: (I - A)^-1 of contributions per unit of the source."""
    nodes, n = graph.nodes, len(graph.nodes)
    assert not nodes.dropped_total.any()
    is_feature = nodes.kind == NodeKind.FEATURE
    assert nodes.expanded[is_feature].all()
    edges = np.zeros((n, n))
    edges[graph.edges.target, graph.edges.source] = graph.edges.weight
    # A path's product counts each feature on it once: an edge out of it is per unit of its value.
    per_unit = np.where(is_feature, 1 / np.where(is_feature, nodes.activation, 1), 1)
    whole = np.linalg.inv(np.eye(n) - edges * per_unit)
    summed: np.ndarray[Any, Any] = (whole / per_unit)[graph.target_rows]
    return summed


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("setup", SETUPS, ids=["plt", "clt", "neurons"])
def test_totals_are_the_sum_of_all_paths_of_an_exact_graph(
    family: str, setup: dict[str, Any]
) -> None:
    both = frozen(family, **setup)
    graph = trace(both.model, both.replacement.dictionary, PROMPT, TraceSettings()).graph
    ids = [target.vocabulary_ids[0] for target in graph.info.targets]
    direction = both.model.unembedding[ids] - both.model.unembedding.mean(0)
    at = torch.full((len(ids),), both.replacement.n_tokens - 1, device=direction.device)
    level = torch.full_like(at, both.replacement.n_layers)
    targets = SweepTargets(level, at, both.replacement.final.pull(direction, at))
    ours = dense(both, total_effects(both.replacement, targets)).numpy()
    theirs = np.zeros_like(ours)
    sources = np.flatnonzero(graph.nodes.kind != NodeKind.LOGIT)
    theirs[:, columns_of(both, graph)] = all_paths(graph)[:, sources]
    assert len(sources) > 100
    assert np.abs(ours - theirs).max() < 1e-11 * np.abs(theirs).max()


def columns_of(both: Frozen, graph: Graph) -> np.ndarray[Any, Any]:
    """The sweep's column of every source of a graph: neurons that no edge leaves are no nodes."""
    nodes, columns = graph.nodes, SourceColumns.of(both.replacement)
    kind = nodes.kind[nodes.kind != NodeKind.LOGIT]
    if "neurons" not in graph.info.dictionary.kind:
        return np.arange(len(kind))
    found = nodes.position[: len(kind)].astype(np.int64)
    width = both.replacement.dictionary.layers[0].n_features
    start = np.array(columns.layer_start)[nodes.layer[: len(kind)]]
    numbers = start + (found - both.replacement.n_zeroed) * width + nodes.feature[: len(kind)]
    return np.where(kind == NodeKind.EMBEDDING, found, columns.of_features(np.maximum(numbers, 0)))


def test_a_graph_has_its_tokens_totals_with_their_direct_edges() -> None:
    both = frozen(dtype=torch.float32, kind="clt", skip=True)
    graph = trace(both.model, both.replacement.dictionary, PROMPT, TraceSettings()).graph
    edges, n = graph.edges, both.replacement.n_tokens
    for row, of_target in zip(graph.target_rows.tolist(), graph.info.totals, strict=True):
        assert of_target.value == pytest.approx(graph.nodes.value[row], rel=1e-5, abs=1e-5)
        assert sum(of_target.shares) == pytest.approx(1)
        direct = np.zeros(n)
        here = (edges.target == row) & (edges.source < n)
        direct[edges.source[here]] = edges.weight[here]
        assert of_target.direct == pytest.approx(direct, abs=1e-5)
    others = all_paths(graph)[:, :n]
    assert np.array([one.total for one in graph.info.totals]) == pytest.approx(others, abs=1e-4)


def test_totals_that_miss_the_value_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = frozen(dtype=torch.float32, kind="plt")
    monkeypatch.setitem(totals.TOLERANCE, "float32", 1e-12)
    with pytest.raises(ConservationError, match="total effects"):
        trace_totals(both.model, both.replacement.dictionary, PROMPT, TraceSettings())


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
@pytest.mark.parametrize("setup", SETUPS, ids=["plt", "clt", "neurons"])
def test_totals_do_not_depend_on_batches_pieces_or_what_is_kept(
    family: str, setup: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = frozen(family, **setup)
    targets = every_target(both.model, both.replacement, step=7)
    targets = targets.take(torch.arange(0, len(targets), 11, device=targets.vector.device))
    whole = total_effects(both.replacement, targets)
    monkeypatch.setattr(sweep, "LARGEST_IMAGE", 0)
    monkeypatch.setattr(sources, "LARGEST_PIECE", 1)
    monkeypatch.setattr(attention, "QUERY_BLOCK", 2)
    some = total_effects(both.replacement, targets, batch_size=batch, features=False)
    assert some.features is None
    assert off(some.tokens, whole.tokens) < 1e-12
    assert off(some.constant, whole.constant) < 1e-12
    if whole.errors.numel():
        assert off(some.errors, whole.errors) < 1e-12
