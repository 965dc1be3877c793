"""The route diagram: from tokens to targets, in all of its room, without overlaps or margins."""

from __future__ import annotations

import base64
from typing import Any

import networkx as nx
import pytest

from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import hostile, large, middle, small
from tests.render.conftest import Open, Opened

SIZES = ((1280, 800), (1920, 1080), (900, 700), (420, 900), (760, 1300))
EDGES = "viewer.diagram.edges.map(e => [e.source, e.target, Boolean(e.isIndirect)])"
NODES = (
    "viewer.diagram.nodes.map(n => ({rows: n.rows, isEnd: Boolean(n.isEnd),"
    " kind: viewer.plots[0].graph.kind[n.rows[0]], x: n.x, width: n.width}))"
)
RECTANGLES = """() => {
  const cut = one => {
    const { left, top, right, bottom } = one.getBoundingClientRect();
    return [left, top, right, bottom];
  };
  const all = (selector) => [...document.querySelectorAll("#diagram " + selector)].map(cut);
  return {boxes: all(".box rect:not(.stacked-under)"), shares: all(".link-share"),
          pane: cut(document.querySelector("#drawer .scroll"))};
}"""


def _opened(open_page: Open, pruned: PrunedGraph) -> Opened:
    return open_page(page(record(Shown(pruned, "graph"))))


def _pin_features(opened: Opened, count: int, *, start: int = 0) -> None:
    """Pin so many features and errors, no token and no target."""
    opened.run(
        "([start, n]) => { const p = viewer.plots[0]; viewer.unpinAll(p);"
        " viewer.pinAll(p, p.graph.ranked.slice(start, start + n)); }",
        [start, count],
    )
    opened.settled()


