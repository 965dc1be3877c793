"""The trust panel under a drawn graph: what it says, what it leaves out, and hostile text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from circuit_tracer.render import palette
from circuit_tracer.render.text import text_width
from circuit_tracer.render.trust_panel import (
    MOST_REASONS,
    KeyFigure,
    Reason,
    StoredVerdict,
    first_reasons,
    trust_panel,
)
from tests.render import builders
from tests.render.builders import svg

SVG = "{http://www.w3.org/2000/svg}"
VERDICT = StoredVerdict(
    level="care",
    headline="Believe the routes with care: the reasons say why.",
    reasons=tuple(
        Reason(mark, f"{name} reason with some more words to it, so that it takes two lines.")
        for mark, name in zip("++~-~", ("first", "second", "third", "fourth", "fifth"), strict=True)
    ),
    figures=(
        KeyFigure("+", "replacement", "0.95", "good from 0.8"),
        KeyFigure("-", "indirect, nothing frozen", "0.28", "good from 0.5"),
    ),
)


def texts(markup: str) -> list[str]:
    root = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{markup}</svg>')
    return [one.text or "" for one in root.iter(f"{SVG}text")]


def test_what_speaks_against_the_graph_comes_first() -> None:
    names = [one.text.split()[0] for one in first_reasons(VERDICT.reasons)]
    assert names == ["fourth", "third", "fifth", "first"]
    said = texts(trust_panel(VERDICT, 700.0).markup)
    assert said[0] == "Trust: Believe the routes with care: the reasons say why."
    assert "1 more in trust.json" in said
    assert len(VERDICT.reasons) - MOST_REASONS == 1
    assert {"replacement", "0.95", "good from 0.8"} <= set(said)


@pytest.mark.parametrize("width", [260.0, 420.0, 700.0, 1400.0])
def test_all_text_stays_inside(width: float) -> None:
    panel = trust_panel(VERDICT, width)
    root = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{panel.markup}</svg>')
    found = list(root.iter(f"{SVG}text"))
    assert len(found) > 8
    for one in found:
        size = float(one.get("font-size", "9"))
        right = 12 + float(one.get("x", "0")) + text_width(one.text or "", size)
        assert right <= width + 1
        assert 0 < float(one.get("y", "0")) < panel.height


def test_marks_differ_in_shape_and_the_edge_in_colour() -> None:
    markup = trust_panel(VERDICT, 700.0).markup
    assert markup.count("<polygon") == 2  # keep in mind
    assert markup.count("<circle") == 2  # for the graph
    assert palette.TOKEN_EDGE in trust_panel(replace(VERDICT, reasons=()), 700.0).markup
    assert palette.NEGATIVE in trust_panel(replace(VERDICT, level="broken"), 700.0).markup


def test_the_figure_has_the_panel_where_there_is_a_report() -> None:
    pruned = builders.small()
    bare, tested = svg(pruned), svg(pruned, trust=VERDICT)
    assert 'class="trust"' not in bare
    assert 'class="trust"' in tested
    heights = [float(ET.fromstring(one.encode()).get("height", "0")) for one in (bare, tested)]
    assert heights[1] > heights[0] + 80
    assert svg(pruned, trust=VERDICT) == tested


def test_hostile_words_stay_text() -> None:
    hostile = replace(VERDICT, headline='<script>alert("x")</script> & \x00')
    root = ET.fromstring(svg(builders.small(), trust=hostile).encode())
    assert not list(root.iter(f"{SVG}script"))


def test_a_brief_report_says_so() -> None:
    said = texts(trust_panel(replace(VERDICT, is_brief=True), 700.0).markup)
    assert said[0].startswith("Trust, tested briefly: Believe")
