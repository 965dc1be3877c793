"""Bootstrap intervals on data whose answer is known, AUC against its definition."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest

from circuit_tracer.experiments.kit.statistics import auc, drops
from circuit_tracer.graphs.bootstrap import Bootstrap, interval


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    found = Bootstrap(400, resamples=4000, seed=1).mean(values)
    error = values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.02)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.02)


def test_equal_objects_leave_no_doubt() -> None:
    found = Bootstrap(10, resamples=100, seed=0).mean(np.full(10, 0.7))
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))


def test_unknown_values_are_left_out() -> None:
    draws = Bootstrap(4, resamples=500, seed=0)
    assert draws.mean(np.array([1.0, np.nan, 3.0, np.nan])).value == 2.0
    assert isnan(draws.mean(np.full(4, np.nan)).value)
    assert isnan(Bootstrap(0, resamples=5, seed=0).mean(np.zeros(0)).value)


def test_a_drop_is_one_minus_the_ratio_of_sums() -> None:
    draws = Bootstrap(2, resamples=50, seed=0)
    found = drops(draws.counts, np.array([8.0, 2.0]), np.array([[4.0, 8.0], [1.0, 2.0]]))
    assert found[0].tolist() == pytest.approx([0.5, 0.0])
    assert found.shape == (51, 2)
    assert np.allclose(found[:, 0], 0.5)  # both objects lose half, whichever are drawn


@pytest.mark.parametrize(
    ("before", "is_known"),
    [
        ([1.0, 1.2, 0.9, 1.1, 1.0, 0.8], True),
        ([1.0, -1.2, 0.9, -1.1, 1.0, -0.8], False),  # about zero
        ([0.0] * 6, False),
        ([-1.0, -1.2, -0.9, -1.1, -1.0, -0.8], False),  # nothing right that could drop
    ],
)
def test_what_may_as_well_be_zero_is_no_denominator(before: list[float], is_known: bool) -> None:
    draws = Bootstrap(6, resamples=200, seed=0)
    found = drops(draws.counts, np.array(before), 0.5 * np.array(before)[:, None])
    assert np.isfinite(found).all() == is_known
    if is_known:
        assert np.allclose(found, 0.5)


def test_auc_is_the_chance_of_ranking_right() -> None:
    rng = np.random.default_rng(2)
    positive, negative = rng.integers(0, 5, 7).astype(float), rng.integers(0, 5, 7).astype(float)
    at = np.arange(7)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    found = auc(np.ones((1, 7)), positive, negative, at, at)
    assert found[0] == pytest.approx(float(np.mean(pairs)))
    twice = np.ones((1, 7))
    twice[0, 3] = 2.0  # as if the object were there twice
    again = np.append(positive, positive[3]), np.append(negative, negative[3])
    expected = np.mean([(p > n) + 0.5 * (p == n) for p in again[0] for n in again[1]])
    assert auc(twice, positive, negative, at, at)[0] == pytest.approx(float(expected))


def test_draws_that_are_not_defined_are_left_out() -> None:
    found = interval(np.array([1.0, np.nan, 0.5, 1.5]))
    assert found.value == 1.0
    assert 0.5 <= found.low <= found.high <= 1.5


def test_one_thing_has_no_interval() -> None:
    """Every draw of it is itself, which is not to be taken for certainty."""
    alone = Bootstrap(1, resamples=50, seed=0).mean(np.array([0.5]))
    known = Bootstrap(3, resamples=50, seed=0).mean(np.array([np.nan, 0.5, np.nan]))
    for one in (alone, known):
        assert (one.value, isnan(one.low), isnan(one.high)) == (0.5, True, True)
