"""The legend under a figure, on pages of any width."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from circuit_tracer.render.legend import LegendKind
from tests.render.builders import small, svg
from tests.render.extents import extents, page_size


@pytest.mark.parametrize("legend", ["full", "short"])
@pytest.mark.parametrize("width_mm", [30, 45, 60, 85])
def test_it_stays_on_a_narrow_page_with_its_numbers_whole(
    width_mm: float, legend: LegendKind
) -> None:
    figure = svg(small(), width_mm=width_mm, legend=legend)
    words = extents(figure)
    (first,) = [one for one in words if one.words.startswith("target and its prob")]
    below = [one for one in words if one.top >= first.top]
    assert all(one.right <= page_size(figure)[0] + 0.5 for one in below)
    assert not any(one.covers(other) for one, other in combinations(below, 2))
    assert not [one.words for one in below if re.fullmatch(r"[\d.,]+…", one.words)]
