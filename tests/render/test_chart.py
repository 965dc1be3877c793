"""Axes, numbers with intervals, and panels of the chart kit."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from math import inf, nan

import pytest

from circuit_tracer.graphs.bootstrap import UNKNOWN, Interval
from circuit_tracer.render.chart import Line, LinePanel, Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import Axis, Band, Scale
from circuit_tracer.render.numbers import with_interval
from tests.render.extents import extents, page_size

SHARES = Axis(0.0, 1.0, 0.25, percent=True)


@pytest.mark.parametrize(
    ("one", "options", "words"),
    [
        (Interval(0.834, 0.79, 0.88), {"percent": True}, "83 % [79, 88]"),
        (Interval(-0.2, -0.3, 0.1), {"sign": True}, "−0.20 [−0.30, +0.10]"),
        (Interval(-0.001, -0.002, 0.0), {"percent": True}, "0 % [0, 0]"),
        (Interval(-0.001, -0.002, 0.001), {"sign": True}, "0.00 [0.00, 0.00]"),
        (UNKNOWN, {}, "?"),
        (Interval(0.5, nan, nan), {}, "0.50"),
    ],
)
def test_numbers_are_written_with_their_interval(one, options, words: str) -> None:
    assert with_interval(one, **options) == words


def test_an_axis_covers_what_was_measured_in_whole_steps() -> None:
    far = Axis.covering([-0.3, 1.2, nan], 0.0, 1.0, 0.5)
    assert (far.low, far.high) == (-0.5, 1.5)
    near = Axis.covering([-0.01, 1.04], 0.0, 1.0, 0.5)
    assert (near.low, near.high) == (0.0, 1.0)
    assert Axis.decades([3.0, 2e5, nan]).high == 1e6


def test_ticks_keep_apart() -> None:
    assert [words for _, words in SHARES.ticks(200)] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert [words for _, words in SHARES.ticks(80)] == ["0 %", "50 %", "100 %"]
    assert [words for _, words in Axis.decades([2e5]).ticks(150)][-1] == "1,000,000"


def test_a_scale_runs_from_end_to_end() -> None:
    scale = Scale(SHARES, 100.0, 200.0)
    assert [scale.at(x) for x in (-0.1, 0.0, 0.5, 1.1)] == pytest.approx(
        [90.0, 100.0, 150.0, 210.0]
    )
    up = Scale(Axis.decades([100.0]), 300.0, 100.0)
    assert [up.at(x) for x in (0.0, 1.0, 10.0, 100.0)] == [300.0, 300.0, 200.0, 100.0]


def test_panels_side_by_side_share_their_names_and_keep_to_the_page() -> None:
    rows = [
        Row("a heading"),
        Row("one", Interval(0.4, 0.3, 0.5), control=Band(0.1, nan, 0.2)),
        Row("two", UNKNOWN),
    ]
    sheet = Sheet("A title", "What is seen.")
    sheet.rows(RowPanel("left", rows, SHARES), RowPanel("right", rows, SHARES), names=150)
    points = [(0.0, Interval(0.2, 0.1, 0.3)), (1.0, UNKNOWN), (2.0, Interval(0.9, nan, nan))]
    lines = [Line("up", points, "#000000"), Line("also up", points, "#111111")]
    labels = {0.0: "emb", 1.0: "L0", 2.0: "L1"}
    sheet.lines(LinePanel("lines", lines, "layer", labels, SHARES, level=0.5), across=2)
    svg = sheet.svg("page")
    words = [one.words for one in extents(svg)]
    assert (words.count("one"), words.count("40 % [30, 50]"), words.count("?")) == (1, 2, 2)
    width, height = page_size(svg)
    assert all(
        one.left >= 0 and one.right <= width and one.bottom <= height for one in extents(svg)
    )
    tags = [node.tag.rpartition("}")[2] for node in ElementTree.fromstring(svg).iter()]
    assert tags.count("polyline") == 2
    ends = sorted(one.top for one in extents(svg) if one.words.endswith("up 90 %"))
    assert ends[1] - ends[0] >= 12


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([], (0.0, 1.0)),
        ([0.2, nan, inf], (0.0, 1.0)),
        ([-0.1], (-0.5, 1.0)),
        ([-0.34, 1.2], (-0.5, 1.5)),
        ([-40.0, 3.0], (-48.0, 16.0)),
        ([1e6], (0.0, 1048576.0)),
    ],
)
def test_an_axis_has_few_steps_however_far_it_reaches(values, ends: tuple[float, float]) -> None:
    axis = Axis.covering(values, 0.0, 1.0, 0.25, most_steps=4)
    assert (axis.low, axis.high) == ends
    ticks = [value for value, _ in axis.ticks(200.0)]
    assert ticks[0] == axis.low
    assert ticks[-1] == axis.high
    assert 0.0 in ticks
    assert 2 <= len(ticks) <= 6
