"""Truth direction, object x value terms and swaps on the bundled model, over the shipped items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from circuit_tracer.experiments.dissociation.step_results import FeatureSet, Member
from circuit_tracer.experiments.dissociation.steps import swap
from circuit_tracer.experiments.dissociation.steps.behaviour import behaviour, own_contrast
from circuit_tracer.experiments.dissociation.steps.heads import Ranking, Terms, heads
from circuit_tracer.experiments.dissociation.steps.inconsistent import inconsistent_items
from circuit_tracer.experiments.dissociation.steps.swap import find_donors, swap_result, swaps
from circuit_tracer.experiments.dissociation.steps.truth import truth
from tests.experiments.dissociation.small import answered, bananas


def test_the_bundled_model_knows_its_bananas() -> None:
    found = behaviour(bananas(), answered())
    assert found.items == len(bananas().items)
    assert found.kept >= 0.95 * found.items
    assert all(one.right.value > 0.95 and one.reversed.value == 0.0 for one in found.families)
    assert all(one.right_held_out.value > 0.8 for one in found.families)
    assert "banana" in found.objects


def turned(keep: str, *, odd: int) -> list[str]:
    """Who is inconsistent, were the yes/no questions answered the other way round but for one."""
    whole, given = bananas(8), answered(8)
    study = replace(whole, spec=replace(whole.spec, keep=keep))
    asked = tuple(
        replace(one, affirmed=tuple(1 if i == odd else -1 for i in range(8)))
        if one.family == "yes_no"
        else one
        for one in given.families
    )
    sets = [FeatureSet("V", "late", half, (Member(4, 1, 0, 1, ""),), 1, 1) for half in (0, 1)]
    found = inconsistent_items(study, replace(given, families=asked), sets)
    assert all(one.fails == "judgement" for one in found)
    return [one.item for one in found]


def test_inconsistent_is_what_differs_from_the_truth_or_from_the_family() -> None:
    names = [item.name for item in bananas(8).items]
    assert turned("right", odd=3) == [*names[:3], *names[4:]]
    assert turned("own", odd=3) == [names[3]]


def test_own_values_turn_with_what_is_affirmed() -> None:
    one = replace(answered().families[0], affirmed=(1, -1, 0), contrast=np.array([2.0, -3.0, 1.0]))
    assert own_contrast(one)[:2].tolist() == [2.0, 3.0]
    assert np.isnan(own_contrast(one)[2])


def test_one_direction_reads_truth_in_every_form() -> None:
    """As in the recipe's trials about .5 in the first layers and .93 or more in the upper ones; the
    shipped model has it at the end of the prompt, the trials had it at the value."""
    found = truth(bananas(), answered())
    auc = {(r.role, r.fitted, r.read, r.layer): r.auc for r in found.rows}
    families = [family.name for family in bananas().read_for_truth]
    assert (found.best_role, found.best_layer >= 3) == ("verdict", True)
    for fitted in families:
        assert auc["value", fitted, fitted, -1].value == pytest.approx(0.5)  # the bare word
        for read in families:
            assert auc["verdict", fitted, read, found.best_layer].value > 0.93
            for role in ("value", "verdict"):
                assert 0.4 < auc[role, fitted, read, 0].value < 0.65


def test_what_early_layers_write_at_the_object_carries_the_fact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study, given = bananas(8), answered(8)
    every = swap._patches(study)  # single layers and other ways: the small experiment has them all
    asked = {name: every[name] for name in ("early everything", "late everything")}
    monkeypatch.setattr(swap, "_patches", lambda _: asked)
    found = swap_result(swaps(study, given), study)
    assert found is not None
    follows = {(r.layers, r.how, r.family): r.follows for r in found.rows}
    assert follows["early", "everything", "claims"].low > 0.8
    assert follows["early", "everything", "completion"].low > 0.8
    assert follows["late", "everything", "claims"].high < 0.2
    assert all(row.names == "completed" for row in found.rows if row.family == "claims")


def test_donors_have_other_values() -> None:
    study, given = bananas(), answered()
    donors = find_donors(study, given)
    assert set(donors) == set(given.kept)
    for i, j in donors.items():
        own, other = (
            {study.items[k].slots["value"], study.items[k].other["value"]} for k in (i, j)
        )
        assert not own & other
        assert study.half[i] == study.half[j]


def test_a_head_that_tells_true_from_false_is_ranked_first() -> None:
    """Terms made by hand: one place tells by chance everywhere else, and in one head for sure."""
    study, given = bananas(8), answered(8)
    rng = np.random.default_rng(0)
    claims = [
        (item, is_true, family.name)
        for family in study.claims
        for item in given.kept
        for is_true in (True, False)
    ]
    values = rng.normal(size=(len(claims), study.model.n_layers, study.model.wiring.n_heads, 2))
    for row, (_, is_true, _) in enumerate(claims):
        values[row, 3, 1, 0] = rng.normal() - (4.0 if is_true else 0.0)
    terms = Terms(
        items=tuple(item for item, _, _ in claims),
        is_own=tuple(is_true for _, is_true, _ in claims),
        families=tuple(name for _, _, name in claims),
        values=values,
    )
    found = heads(study, given, terms)
    best = found.ranks[0]
    assert (best.layer, best.head, best.query) == (3, 1, "value")
    assert best.auc.value > 0.95  # the sign, negative here, is that of the other half
    assert best.chosen == 2
    assert found.best.value == pytest.approx(best.auc.value)  # either half ranks it first
    others = [one.auc.value for one in found.ranks[1:]]
    assert 0.3 < np.mean(others) < 0.7  # ranked high by chance, no better on the other half
    assert [row.heads for row in found.flips] == [1, 2, 4, 8]
    assert all(0 <= row.random_low <= row.random_high <= 1 for row in found.flips)


def test_without_any_telling_head_the_first_of_one_half_is_chance_on_the_other() -> None:
    study, given = bananas(8), answered(8)
    claims = [(item, is_true) for item in given.kept for is_true in (True, False)]
    values = np.zeros((len(claims), study.model.n_layers, study.model.wiring.n_heads, 2))
    for row, (item, is_true) in enumerate(claims):
        # One place tells in half 0 alone, another in half 1 alone.
        values[row, 2 if study.half[item] else 4, 0, 1] = 1.0 if is_true else -1.0
    terms = Terms(
        items=tuple(item for item, _ in claims),
        is_own=tuple(is_true for _, is_true in claims),
        families=(study.claims[0].name,) * len(claims),
        values=values,
    )
    ranking = Ranking(study, given, terms)
    assert ranking.best().value == pytest.approx(0.5)