def _overlap(one: list[float], other: list[float]) -> bool:
    """Whether two rectangles share more than the hair of a rounding."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    return across > 0.5 and min(one[3], other[3]) - max(one[1], other[1]) > 0.5


@pytest.mark.parametrize("make", [small, middle, large])
def test_routes_through_pins_begin_at_tokens_and_end_at_targets(open_page: Open, make: Any) -> None:
    pruned = make()
    opened = _opened(open_page, pruned)
    source, target, kinds = opened.run(
        "() => { const g = viewer.plots[0].graph;"
        " return [[...g.source], [...g.target], [...g.kind]]; }"
    )
    graph = nx.DiGraph(zip(source, target, strict=True))
    for start, count in ((0, 1), (0, 5), (9, 3)):
        _pin_features(opened, count, start=start)
        nodes, edges = opened.run(f"() => [{NODES}, {EDGES}]")
        drawn = nx.DiGraph([edge[:2] for edge in edges])
        assert sum(not node["isEnd"] for node in nodes) == count
        assert {node["kind"] for node in nodes if node["isEnd"]} <= {0, 3}
        for i, node in enumerate(nodes):
            row = node["rows"][0]
            if node["isEnd"]:
                continue
            for way, kind in ((nx.ancestors, 0), (nx.descendants, 3)):
                # An error has no inputs; whatever a token reaches is reached in the diagram, too.
                expected = any(kinds[end] == kind for end in way(graph, row))
                assert expected == any(nodes[j]["kind"] == kind for j in way(drawn, i))
        for source, target, is_indirect in edges:
            ends = nodes[source]["rows"][0], nodes[target]["rows"][0]
            assert graph.has_edge(*ends) != is_indirect
            assert nx.has_path(graph, *ends)
            # Tokens at the left, targets at the right, and no route runs back.
            left, right = nodes[source], nodes[target]
            assert left["x"] + left["width"] / 2 < right["x"] - right["width"] / 2 or (
                left["kind"] != 0 and right["kind"] != 3 and left["x"] == right["x"]
            )


@pytest.mark.parametrize(("make", "count"), [(small, 4), (middle, 9), (large, 22), (hostile, 8)])
def test_the_diagram_fills_its_room_and_nothing_in_it_overlaps(
    open_page: Open, make: Any, count: int
) -> None:
    opened = _opened(open_page, make())
    for width, height in SIZES:
        opened.page.set_viewport_size({"width": width, "height": height})
        opened.painted()
        for pinned in (0, count):
            _pin_features(opened, pinned)
            found = opened.run(RECTANGLES)
            boxes, shares, pane = found["boxes"], found["shares"], found["pane"]
            assert len(boxes) >= 3
            assert shares
            # A line of text is higher than its letters: four pixels of air do not count.
            drawn = [*boxes, *([x0, y0 + 2, x1, y1 - 2] for x0, y0, x1, y1 in shares)]
            for i, one in enumerate(drawn):
                assert not any(_overlap(one, other) for other in drawn[i + 1 :])
            wide = max(one[2] for one in drawn) - min(one[0] for one in drawn)
            high = max(one[3] for one in drawn) - min(one[1] for one in drawn)
            assert wide >= 0.9 * (pane[2] - pane[0])
            assert high >= 0.6 * (pane[3] - pane[1])
    assert opened.errors == []


def test_before_anything_is_pinned_the_strongest_routes_are_drawn(open_page: Open) -> None:
    opened = _opened(open_page, middle())
    assert "strongest routes" in opened.locator("#diagram-hint").inner_text()
    routes = opened.run(
        "() => viewer.plots[0].graph.routes.filter(r => r.rows.length > 2).map(r => r.rows)"
    )
    drawn = opened.run("() => viewer.diagram.nodes.flatMap(n => n.rows)")
    assert set(routes[0]) <= set(drawn)
    assert opened.run("() => viewer.plots[0].pinned.size") == 0
    _pin_features(opened, 1)
    assert opened.locator("#diagram-hint").inner_text() == ""
    assert opened.locator("#diagram .box:not(.end)").count() == 1


def test_the_diagram_folds_away_and_gives_the_plot_its_room(open_page: Open) -> None:
    opened = _opened(open_page, middle())
    before = opened.run("() => viewer.plots[0].height")
    opened.locator("#fold").click()
    opened.until(f"viewer.plots[0].height > {before} + 100")
    assert opened.locator("#fold").get_attribute("aria-expanded") == "false"
    assert not opened.locator("#diagram").is_visible()
    opened.locator("#fold").click()
    opened.until(f"viewer.plots[0].height === {before}")
    assert opened.locator("#diagram .box").count() >= 3


MARGINS = """async ([bytes, type]) => {
  const blob = new Blob([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], {type});
  const image = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const {width, height, data} = context.getImageData(0, 0, image.width, image.height);
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const at = 4 * (y * width + x);
    if (data[at] > 250 && data[at + 1] > 250 && data[at + 2] > 250) continue;
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x), Math.max(bottom, y)];
  }
  return [width, height, left, top, width - 1 - right, height - 1 - bottom];
}"""
EXTENT = """text => {
  const read = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  const svg = document.importNode(read, true);
  document.body.append(svg);
  svg.querySelector("rect").remove();  // the paper
  const {x, y, width, height} = svg.getBBox(), view = svg.viewBox.baseVal;
  svg.remove();
  const [right, bottom] = [view.x + view.width, view.y + view.height];
  return [x - view.x, y - view.y, right - x - width, bottom - y - height];
}"""


@pytest.mark.parametrize(("make", "count"), [(small, 1), (middle, 7)])
def test_the_exported_diagram_has_no_blank_margins(open_page: Open, make: Any, count: int) -> None:
    opened = _opened(open_page, make())
    _pin_features(opened, count)
    opened.run("() => viewer.diagram.moveTo(viewer.diagram.nodes[0], 500, 20)")
    text = opened.exported("diagram").decode()
    assert all(0 < margin <= 7 for margin in opened.run(EXTENT, text))
    png = opened.exported("diagram-png")
    bytes_ = base64.b64encode(png).decode()
    width, height, *margins = opened.run(MARGINS, [bytes_, "image/png"])
    assert width > 600
    assert height > 60
    assert all(0 < margin <= 7 * 3 for margin in margins)  # three pixels a unit
    assert opened.errors == []


def test_selecting_marks_a_box_and_draws_no_diagram_anew(open_page: Open) -> None:
    opened = _opened(open_page, middle())
    _pin_features(opened, 3)
    opened.run("() => { window.first = document.querySelector('#diagram .box'); }")
    opened.run("() => viewer.select(viewer.plots[0], viewer.diagram.nodes[0].rows[0])")
    assert opened.run("() => first.isConnected && first.classList.contains('on')")
    opened.run("() => viewer.letGo()")
    assert opened.run("() => first.isConnected && !first.classList.contains('on')")
