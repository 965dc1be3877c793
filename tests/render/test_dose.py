"""The dose curve: well-formed whatever the numbers and words, the same bytes every time."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest

from circuit_tracer.render.dose import dose_svg
from tests.render.extents import extents


def _dose(strength: float, first: float, mean: float, perplexity: float) -> Any:
    """What a figure reads of a dose."""
    text = SimpleNamespace(perplexity=perplexity)
    return SimpleNamespace(strength=strength, first=first, mean=mean, text=text)


CURVE = [_dose(1.0, 0.1, 0.02, 3.0), _dose(5.0, 0.4, 0.2, 9.0), _dose(10.0, 0.9, 0.5, 2e5)]
BEFORE = _dose(0.0, 0.01, 0.01, 2.5)


def drawn(doses: list[Any], before: Any = BEFORE, title: str = "Holding L4/288") -> str:
    return dose_svg(before, doses, title=title, unit="times maximum", target="yellow")


def test_it_has_three_lines_and_a_point_for_each_dose() -> None:
    root = ET.fromstring(drawn(CURVE))
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names.count("polyline") == 3
    assert names.count("circle") == 3 * len(CURVE)
    text = "".join(root.itertext())
    for word in ("Probability of yellow", "perplexity", "times maximum", "1,000,000"):
        assert word in text
    assert drawn(CURVE) == drawn(CURVE)


@pytest.mark.parametrize(
    "doses",
    [
        [_dose(0.0, 0.5, 0.5, 1.0)],
        [_dose(-2.0, 0.5, 0.5, 3.0), _dose(2.0, 0.1, 0.1, 4.0)],
        [_dose(1.0, math.nan, math.nan, math.nan)],
        [_dose(1.0, 0.0, 1.0, math.inf)],
    ],
)
def test_odd_numbers_stay_on_the_page(doses: list[Any]) -> None:
    root = ET.fromstring(drawn(doses))
    height = float(root.attrib["height"])
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= float(root.attrib["width"])
        assert 0 <= float(circle.attrib["cy"]) <= height


def test_labels_of_strengths_do_not_lie_on_each_other() -> None:
    doses = [_dose(one, 0.1, 0.1, 3.0) for one in (0.333333, 0.47, 2.0)]
    words = extents(drawn(doses))
    for first, second in combinations(words, 2):
        assert not first.covers(second), (first, second)


def test_hostile_words_are_escaped() -> None:
    figure = drawn(CURVE, title='<script>alert("x")</script>\x07 & more')
    assert "<script>" not in figure
    ET.fromstring(figure)
