"""What is predicted and what is measured, against slow and independent ways to the same numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit import statistics
from circuit_tracer.experiments.kit.statistics import likeness, ranks, spearman
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.trust.estimate import expected
from circuit_tracer.experiments.trust.passes import responses
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.experiments.trust.steps import ranking as ranking_step
from circuit_tracer.experiments.trust.steps import sufficiency as sufficiency_step
from circuit_tracer.experiments.trust.steps.agreement import agreement
from circuit_tracer.experiments.trust.steps.distance import by_distance
from circuit_tracer.experiments.trust.steps.gates import _spread, departures
from circuit_tracer.experiments.trust.steps.indirect import (
    draw_features,
    effects_of,
    indirect_effects,
)
from circuit_tracer.experiments.trust.steps.integrity import conservation, direct_check
from circuit_tracer.experiments.trust.steps.number_format import (
    edges_in,
    number_format,
    settings_of,
)
from circuit_tracer.experiments.trust.steps.places import places
from circuit_tracer.experiments.trust.steps.ranking import ranking
from circuit_tracer.experiments.trust.steps.sufficiency import sufficiency
from circuit_tracer.graphs.graph import Floats, Graph, NodeKind, Target
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.interventions.prediction import ablation_shares, change_shares, predict
from tests.experiments.trust.subjects import (
    bundled,
    floored,
    linear_neurons,
    sprout_dictionary,
    tiny,
)
from tests.graphs.builders import make_info, random_graph


def path_sums(graph: Graph, source: int, target: int, share: float) -> tuple[float, float]:
    """(direct, all) effects by walking every single path, one edge after the other."""
    nodes = graph.nodes
    into: dict[int, list[tuple[int, float]]] = {}
    columns = (graph.edges.source.tolist(), graph.edges.target.tolist(), graph.edges.weight)
    for s, t, weight in zip(*columns, strict=True):
        into.setdefault(t, []).append((s, float(weight)))

    def reaching(row: int) -> float:
        total = 0.0
        for origin, weight in into.get(row, []):
            if origin == source:
                total += weight * share
            elif nodes.kind[origin] == NodeKind.FEATURE and nodes.expanded[origin]:
                total += weight * reaching(origin) / nodes.activation[origin]
        return total

    direct = sum(weight * share for origin, weight in into.get(target, []) if origin == source)
    return direct, reaching(target)


@pytest.mark.parametrize("unexpanded", [0, 3])
def test_predicted_effects_are_sums_over_all_paths(unexpanded: int) -> None:
    graph = random_graph(per_layer=4, unexpanded=unexpanded, dtype=np.float64)
    sources = graph.nodes.of_kind(NodeKind.FEATURE)[:5]
    changes = zip(sources.tolist(), (-1, -1, -2, 0.5, -1), strict=True)
    moved = change_shares(graph, ({source: share} for source, share in changes))
    found = predict(graph, moved)
    for column, source in enumerate(sources.tolist()):
        for target in (*graph.target_rows.tolist(), *graph.nodes.of_kind(NodeKind.FEATURE)[8:]):
            share = float(moved[source, column])
            direct, total = path_sums(graph, source, int(target), share)
            assert found.direct[target, column] == pytest.approx(direct, abs=1e-12)
            if target != source:
                assert found.total[target, column] == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("kind", ["plt", "clt"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_direct_edges_are_what_the_model_does_when_all_else_is_frozen(
    family: str, kind: str
) -> None:
    traced = tiny(family, kind=kind, skip=True)
    rows = traced.pruned.kept_rows
    rows = rows[traced.pruned.graph.nodes.kind[rows] != NodeKind.LOGIT]
    found = direct_check(traced.subject, rows)
    assert found.holds
    assert found.error < 1e-9
    assert conservation(traced.pruned.graph).holds


def test_with_linear_neurons_indirect_effects_are_exactly_the_graphs() -> None:
    """Neurons that are linear respond as the graph's features do, along every route."""
    traced = linear_neurons()
    rows = draw_features(traced.pruned, 12, seed=0)
    graph = traced.pruned.graph
    predicted = predict(graph, ablation_shares(graph, rows)).indirect
    subject = traced.subject
    measured, *_ = effects_of(subject, rows, "attention, norms")
    known = traced.pruned.graph.nodes.expanded
    assert np.abs(predicted[known]).max() > 1e-3
    np.testing.assert_allclose(measured[known], predicted[known], atol=1e-9)
    found = indirect_effects(subject, rows, seed=0).at("attention, norms").everything
    assert found.spearman.value > 0.999
    assert found.same_sign.value > 0.999
    curves = by_distance(subject, ways=("attention, norms",), draws=2)[0]
    assert max(point.error for point in curves.points) < 1e-6


