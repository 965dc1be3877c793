"""Axes show all that was measured."""

from __future__ import annotations

import math

import pytest

from circuit_tracer.render.axes import MOST_STEPS, axis


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([], (0.0, 1.0)),
        ([0.2, math.nan, math.inf], (0.0, 1.0)),
        ([-0.01], (-0.25, 1.0)),
        ([-0.34, 1.2], (-0.5, 1.5)),
        ([-40.0, 3.0], (-40.0, 8.0)),
        ([1e6], (0.0, 1048576.0)),
    ],
)
def test_an_axis_holds_every_finite_value(values: list[float], ends: tuple[float, float]) -> None:
    found = axis(values, low=0.0, high=1.0, step=0.25)
    assert (found.low, found.high) == ends
    assert found.ticks[0] == found.low
    assert found.ticks[-1] == found.high
    assert 0.0 in found.ticks
    assert 2 <= len(found.ticks) <= MOST_STEPS + 3
