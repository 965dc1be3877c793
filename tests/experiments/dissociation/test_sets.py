"""Route sets by their rule, and random sets that really match."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.experiments.dissociation.steps.sets import (
    MOST,
    Weight,
    choose,
    choose_half,
    described,
    matched,
    mean_weights,
)
from circuit_tracer.experiments.dissociation.steps.tracing import ItemGraphs


def graphs_of(item: int, entries: dict[tuple[int, int, int], tuple[float, float]]) -> ItemGraphs:
    """(part, layer, feature) -> shares in the fact and in the judgement."""
    keys = sorted(entries)
    return ItemGraphs(
        item=item,
        part=tuple(key[0] for key in keys),
        layer=tuple(key[1] for key in keys),
        feature=tuple(key[2] for key in keys),
        fact=tuple(entries[key][0] for key in keys),
        judgement=tuple(entries[key][1] for key in keys),
        overlaps=(),
    )


def many_graphs(n: int = 10, features: int = 400, seed: int = 0) -> list[ItemGraphs]:
    """Random shares, heavy-tailed as real ones are."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(-6, 1.5, size=(features, 2))
    found = []
    for item in range(n):
        noisy = size * rng.uniform(0.5, 1.5, size=size.shape)
        entries = {
            (int(i % 5 > 0), int(i % 5), i): (float(noisy[i, 0]), float(noisy[i, 1]))
            for i in range(features)
        }
        found.append(graphs_of(item, entries))
    return found


def test_a_feature_belongs_where_it_speaks_three_times_as_much() -> None:
    assert Weight(0.31, 0.1).belongs == "F"
    assert Weight(0.1, 0.31).belongs == "V"
    assert Weight(0.2, 0.1).belongs == "S"
    assert Weight(0.3, -0.4).belongs == "F"  # what speaks against an answer does not count
    assert Weight(-0.3, -0.4).belongs is None
    assert Weight(0.0, 0.0).belongs is None


def test_means_are_over_objects_and_labels_can_be_exchanged() -> None:
    graphs = [graphs_of(7, {(1, 4, 9): (0.4, 0.0)}), graphs_of(8, {(1, 4, 9): (0.2, 0.1)})]
    plain = mean_weights(graphs, 1)[4, 9]
    assert (plain.fact, plain.judgement) == pytest.approx((0.3, 0.05))
    assert mean_weights(graphs, 0) == {}
    swapped = mean_weights(graphs, 1, exchanged=frozenset({8}))[4, 9]
    assert (swapped.fact, swapped.judgement) == pytest.approx((0.25, 0.1))


def test_the_strongest_are_taken_until_they_carry_enough() -> None:
    weights = {
        (0, 1): Weight(0.5, 0.0),
        (0, 2): Weight(0.32, 0.0),
        (0, 3): Weight(0.1, 0.0),
        (0, 4): Weight(0.08, 0.0),
        (0, 5): Weight(0.0, 0.9),
    }
    assert choose(weights, "F") == ((0, 1), (0, 2))  # .82 of 1.0
    assert choose(weights, "V") == ((0, 5),)
    assert choose(weights, "S") == ()
    even = {(0, i): Weight(0.01, 0.0) for i in range(200)}
    assert len(choose(even, "F")) == MOST


@pytest.mark.parametrize("name", ["F", "V", "S"])
def test_matched_sets_match_in_size_layer_and_influence(name: str) -> None:
    weights = mean_weights(many_graphs(), 1)
    generator = np.random.default_rng(0)
    members = choose(weights, name)  # type: ignore[arg-type]
    own = sum(weights[key].both for key in members)
    ratios = []
    for _ in range(20):
        drawn = matched(weights, members, generator)
        assert not set(drawn) & set(members)
        assert len(set(drawn)) == len(drawn) == len(members)
        assert sorted(layer for layer, _ in drawn) == sorted(layer for layer, _ in members)
        ratios.append(sum(weights[key].both for key in drawn) / own)
    assert len({matched(weights, members, generator) for _ in range(5)}) == 5
    assert 0.5 < np.mean(ratios) < 1.5


def test_a_permutation_of_labels_exchanges_half_of_the_objects() -> None:
    """With nothing but one feature a route, F of a permutation has the features of the labels'
    majority: an even permutation leaves them equal, so that they are shared by both."""
    entries = {(1, 3, 1): (0.5, 0.0), (1, 3, 2): (0.0, 0.5)}
    sets = choose_half(
        [graphs_of(i, entries) for i in range(8)], n_random=2, n_permutations=6, seed=0
    )
    assert sets.chosen["F"][1] == ((3, 1),)
    assert sets.chosen["V"][1] == ((3, 2),)
    assert all(one["F"][1] == one["V"][1] == () for one in sets.permuted)


def test_what_is_known_of_a_set_is_reported() -> None:
    graphs = many_graphs()
    sets = choose_half(graphs[:5], n_random=4, n_permutations=1, seed=3)
    found = described(sets, 0, graphs[:5], graphs[5:], lambda keys: [f"f{f}" for _, f in keys])
    late = next(one for one in found if (one.name, one.part) == ("F", "late"))
    assert [(m.layer, m.feature) for m in late.members] == list(sets.chosen["F"][1])
    assert late.members[0].label == f"f{late.members[0].feature}"
    assert late.members[0].fact == max(member.fact for member in late.members)
    theirs = mean_weights(graphs[5:], 1)
    own = [max(weight.fact, 0.0) for weight in theirs.values()]
    carried = sum(max(theirs[m.layer, m.feature].fact, 0.0) for m in late.members)
    assert late.covers == pytest.approx(carried / sum(own))
    assert 0.5 < late.random_influence < 1.5
