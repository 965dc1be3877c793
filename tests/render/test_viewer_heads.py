"""The viewer's tab about attention heads: those of most influence, and what one of them carries."""

from __future__ import annotations

import numpy as np
import pytest

from circuit_tracer.graphs.head_loadings import HeadLoadings, LeadingHead, Move, leading_heads
from circuit_tracer.graphs.influence import handed_down
from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import ExportCommand, Shown, record
from tests.render.builders import loadings_of, middle
from tests.render.conftest import Open, Opened


def _shares(opened: Opened) -> dict[str, str]:
    found = opened.run(
        "() => [...document.querySelectorAll('.leading .head')].map(e =>"
        " [e.querySelector('.label').textContent, e.querySelector('.share').textContent])"
    )
    return {str(name): str(share) for name, share in found}


def _carried(loadings: HeadLoadings, name: str) -> dict[int, float]:
    """Influence that a head brings from each source, of all it brings; rows of the graph."""
    pruned = middle()
    passed_on = handed_down(pruned.graph, pruned.influence)
    found: dict[int, float] = {}
    for i in range(len(loadings)):
        if f"L{loadings.layer[i]}.H{loadings.head[i]}" == name:
            source, target = int(loadings.source[i]), int(loadings.target[i])
            flow = abs(float(loadings.loading[i])) * float(passed_on[target])
            found[source] = found.get(source, 0.0) + flow
    whole = sum(found.values())
    return {row: flow / whole for row, flow in found.items()}


def test_heads_are_ranked_and_a_click_lights_up_what_one_carries(open_page: Open) -> None:
    pruned, loadings = middle(), loadings_of(middle())
    opened = open_page(page(record(Shown(pruned, "middle", heads=loadings))))
    opened.run("() => viewer.setThreshold(1)")
    opened.locator("[data-tab=heads]").click()
    expected = leading_heads(pruned, loadings)
    shares = _shares(opened)
    assert list(shares) == [head.name for head in expected]
    first = shares[expected[0].name].replace("\u00a0%", "")
    assert float(first) / 100 == pytest.approx(expected[0].share, abs=0.006)
    opened.locator(".leading .go").first.click()
    badges = opened.run("() => [...viewer.plots[0].lit().badges]")
    kept = pruned.kept_rows
    lit = {int(kept[row]): share for row, share in badges}
    truth = _carried(loadings, expected[0].name)
    assert lit
    for row, share in lit.items():
        assert share == pytest.approx(truth[row], rel=1e-4)
    strongest = max(truth, key=lambda row: truth[row])
    assert strongest in lit
    opened.page.keyboard.press("Escape")
    assert opened.run("() => viewer.plots[0].lit()") is None
    assert opened.errors == []


def test_a_page_without_edge_heads_says_what_brings_them_in(open_page: Open) -> None:
    leading = [LeadingHead(3, 1, 0.25, (Move(1, 3, float("nan")),)), LeadingHead(0, 2, 0.1, ())]
    export = ExportCommand("circuit-tracer runs export 'my run' one -o one", "one")
    opened = open_page(page(record(Shown(middle(), "x", leading=leading, export=export))))
    opened.page.keyboard.press("5")
    assert _shares(opened) == {"L3.H1": "25\u00a0%", "L0.H2": "10\u00a0%"}
    assert opened.locator(".leading .where").all_inner_texts() == ["“a” → “is”"]
    words = opened.locator(".command").inner_text()
    assert words == (
        "circuit-tracer runs export 'my run' one -o one && circuit-tracer heads one --save"
        " && circuit-tracer view one"
    )
    row = opened.run("() => viewer.plots[0].graph.ranked[0]")
    opened.run("row => viewer.select(viewer.plots[0], row)", row)
    assert opened.locator("#content .command").inner_text() == words
    plain = open_page(page(record(Shown(middle(), "x"))))
    plain.page.keyboard.press("5")
    assert "circuit-tracer heads GRAPH --save" in plain.locator("#content").inner_text()


def test_a_heads_share_of_nothing_is_no_number(open_page: Open) -> None:
    loadings = loadings_of(middle())
    empty = loadings.take(np.zeros(len(loadings), dtype=bool))
    opened = open_page(page(record(Shown(middle(), "x", heads=empty))))
    opened.page.keyboard.press("5")
    assert "--save" in opened.locator("#content").inner_text()
    assert opened.errors == []
