"""How much the viewer does for a step: what is laid out, painted and built (no clock)."""

from __future__ import annotations

from functools import cache
from typing import Any

from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import large
from tests.render.conftest import Open, Opened

COUNTED = """() => {
  const plot = viewer.plots[0], count = window.count = {};
  const wrap = (object, name) => {
    const method = object[name].bind(object);
    count[name] = 0;
    object[name] = (...given) => { count[name]++; return method(...given); };
  };
  for (const name of ["relayout", "repaint"]) wrap(plot, name);
  wrap(viewer, "showTab");
  wrap(viewer.memory, "save");
  count.changes = 0;
  const watched = ["controls", "content", "tabs", "diagram"].map(id => document.getElementById(id));
  const everything = { subtree: true, childList: true, attributes: true, characterData: true };
  const observer = new MutationObserver(seen => { count.changes += seen.length; });
  for (const one of watched) observer.observe(one, everything);
}"""
"""From now on, `count` has how often each was called, and changes of the page beside the plot."""
SLIDE = """shares => {
  const slider = document.getElementById("influence");
  for (const share of shares) {
    slider.value = share * slider.max;
    slider.dispatchEvent(new Event("input"));
  }
}"""
FRAME = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
  const plot = viewer.plots[0];
  done({ ...count, edges: plot.edgesLeft, labels: plot.labels.length, isMoving: plot.moving });
})))"""
"""What was counted once a frame was painted."""


@cache
def _page() -> str:
    return page(record(Shown(large(), "large")))


def _opened(open_page: Open, rank: int | None = None) -> Opened:
    """The page, with the node of a rank selected, from where on work is counted."""
    opened = open_page(_page())
    opened.run("() => viewer.setEdges(100)")
    if rank is not None:
        opened.run("i => { const p = viewer.plots[0]; viewer.select(p, p.graph.ranked[i]); }", rank)
    opened.settled()
    opened.run(COUNTED)
    return opened


FRAMES = """() => new Promise(done => {
  const seen = [], names = ["relayout", "repaint", "paintLit", "showTab", "draw"];
  const tick = () => {
    seen.push(names.filter(name => count[name]));
    for (const name of names) count[name] = 0;
    if (seen.length < 3) requestAnimationFrame(tick); else done(seen);
  };
  const plot = viewer.plots[0], lit = plot.lit.bind(plot);
  plot.lit = () => { count.paintLit++; return lit(); };
  const draw = viewer.diagram.draw.bind(viewer.diagram);
  viewer.diagram.draw = () => { count.draw++; draw(); };
  count.paintLit = count.draw = 0;
  ACT;
  requestAnimationFrame(tick);
})"""
"""What is done in each of the three frames after ACT."""


def _frame(opened: Opened) -> dict[str, Any]:
    return dict(opened.run(FRAME))


def test_the_slider_lays_out_once_a_frame_and_paints_the_rest_when_it_rests(
    open_page: Open,
) -> None:
    opened = _opened(open_page, rank=3)
    opened.run(
        "() => { const plot = viewer.plots[0], moved = plot.moved.bind(plot);"
        " plot.moved = () => { moved(); clearTimeout(plot.settling); }; }"
    )  # it rests when the test says so
    opened.run(SLIDE, [0.9, 0.95, 0.97, 0.99])
    found = _frame(opened)
    assert found["relayout"] == 1
    assert found["repaint"] == 1
    assert found["showTab"] == 0  # the panel stays, and what is new in the plot is marked there
    assert 0 < found["edges"] <= 120
    assert found["labels"] == 0
    assert found["isMoving"]
    away = (
        "() => [...document.querySelectorAll('#content li[data-row]')].map(li =>"
        " [li.classList.contains('away'), !viewer.plots[0].place.shown[li.dataset.row]])"
    )
    marks = opened.run(away)
    assert len(marks) > 4
    assert all(is_marked == is_away for is_marked, is_away in marks)
    opened.run("() => { const p = viewer.plots[0]; p.moving = false; p.paint(); }")
    opened.settled()
    found = _frame(opened)
    assert found["relayout"] == 1
    assert found["edges"] == opened.run("() => viewer.plots[0].edgeLimit") > 120
    assert found["labels"] > 10


def test_what_takes_long_has_a_frame_of_its_own(open_page: Open) -> None:
    def frames(act: str) -> list[list[str]]:
        opened = _opened(open_page, rank=3)
        opened.run("() => { const p = viewer.plots[0]; viewer.togglePin(p, p.selected); }")
        opened.settled()
        opened.painted()  # the first pin makes room where the preview's hint was
        return list(opened.run(FRAMES.replace("ACT", act)))

    assert frames("viewer.select(plot, plot.graph.ranked[5])") == [["paintLit"], ["showTab"], []]
    assert frames("viewer.togglePin(plot, plot.graph.ranked[5])") == [["paintLit"], ["draw"], []]
    slide = "viewer.setThreshold(0.97); clearTimeout(plot.settling)"
    assert frames(slide) == [["relayout"], ["repaint", "paintLit"], []]


def test_pointing_at_nodes_changes_nothing_beside_the_plot(open_page: Open) -> None:
    opened = _opened(open_page)
    for i in range(4):
        opened.run("i => { const p = viewer.plots[0]; viewer.hover(p, p.graph.ranked[i]); }", i)
        found = _frame(opened)
    assert found["changes"] == found["relayout"] == found["repaint"] == 0


def test_selecting_repaints_what_is_lit_up_alone_and_lists_ten_edges(open_page: Open) -> None:
    opened = _opened(open_page, rank=0)
    degree = (
        "way => { const { graph, selected } = viewer.plots[0], { start } = graph[way];"
        " return start[selected + 1] - start[selected]; }"
    )
    opened.run("() => { const p = viewer.plots[0]; viewer.select(p, p.graph.ranked[5]); }")
    found = _frame(opened)
    assert found["relayout"] == found["repaint"] == 0
    assert found["showTab"] == 1
    for way, edges in (("inputs", "into"), ("outputs", "outOf")):
        items = opened.locator(f"section.{way} li")
        whole = opened.run(degree, edges)
        assert items.count() == min(10, whole)
        if whole > 10:
            opened.locator(f"section.{way} button.link", has_text="show all").click()
            assert items.count() == whole


def test_pinning_draws_the_diagram_and_leaves_the_panel(open_page: Open) -> None:
    opened = _opened(open_page, rank=2)
    opened.run("() => { window.heading = document.querySelector('#content h2'); }")
    button = opened.locator(".node-head > button")
    for pins, words, pressed in ((1, "Unpin", "true"), (0, "Pin", "false")):
        opened.run("() => { const p = viewer.plots[0]; viewer.togglePin(p, p.selected); }")
        found = _frame(opened)
        assert found["relayout"] == found["repaint"] == found["showTab"] == 0
        assert opened.run("() => viewer.plots[0].pinned.size") == pins
        assert button.inner_text() == words
        assert button.get_attribute("aria-pressed") == pressed
    assert opened.run("() => window.heading.isConnected")


def test_a_page_is_saved_once_nothing_more_is_done(open_page: Open) -> None:
    opened = _opened(open_page)
    opened.run(
        "() => new Promise(done => { let i = 0; const tick = () => { viewer.memory.later();"
        " if (i++ < 30) requestAnimationFrame(tick); else done(); }; tick(); })"
    )
    opened.until("count.save > 0")
    assert opened.run("() => count.save") == 1