def test_edges_that_were_not_kept_are_in_the_linear_prediction() -> None:
    """The features of a floored graph that have inputs respond as along all edges into them."""
    whole, cut = tiny(), floored(0.001)
    rows = draw_features(cut.pruned, 6, seed=0)
    known = cut.pruned.graph.nodes.expanded
    edges = whole.pruned.graph.edges
    nodes = replace(whole.pruned.graph.nodes, expanded=known)
    every = replace(
        whole.pruned.graph, nodes=nodes, edges=edges.take(np.asarray(known[edges.target]))
    )
    sums, short = (
        predict(graph, ablation_shares(graph, rows)).indirect for graph in (every, cut.pruned.graph)
    )
    assert np.abs(short - sums).max() > 1e-2 * np.abs(sums).max()
    predicted = effects_of(cut.subject, rows, "attention, norms").responding
    assert predicted is not None
    np.testing.assert_allclose(predicted[known], sums[known], atol=1e-9)
    assert effects_of(whole.subject, rows, "attention, norms").responding is None


def test_a_mistyped_way_of_freezing_is_refused() -> None:
    with pytest.raises(UsageError, match='"atention"; use one of "everything"'):
        responses(bundled().subject, [()], "atention")  # type: ignore[arg-type]


def test_an_effect_through_mlps_is_what_is_missing_when_all_mlps_are_frozen() -> None:
    traced = tiny("llama")
    subject = traced.subject
    rows = draw_features(traced.pruned, 6, seed=1)
    direct = responses(subject, subject.changes(rows), "everything").values
    whole = responses(subject, subject.changes(rows), "attention, norms").values
    indirect, *_ = effects_of(subject, rows, "attention, norms")
    np.testing.assert_allclose(indirect, whole - direct, atol=1e-12)


def test_features_of_all_influences_are_drawn_by_seed() -> None:
    pruned = bundled().pruned
    rows = draw_features(pruned, 30, seed=3)
    assert len(set(rows.tolist())) == 30
    assert rows.tolist() == draw_features(pruned, 30, seed=3).tolist()
    assert rows.tolist() != draw_features(pruned, 30, seed=4).tolist()
    assert pruned.graph.nodes.layer[rows].max() < pruned.graph.info.n_layers - 1
    influence = np.sort(pruned.influence[rows])
    assert influence[-1] > 20 * influence[0]


def test_without_features_below_the_last_layer_there_is_nothing_to_test() -> None:
    pruned = bundled().pruned
    silent = replace(pruned, influence=np.zeros_like(pruned.influence))
    with pytest.raises(UsageError, match="no feature below the last layer"):
        draw_features(silent, 30, seed=0)


def test_all_features_are_sufficient_and_none_are_not() -> None:
    traced = bundled()
    everything = prune(traced.pruned.graph, node_threshold=1.0, edge_threshold=1.0)
    free = sufficiency(traced.subject, everything, thresholds=(1.0,), n_random=2)[-1]
    point = free.at(1.0)
    assert free.frozen == "nothing"
    assert 0.8 * point.of < point.features <= point.of  # the others have no influence at all
    assert point.sufficiency == pytest.approx(1.0, abs=1e-3)
    assert point.necessity == pytest.approx(0.0, abs=1e-3)
    assert point.sufficiency_without_errors != pytest.approx(1.0, abs=1e-4)


def test_the_kept_features_of_a_prompt_beat_random_sets() -> None:
    traced = bundled("plt", "is a banana yellow ?")
    for curve in sufficiency(traced.subject, traced.pruned, n_random=20):
        point = curve.at(0.8)
        assert point.sufficiency > 0.8
        assert point.beats_random
        assert point.necessity < point.random_necessity.low


