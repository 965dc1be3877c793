"""The dose curve: well-formed whatever the numbers and words, the same bytes every time."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from circuit_tracer.render.dose import Point, dose_svg

CURVE = [Point(1.0, 0.1, 0.02, 3.0), Point(5.0, 0.4, 0.2, 9.0), Point(10.0, 0.9, 0.5, 2e5)]
BEFORE = Point(0.0, 0.01, 0.01, 2.5)


def drawn(points: list[Point], before: Point = BEFORE, title: str = "Holding L4/288") -> str:
    return dose_svg(points, before, title=title, unit="times maximum", target="yellow")


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
    "points",
    [
        [Point(0.0, 0.5, 0.5, 1.0)],
        [Point(-2.0, 0.5, 0.5, 3.0), Point(2.0, 0.1, 0.1, 4.0)],
        [Point(1.0, math.nan, math.nan, math.nan)],
        [Point(1.0, 0.0, 1.0, math.inf)],
    ],
)
def test_odd_numbers_stay_on_the_page(points: list[Point]) -> None:
    root = ET.fromstring(drawn(points))
    height = float(root.attrib["height"])
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= float(root.attrib["width"])
        assert 0 <= float(circle.attrib["cy"]) <= height


def test_hostile_words_are_escaped() -> None:
    figure = drawn(CURVE, title='<script>alert("x")</script>\x07 & more')
    assert "<script>" not in figure
    ET.fromstring(figure)
