"""The table of drops and D, by hand on a tiny table; real sets on objects they never saw."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.experiments.dissociation.steps.ablation import (
    Ablations,
    ablate,
    permuted_part,
    set_names,
    table,
)
from circuit_tracer.experiments.dissociation.steps.sets import HalfSets
from circuit_tracer.experiments.dissociation.study import Settings, Study
from tests.experiments.dissociation.small import answered, bananas

NONE = ((), ())


def by_hand(after: dict[str, tuple[float, float]], families: tuple[str, ...]) -> Ablations:
    """Two objects of contrast 4 and 6; `after` gives the share left of fact and judgement."""
    names = set_names(1, 2)
    before = (4.0, 6.0)
    tables = []
    for family in families:
        route = 0 if family in ("completion", "question") else 1
        left = [after.get(name, (1.0, 1.0))[route] for name in names]
        tables.append(np.outer(before, left))
    return Ablations(families, (0, 1), names, np.array([before] * len(families)), np.array(tables))


def small_study() -> Study:
    whole = bananas()
    settings = Settings(random_sets=1, permutations=2, resamples=50)
    return Study(whole.model, whole.dictionary, whole.spec, settings)


def test_d_by_hand() -> None:
    study = small_study()
    families = tuple(family.name for family in study.spec.measured)
    found = by_hand(
        {
            "F late": (0.3, 0.9),  # dC = .7, dQ = .1
            "V late": (0.8, 0.4),  # dC = .2, dQ = .6
            "F late random 0": (0.9, 0.95),
            "V late random 0": (0.95, 0.9),
            f"F {permuted_part('late', 0)}": (0.5, 0.4),
            f"V {permuted_part('late', 0)}": (0.4, 0.4),
            f"F {permuted_part('late', 1)}": (0.4, 0.5),
        },
        families,
    )
    result = table(study, found)
    late = next(one for one in result.index if one.part == "late")
    assert late.index.value == pytest.approx(0.7 - 0.1 + 0.6 - 0.2)
    assert (late.index.low, late.index.high) == pytest.approx((1.0, 1.0))
    assert late.fact_side.value == pytest.approx(0.6)
    assert late.judgement_side.value == pytest.approx(0.4)
    assert late.random.value == pytest.approx(0.1 - 0.05 + 0.1 - 0.05)
    assert late.shuffled.value == pytest.approx(np.mean([0.5 - 0.6 + 0.6 - 0.6, 0.6 - 0.5]))
    assert late.shuffled.low < 0 < late.shuffled.high
    cells = {(c.set, c.part, c.route): c for c in result.cells}
    assert cells["F", "late", "fact"].drop.value == pytest.approx(0.7)
    assert cells["F", "late", "judgement"].drop.value == pytest.approx(0.1)
    assert cells["F", "late", "fact"].random_median == pytest.approx(0.1)
    assert cells["S", "early", "fact"].drop.value == pytest.approx(0.0)
    one = next(d for d in result.families if (d.set, d.part, d.family) == ("V", "late", "yes_no"))
    assert one.drop.value == pytest.approx(0.6)


@pytest.fixture(scope="module")
def silenced() -> Ablations:
    """A set of half 0 silences everything, all others nothing."""
    study, given = bananas(4), answered(4)
    every = frozenset(
        (layer, feature)
        for layer in range(2, study.model.n_layers)
        for feature in range(study.dictionary.layers[layer].n_features)
    )
    names = ("F", "V", "S")
    nothing = dict.fromkeys(names, NONE)
    random = dict.fromkeys(names, (NONE,))
    all_late = HalfSets({**nothing, "F": ((), tuple(sorted(every)))}, random, ())  # type: ignore[arg-type]
    none = HalfSets(nothing, random, ())  # type: ignore[arg-type]
    return ablate(study, given, (all_late, none))


def test_objects_are_tested_with_the_sets_of_the_other_half(silenced: Ablations) -> None:
    """What silences everything must leave the objects of its own half as they are."""
    study, found = bananas(4), silenced
    at = found.names.index("F late")
    for i, item in enumerate(found.items):
        moved = abs(found.after[0][i][at] - found.before[0][i])
        assert (moved > 1.0) == (study.half[item] == 1)
    untouched = found.names.index("V late")
    assert np.allclose(np.array(found.after)[:, :, untouched], np.array(found.before), atol=1e-4)


def test_contrasts_before_are_those_of_the_answers(silenced: Ablations) -> None:
    given = answered(4)
    for family, before in zip(bananas(4).spec.measured, silenced.before, strict=True):
        assert list(before) == pytest.approx(list(given.of(family).contrast), abs=1e-4)