def test_random_sets_match_layers_and_activations() -> None:
    traced = bundled()
    nodes = traced.pruned.graph.nodes
    active = nodes.of_kind(NodeKind.FEATURE)
    strata = sufficiency_step._strata(traced.subject, active)
    assert sum(len(stratum) for stratum in strata) == len(active)
    kept = sufficiency_step._kept(traced.pruned, 0.8)
    drawn = sufficiency_step._matched(strata, kept, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == len(kept)
    assert sorted(nodes.layer[drawn].tolist()) == sorted(nodes.layer[kept].tolist())
    assert set(drawn.tolist()) != set(kept.tolist())


def test_gated_neurons_move_further_than_their_edges_and_linear_ones_as_far() -> None:
    gated = departures(tiny("llama", neurons=True).subject, np.arange(10, 20))
    assert len(gated) == 5
    assert all(one.error > 0.2 for one in gated)
    traced = linear_neurons()
    rows = traced.pruned.graph.nodes.of_kind(NodeKind.FEATURE)[:10]
    for one in departures(traced.subject, rows):
        assert one.error < 1e-6
        assert one.slope == pytest.approx(1.0)


@pytest.mark.parametrize("n", [0, 1, 20, 21, 39, 150])
def test_sources_of_gates_are_spread_over_all_rows(n: int) -> None:
    few = _spread(np.arange(n))
    assert len(set(few.tolist())) == len(few) == min(n, 20)
    assert n == 0 or (few[0], few[-1]) == (0, n - 1)


def test_a_dictionary_agrees_with_itself() -> None:
    traced = bundled()
    dictionary = sprout_dictionary()
    same = agreement(traced.pruned, dictionary, traced.pruned, dictionary, seed=0)
    assert same.token_overlap == pytest.approx(1.0)
    assert same.same_first_token
    assert same.decoder_cosine == pytest.approx(1.0, abs=1e-5)
    assert same.shared_features == pytest.approx(1.0)
    assert same.decoder_cosine_by_chance < 0.6
    other = agreement(
        traced.pruned, dictionary, bundled("clt").pruned, sprout_dictionary("clt"), seed=0
    )
    assert 0.5 < other.token_overlap < 1
    assert other.decoder_cosine_by_chance < other.decoder_cosine < 1


def test_bf16_moves_kept_edges_by_little() -> None:
    traced = bundled()
    moved = number_format(traced.model, traced.dictionary, traced.pruned)
    assert moved.edges == int(traced.pruned.edge_kept.sum())
    assert 0 < moved.median < 0.02
    assert moved.far_off < 0.05
    assert moved.still_kept > 0.9


def test_errors_by_place_are_those_of_the_scores() -> None:
    pruned = bundled().pruned
    found = places(pruned)
    started = sum(place.importance for place in found.tokens)
    errors = sum(place.importance * place.error_share for place in found.tokens)
    assert started == pytest.approx(1.0)
    assert errors == pytest.approx(1 - pruned.scores.replacement)
    weighted = sum(place.importance * place.error_share for place in found.layers)
    whole = sum(place.importance for place in found.layers)
    assert 1 - weighted / whole == pytest.approx(pruned.scores.completeness)


def test_kept_edges_are_found_again_in_another_node_table() -> None:
    graph = bundled().pruned.graph
    again = bundled().pruned.kept_graph()
    which = np.flatnonzero(bundled().pruned.edge_kept)
    assert edges_in(graph, which, again).tolist() == list(range(len(again.edges)))
    assert edges_in(again, np.arange(len(again.edges)), graph).tolist() == which.tolist()
    left_out = np.flatnonzero(~bundled().pruned.edge_kept)
    assert (edges_in(graph, left_out, again) == -1).all()


def test_of_linear_neurons_the_prediction_ranks_effects_exactly() -> None:
    traced = linear_neurons()
    rows = draw_features(traced.pruned, 30, seed=0, last_layer=True)
    for one in ranking(traced.subject, traced.pruned, rows).ways:
        assert one.signed_responding.value > 0.999
        assert one.signed.value < 0.999
    frozen = ranking(traced.subject, traced.pruned, rows, ways=("attention, norms",)).ways[0]
    assert frozen.signed.value > 0.999


def test_influence_ranks_what_ablations_do_and_says_more_than_direct_edges() -> None:
    traced = bundled("plt", "is a banana yellow ?")
    rows = draw_features(traced.pruned, 100, seed=0, last_layer=True)
    assert traced.pruned.graph.nodes.layer[rows].max() == 5
    found = ranking(traced.subject, traced.pruned, rows)
    for one in found.ways:
        assert one.influence.low < one.influence.value < one.influence.high
        assert one.influence.value > 0.72
        assert one.influence.value > one.direct.value
        assert one.influence_beyond.value > one.direct_beyond.value
    assert 50 < found.beyond < found.features == 100


def test_influence_through_further_features_is_what_direct_edges_leave_over() -> None:
    """Against a walk over the dense, normalised matrix: w (N + N^2 + ...) less w N."""
    graph = random_graph(per_layer=4, dtype=np.float64)
    pruned, n = prune(graph), len(graph.nodes)
    dense = np.zeros((n, n))
    dense[graph.edges.target, graph.edges.source] = np.abs(graph.edges.weight)
    N = dense / np.maximum(dense.sum(1, keepdims=True), 1e-300)
    first = graph.nodes.weight @ N
    np.testing.assert_allclose(ranking_step._direct_influence(graph), first, atol=1e-12)
    everything, step = np.zeros(n), graph.nodes.weight
    for _ in range(n):
        step = step @ N
        everything += step
    np.testing.assert_allclose(pruned.influence, everything, atol=1e-9)


def test_the_estimate_grows_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that ticks at every look, so that each part takes the same."""
    ticks = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    traced = bundled()

    def of(features: int, sweeps: int = 0) -> Estimate:
        settings = TrustSettings(features=features, random_sets=4)
        return expected(traced.subject, traced.pruned, settings, sweeps=sweeps)

    few, some, many = of(10), of(20), of(10**6)
    assert few.seconds < some.seconds < many.seconds
    assert few.rows < some.rows < many.rows < 10_000  # there are no more features than that
    assert of(10, sweeps=2).seconds > few.seconds
    assert 1e6 < some.memory < 1e9


def test_bootstrap_draws_are_those_of_repeated_pairs() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 30)).round(1)  # some are equal
    counts = generator.integers(4, size=(5, 30)).astype(float)
    for found, row in zip(statistics._spearmans(x, y, counts), counts, strict=True):
        again = np.repeat(np.arange(30), row.astype(int))
        assert found == pytest.approx(spearman(x[again], y[again]))


def test_rank_correlation_by_hand() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, np.array([2.0, 1.0, 4.0, 3.0, 5.0])) == pytest.approx(0.8)
    assert np.isnan(spearman(x, np.ones(5)))


def test_intervals_hold_the_figure_and_are_wider_for_fewer_sources() -> None:
    generator = np.random.default_rng(0)

    def of(n_sources: int) -> Floats:
        source = np.repeat(np.arange(n_sources), 50)
        x = generator.normal(size=len(source))
        found = likeness(x, x + generator.normal(size=len(x)), source, seed=0)
        figure = found.spearman
        assert figure.low < figure.value < figure.high
        assert (found.pairs, found.sources) == (len(source), n_sources)
        return np.array(figure.high - figure.low)

    assert of(5) > of(60)


@pytest.mark.parametrize(
    ("given", "explained", "retraced"),
    [
        ({"targets": ["yes"]}, [(5,)], {"targets": ("id:5",)}),
        ({"contrast": "yes,no"}, [(5, 6)], {"contrast": "id:5,id:6"}),
        ({"why_not": "no"}, [(6,), (5, 6)], {"why_not": "id:6"}),
        ({}, [(5,), (6,)], {}),
    ],
)
def test_a_graph_is_traced_again_for_the_ids_it_explains(
    given: dict[str, object], explained: list[tuple[int, ...]], retraced: dict[str, object]
) -> None:
    targets = tuple(Target("yes", ids, 1, 0.5, 1.0, 0) for ids in explained)
    info = replace(make_info(("a", "b"), 2, targets), settings=given)
    found = settings_of(info)
    expected = {"targets": (), "contrast": None, "why_not": None} | retraced
    assert {name: getattr(found, name) for name in expected} == expected
