"""From a prompt to a whole graph: conservation, targets, row selection, refusals."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any
from weakref import ref

import numpy as np
import pytest
import torch

from circuit_tracer.attribution import TraceSettings, selection, sweep, trace
from circuit_tracer.attribution.replacement import encode
from circuit_tracer.attribution.resources import memory_remedy
from circuit_tracer.attribution.sweep import Sweep
from circuit_tracer.errors import (
    CircuitTracerError,
    ConservationError,
    DictionaryError,
    ModelError,
    PromptError,
    UsageError,
)
from circuit_tracer.experiments.trust.run import trust
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.interventions.ablation import ablate, item_of
from circuit_tracer.interventions.spec import Strength
from circuit_tracer.models.capture import MlpActivity
from circuit_tracer.models.frozen import FrozenAttention
from circuit_tracer.models.wiring import Wiring
from circuit_tracer.transcoders.dictionary import LayerTranscoder
from circuit_tracer.transcoders.evaluation import _Sums
from tests.device import DEVICE, on_host
from tests.rounding import missed_shares, rounding
from tests.tiny import plain_tokenizer, random_dictionary, tiny_llama

PROMPT = "the banana is yellow yes a lemon is"


def traced(settings: TraceSettings | None = None, **options: object) -> Graph:
    dtype = options.pop("dtype", torch.float64)
    model = tiny_llama(dtype=dtype, attention_bias=True)  # type: ignore[arg-type]
    dictionary = random_dictionary(model, **options)  # type: ignore[arg-type]
    return trace(model, dictionary, PROMPT, settings).graph


@pytest.mark.parametrize("kind", ["plt", "clt"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("activation", ["topk", "jumprelu", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_edges_and_constant_sum_to_every_value(
    kind: str, skip: bool, activation: str, dtype: torch.dtype
) -> None:
    graph = traced(kind=kind, skip=skip, activation=activation, dtype=dtype)
    assert graph.nodes.expanded.sum() > 50
    assert missed_shares(graph).max() < rounding(dtype)
    assert graph.info.conservation_residual <= graph.info.conservation_tolerance


@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_dense_activations_of_one_layer_are_in_memory_at_a_time(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama(n_layers=6)
    dictionary = random_dictionary(model, kind=kind)
    made: list[ref[torch.Tensor]] = []
    alive: list[int] = []
    own = LayerTranscoder.encode

    def counted(self: LayerTranscoder, x: torch.Tensor) -> torch.Tensor:
        alive.append(sum(one() is not None for one in made))
        found = own(self, x)
        made.append(ref(found))
        return found

    monkeypatch.setattr(LayerTranscoder, "encode", counted)
    encode([model.capture([1, 4, 5, 6])], model.wiring, dictionary)
    activity = MlpActivity(*torch.randn(2, 6, 9, model.d_model, device=model.device))
    _Sums(dictionary).add_reconstruction(dictionary, activity, activity.outputs.mean(1))
    assert len(alive) == 12
    assert max(alive) <= 1  # the layer before, until this one takes its place


def test_values_are_the_models_own_logits_and_pre_activations() -> None:
    model = tiny_llama(dtype=torch.float64)
    dictionary = random_dictionary(model)
    graph = trace(model, dictionary, PROMPT).graph
    ids = torch.tensor([model.tokenize(PROMPT)], device=model.device)
    logits = on_host(model.module(ids).logits[0, -1])
    centred = (logits - logits.mean())[[t.vocabulary_ids[0] for t in graph.info.targets]]
    assert np.allclose(graph.nodes.value[graph.target_rows], centred.numpy(), atol=1e-12)
    assert graph.info.targets[0].logit == pytest.approx(float(logits.max()))


def test_nodes_are_in_topological_order_and_edges_causal() -> None:
    graph = traced(kind="clt", skip=True)
    nodes, edges = graph.nodes, graph.edges
    assert (edges.source < edges.target).all()
    assert (nodes.layer[edges.source] < nodes.layer[edges.target]).all()
    assert (nodes.position[edges.source] <= nodes.position[edges.target]).all()
    assert (np.diff(nodes.layer) >= 0).all()


def test_bos_has_no_features_or_errors_unless_asked() -> None:
    nodes = traced().nodes
    inner = (nodes.kind == NodeKind.FEATURE) | (nodes.kind == NodeKind.ERROR)
    assert nodes.position[inner].min() == 1
    nodes = traced(TraceSettings(zeroed_positions=0)).nodes
    inner = (nodes.kind == NodeKind.FEATURE) | (nodes.kind == NodeKind.ERROR)
    assert nodes.position[inner].min() == 0


@pytest.mark.parametrize("position", [-1, 0])
def test_a_first_word_without_a_token_in_front_keeps_its_features(position: int) -> None:
    model = replace(tiny_llama(dtype=torch.float64), tokenizer=plain_tokenizer(24))
    dictionary = random_dictionary(model, skip=True)
    graph = trace(model, dictionary, PROMPT, TraceSettings(position=position)).graph
    nodes = graph.nodes
    assert graph.info.tokens[0] == "the"
    assert graph.info.settings["zeroed_positions"] == 0
    for kind in (NodeKind.FEATURE, NodeKind.ERROR):
        assert nodes.position[nodes.of_kind(kind)].min() == 0
    rows = nodes.of_kind(NodeKind.FEATURE)
    row = int(rows[(nodes.position[rows] == 0) & (nodes.activation[rows] != 0)][0])
    found = ablate(model, dictionary, graph, [item_of(graph, [row], Strength(0.0))]).rows[0]
    assert found.predicted_direct is not None
    assert found.measured["direct"].logits == pytest.approx(found.predicted_direct, abs=1e-8)
    report = trust(model, dictionary, prune(graph), TrustSettings(quick=True))
    assert report.verdict.level != "broken"


def test_default_targets_are_the_fewest_that_reach_the_probability() -> None:
    graph = traced(TraceSettings(desired_logit_prob=0.5, max_n_logits=20))
    probabilities = [t.probability for t in graph.info.targets]
    assert sum(probabilities) >= 0.5 > sum(probabilities[:-1])
    assert [t.rank for t in graph.info.targets] == list(range(len(probabilities)))
    weights = graph.nodes.weight[graph.target_rows]
    assert np.allclose(weights, np.array(probabilities) / sum(probabilities))
    assert len(traced(TraceSettings(max_n_logits=2)).info.targets) == 2


def test_contrast_is_the_difference_of_its_two_targets() -> None:
    both = traced(TraceSettings(targets=("yes", "no")))
    contrast = traced(TraceSettings(contrast="yes,no"))
    rows = [_dense_row(both, int(row)) for row in both.target_rows]
    assert np.allclose(_dense_row(contrast, int(contrast.target_rows[0])), rows[0] - rows[1])
    assert contrast.info.targets[0].token == "yes - no"


def test_why_not_explains_a_token_and_what_beat_it() -> None:
    first = traced(TraceSettings(max_n_logits=1)).info.targets[0].token.strip()
    other = "no" if first != "no" else "yes"
    graph = traced(TraceSettings(why_not=other))
    both = traced(TraceSettings(targets=(first, other)))
    rows = [_dense_row(both, int(row)) for row in both.target_rows]
    found = [_dense_row(graph, int(row)) for row in graph.target_rows]
    assert np.allclose(found[0], rows[1])
    assert np.allclose(found[1], rows[0] - rows[1])
    assert [t.is_contrast for t in graph.info.targets] == [False, True]
    assert graph.info.targets[1].logit > 0
    with pytest.raises(PromptError, match="nothing to explain"):
        traced(TraceSettings(why_not=first))


def _dense_row(graph: Graph, target: int) -> np.ndarray:
    dense = np.zeros(int(graph.target_rows[0]))
    here = graph.edges.target == target
    dense[graph.edges.source[here]] = graph.edges.weight[here]
    return dense


def test_position_explains_an_earlier_output() -> None:
    graph = traced(TraceSettings(position=2))
    assert graph.info.targets[0].position == 2
    into_targets = graph.edges.source[graph.edges.target >= graph.target_rows[0]]
    assert graph.nodes.position[into_targets].max() == 2


@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize(
    "settings",
    [
        TraceSettings(),
        TraceSettings(max_feature_nodes=40),
        TraceSettings(coverage=0.6),
    ],
)
def test_batch_size_changes_nothing(settings: TraceSettings, batch_size: int) -> None:
    one = prune(traced(replace(settings, batch_size=64)))
    other = prune(traced(replace(settings, batch_size=batch_size)))
    assert (one.node_kept == other.node_kept).all()
    assert (one.edge_kept == other.edge_kept).all()
    assert (one.graph.edges.source == other.graph.edges.source).all()
    assert np.allclose(one.graph.edges.weight, other.graph.edges.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["plt", "clt"])
def test_batches_side_by_side_give_the_graph_of_one_after_the_other(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk, before, walkers = Sweep.walk, torch.get_num_threads(), set[int]()

    def noted(*given: Any, **more: Any) -> torch.Tensor:
        walkers.add(threading.get_ident())
        return walk(*given, **more)

    monkeypatch.setattr(Sweep, "walk", noted)
    monkeypatch.setattr(sweep, "LEAST_BESIDE", 1)
    found, settings = [], TraceSettings(max_feature_nodes=40, batch_size=3)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            walkers.clear()
            with torch.inference_mode(threads > 1):  # a mode of the calling thread alone
                found.append(prune(traced(settings, kind=kind)))
            assert torch.get_num_threads() == threads
            assert (len(walkers) > 1) == (threads > 1) or DEVICE.type != "cpu"
    finally:
        torch.set_num_threads(before)
    one, other = found
    assert (one.node_kept == other.node_kept).all()
    assert (one.graph.edges.source == other.graph.edges.source).all()
    assert np.allclose(one.graph.edges.weight, other.graph.edges.weight, rtol=0, atol=1e-12)


def test_budget_expands_the_features_with_most_influence() -> None:
    small = prune(traced(TraceSettings(max_feature_nodes=10)))
    nodes = small.graph.nodes
    features = nodes.kind == NodeKind.FEATURE
    assert (nodes.expanded & features).sum() == 10
    assert 0 < small.scores.unexpanded_share < 1
    whole = traced()
    kept_rows = np.isin(whole.edges.target, np.flatnonzero(nodes.expanded))
    assert np.allclose(small.graph.edges.weight, whole.edges.weight[kept_rows])


def test_coverage_stops_when_little_can_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "FIRST_ROUND", 8)
    covered = prune(traced(TraceSettings(coverage=0.6)))
    features = covered.graph.nodes.kind == NodeKind.FEATURE
    n_expanded = int((covered.graph.nodes.expanded & features).sum())
    assert covered.scores.unexpanded_share <= 0.4
    assert 8 <= n_expanded < int(features.sum())


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"targets": ("yes",), "contrast": "yes,no"}, UsageError, "exclude each other"),
        ({"targets": ("yes no",)}, PromptError, "not one token"),
        ({"targets": ("purple",)}, PromptError, "not one token"),
        ({"contrast": "yes"}, PromptError, "two tokens"),
        ({"contrast": "yes,yes"}, PromptError, "twice"),
        ({"position": 40}, UsageError, "outside the prompt"),
        ({"max_n_logits": 0}, UsageError, "at least 1"),
        ({"desired_logit_prob": 0.0}, UsageError, "above 0"),
        ({"batch_size": 0}, UsageError, "at least 1"),
        ({"max_feature_nodes": -1}, UsageError, "at least 0"),
        ({"coverage": 1.5}, UsageError, "`coverage`"),
        ({"zeroed_positions": 99}, UsageError, "`zeroed_positions`"),
    ],
)
def test_impossible_settings_get_a_sentence(
    settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        traced(TraceSettings(**settings))


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("the purple banana", 'does not know "purple"'),
        (f"the {'z' * 500}", f'does not know "{"z" * 59}…"; use'),
        ("a " * 80, "at most 64"),
    ],
)
def test_impossible_prompts_get_a_sentence(prompt: str, says: str) -> None:
    model = tiny_llama()
    with pytest.raises(PromptError, match=says):
        trace(model, random_dictionary(model), prompt)


def test_embeddings_carry_their_vocabulary_ids() -> None:
    graph = traced()
    rows = graph.nodes.of_kind(NodeKind.EMBEDDING)
    assert graph.nodes.feature[rows].tolist() == list(graph.info.token_ids)


def test_a_dictionary_in_another_dtype_is_refused() -> None:
    model = tiny_llama()
    dictionary = random_dictionary(model).to(device="cpu", dtype=torch.float64)
    with pytest.raises(DictionaryError, match="open_transcoders"):
        trace(model, dictionary, PROMPT)


def test_dictionary_for_another_model_is_refused() -> None:
    model = tiny_llama()
    with pytest.raises(DictionaryError, match="32 dimensions"):
        trace(model, random_dictionary(tiny_llama(d_model=32)), PROMPT)
    with pytest.raises(DictionaryError, match="2 layers"):
        trace(model, random_dictionary(tiny_llama(n_layers=2)), PROMPT)


def test_a_wrong_wiring_refuses_to_trace_and_names_the_family(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Wiring, "weight_offset", 0.01)
    with pytest.raises(ModelError, match=r"llama family, but its .* comes out wrong"):
        traced(dtype=torch.float32)


def test_a_wrong_sweep_is_an_error_that_names_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    pull = FrozenAttention.pull

    def wrong(self: FrozenAttention, cotangent: torch.Tensor) -> None:
        before = cotangent.clone()
        pull(self, cotangent)
        cotangent.add_(cotangent - before, alpha=0.01)

    monkeypatch.setattr(FrozenAttention, "pull", wrong)
    with pytest.raises(ConservationError, match=r"edges into (the target|feature L\d)"):
        traced()


def test_running_out_of_memory_names_the_flags_that_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Sweep, "walk", exhausted)
    with pytest.raises(CircuitTracerError, match="`max_feature_nodes`"):
        traced()


@pytest.mark.parametrize(
    ("said", "is_full"),
    [
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: out of memory", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", True),
    ],
)
def test_an_illegal_access_to_memory_is_not_called_full_memory(said: str, is_full: bool) -> None:
    with pytest.raises(CircuitTracerError if is_full else RuntimeError), memory_remedy():
        raise RuntimeError(said)


def test_tokens_after_the_position_are_no_nodes() -> None:
    graph = traced(TraceSettings(position=3))
    assert graph.nodes.position.max() == 3
    assert len(graph.info.tokens) > 4
    whole = traced(TraceSettings(position=3, zeroed_positions=2)).nodes
    inner = (whole.kind == NodeKind.FEATURE) | (whole.kind == NodeKind.ERROR)
    assert whole.position[inner].min() == 2
