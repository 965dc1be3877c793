"""Shares followed back through written tokens: worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.experiments.steps.shares import NOISE, chained, margin, noise_floor

# Tokens: BOS, key, question | first step (2), second step (2).
ANSWER = np.array([0.0, 0.1, 0.1, 0.0, 0.1, 0.0, 0.7])
SECOND = np.array([0.0, 0.5, 0.0, 0.0, 0.3, 0.2, 0.0])
FIRST = np.array([0.0, 0.0, 0.8, 0.2, 0.0, 0.0, 0.0])
STEP = np.array([-1, -1, -1, 0, 0, 1, 1])


def test_the_last_token_is_substituted_first() -> None:
    chain = chained(ANSWER, {6: SECOND, 4: FIRST}, STEP)
    # Through 6: 0.7 of it; then 4 has 0.1 + 0.7 * 0.3 = 0.31.
    assert chain.passes[6] == pytest.approx(0.7)
    assert chain.passes[4] == pytest.approx(0.31)
    ends = [0.0, 0.1 + 0.7 * 0.5, 0.1 + 0.31 * 0.8, 0.31 * 0.2, 0.0, 0.7 * 0.2, 0.0]
    np.testing.assert_allclose(chain.ends, ends)
    assert chain.ends.sum() == pytest.approx(1)


def test_what_tokens_of_one_step_pass_to_each_other_is_not_counted_again() -> None:
    chain = chained(ANSWER, {6: SECOND, 4: FIRST}, STEP)
    second, first = chain.arrives[5:7].sum(), chain.arrives[3:5].sum()
    assert second == pytest.approx(0.7)
    assert first == pytest.approx(0.31)
    assert chain.passes[5:7].sum() == pytest.approx(0.7 + 0.14)


def test_noise_is_passed_back_with_the_rows() -> None:
    own, second = noise_floor(ANSWER, 7), noise_floor(SECOND, 6)
    assert own == pytest.approx(NOISE * 0.1)
    assert second == pytest.approx(NOISE * 0.2)
    chain = chained(ANSWER, {6: SECOND}, STEP)
    assert chain.noise[1] == pytest.approx(own + 0.7 * second)
    assert chain.noise[5] == pytest.approx(own)  # of the same step
    assert chain.noise[6] == pytest.approx(own)
    assert noise_floor(ANSWER, 1) == 0


def test_an_answer_that_draws_on_no_decided_token_is_its_own_chain() -> None:
    np.testing.assert_array_equal(chained(ANSWER, {}, STEP).ends, ANSWER)


def test_noise_alone_rarely_lies_above_its_floor() -> None:
    """Normal noise in rows of 40 tokens: the share of five of them against the floor of five."""
    rng = np.random.default_rng(0)
    squares = rng.normal(size=(2000, 40)) ** 2
    rows = squares / squares.sum(1, keepdims=True)
    above = [row[10:15].sum() > noise_floor(row, 40) * 5 * margin(5) for row in rows]
    assert 0.01 < np.mean(above) < 0.12
