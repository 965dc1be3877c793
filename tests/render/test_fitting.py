"""Figures for a width on paper: letters that can be read, nothing over anything, nothing outside.

What a figure holds is read from its SVG by benchmarks/figure_measures.py, which knows nothing of
the layout; a browser checks that reader. All shipped prompts are measured by benchmarks/figures.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import circuit_tracer as ct
from benchmarks.figure_measures import measured, read
from benchmarks.figures import KINDS, LEAST_POINTS, drawn
from benchmarks.prompts import prompts
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.render.page_size import finished
from circuit_tracer.render.svg import drawn_graph
from tests.render import builders
from tests.render.builders import svg
from tests.render.test_layout import crowded, long_prompt, many_targets

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" width="100mm" height="50mm" viewBox="0 0 200 100">'


def figure(pruned: PrunedGraph, width: float, **more: Any) -> str:
    """Laid out for a width and finished for it."""
    return finished(svg(pruned, width_mm=width, **{"legend": "none", **more}), width_mm=width)


@pytest.mark.parametrize(
    ("case", "width"),
    [
        *((case, 85) for case in (builders.middle, builders.hostile, many_targets)),
        *((case, width) for case in (crowded, long_prompt) for width in (85, 120, 180)),
    ],
)
def test_letters_are_large_enough_and_nothing_overlaps(
    case: Callable[[], PrunedGraph], width: float
) -> None:
    found = measured(figure(case(), width))
    assert found.faults == 0, found
    assert found.smallest_letters >= LEAST_POINTS
    assert found.width_mm == pytest.approx(width)
    assert found.texts > 5


@pytest.mark.parametrize("legend", ["short", "full"])
def test_the_legend_below_is_as_readable(legend: str) -> None:
    found = measured(figure(builders.middle(), 85, legend=legend))
    assert found.faults == 0, found
    assert found.smallest_letters >= LEAST_POINTS


SAMPLE = random.Random(14).sample(range(len(prompts())), 2)


@pytest.fixture(scope="module")
def sampled() -> list[ct.TracedGraph]:
    """Two shipped prompts, traced, with the heads of their edges."""
    graphs = [ct.trace(prompts()[i][1]["prompt"]) for i in SAMPLE]
    for graph in graphs:
        graph.heads()
    return graphs


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_prompts_are_readable_in_one_column(
    sampled: list[ct.TracedGraph], kind: str
) -> None:
    one = drawn(sampled[0], kind, 85, sampled[1])
    assert one is not None
    assert one.measures.faults == 0, one
    assert one.measures.smallest_letters >= LEAST_POINTS
    assert one.nodes >= 1


def test_a_wider_page_shows_more_and_cuts_less() -> None:
    narrow, wide = (drawn_graph(builders.large(), width_mm=width) for width in (85, 180))
    assert narrow.selection.drawn < wide.selection.drawn
    assert "kept features and errors drawn" in narrow.selection.sentences()[0]
    plain = svg(builders.middle())
    assert plain == svg(builders.middle(), width_mm=None)


def test_the_reader_finds_what_overlaps_or_leaves_the_page() -> None:
    node = '<g class="node feature">{}</g>'
    first = node.format(
        '<circle cx="10" cy="10" r="5"/><text x="18" y="13" font-size="10">one</text>'
    )
    apart = node.format('<text x="60" y="13" font-size="10">two</text>')
    on_text = node.format('<text x="25" y="16" font-size="10">two</text>')
    on_mark = node.format('<text x="2" y="13" font-size="8">2</text>')
    outside = '<text x="195" y="50" font-size="10">long words</text>'
    turned = '<text x="20" y="8" font-size="10" transform="rotate(-90 20 8)">up</text>'

    def faults(*parts: str) -> tuple[int, int, int]:
        found = measured(f"{HEAD}{''.join(parts)}</svg>")
        return found.text_on_text, found.text_on_box, found.outside

    assert faults(first, apart) == (0, 0, 0)
    assert faults(first, on_text) == (1, 0, 0)
    assert faults(first, on_mark) == (0, 1, 0)
    assert faults(apart, outside) == (0, 0, 1)
    assert faults(apart, turned) == (0, 0, 1)  # it begins 8 units below the edge
    found = measured(f"{HEAD}{first}</svg>")
    assert found.smallest_letters == pytest.approx(10 * 0.5 * 72 / 25.4)


BOUNDS = """() => [...document.querySelectorAll('text')].map((one) => {
  const box = one.getBoundingClientRect();
  return [one.textContent, box.left, box.top, box.right, box.bottom];
})"""


def test_a_browser_measures_no_text_wider_than_the_reader(browser: Any) -> None:
    tokens = ("[BOS]", *(f"word{i}" for i in range(11)))
    svg = figure(prune(builders.story(tokens=tokens)), 85)
    assert "rotate(-90" in svg
    page = browser.new_page()
    page.set_content(f"<body style='margin:0'>{svg.partition('?>')[2]}")
    texts = read(svg).texts
    bounds = page.evaluate(BOUNDS)
    page.close()
    assert len(bounds) == len(texts) > 20
    for (words, *place), ours in zip(bounds, texts, strict=True):
        left, top, right, bottom = (0.75 * value for value in place)  # CSS pixels to points
        along = (left, right), (top, bottom)
        across = (ours.left, ours.right), (ours.top, ours.bottom)
        is_turned = ours.bottom - ours.top > ours.right - ours.left and len(words) > 1
        (start, end), (low, high) = along[::-1] if is_turned else along
        (our_start, our_end), (our_low, our_high) = across[::-1] if is_turned else across
        assert words == ours.words
        assert our_start - 0.5 <= start < end <= our_end + 0.5
        assert abs((low + high) - (our_low + our_high)) / 2 < 1.5
