"""DOT: pinned places, text that stays text, and Graphviz reads it."""

import re
import shutil

import graphviz
import pytest

from circuit_tracer.render.dot import dot
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.selection import select
from tests.render import builders


def test_every_node_is_pinned_where_the_figure_has_it() -> None:
    pruned = builders.small()
    layout = lay_out(pruned, select(pruned))
    found = re.findall(r'^\tn(\d+) \[.*?pos="([\d.]+),([\d.]+)!"', dot(pruned), re.M | re.S)
    assert [int(row) for row, _, _ in found] == list(layout.placed)
    for row, x, y in found:
        box = layout.placed[int(row)].box
        assert float(x) == pytest.approx((box.left + box.right) / 2, abs=0.01)
        assert float(y) == pytest.approx(layout.height - (box.top + box.bottom) / 2, abs=0.01)


def test_negative_edges_are_dashed() -> None:
    pruned = builders.small()
    source = dot(pruned)
    selection = select(pruned)
    negative = (pruned.graph.edges.weight[selection.edges] < 0).sum()
    assert source.count("style=dashed") == negative > 0
    assert source.count("style=solid") == len(selection.edges) - negative > 0


def test_labels_are_never_read_as_html_or_escapes() -> None:
    source = dot(builders.hostile())
    assert re.search(r'label="L\d+/\d+ </title><g>"', source)
    assert not re.search(r"(label|tooltip)=<", source)
    assert "&amp;amp;" in source
    assert "%s {0} \\\\N \\\\l" in source
    assert "\x00" not in source
    assert "\u202e" not in source


def test_the_same_graph_gives_the_same_text() -> None:
    assert dot(builders.middle()) == dot(builders.middle())


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("case", [builders.small, builders.large, builders.hostile])
def test_graphviz_draws_it(case) -> None:
    drawn = graphviz.Source(dot(case()), engine="neato").pipe(format="svg", quiet=True)
    assert b"</svg>" in drawn
