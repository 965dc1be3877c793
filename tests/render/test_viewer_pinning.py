"""Pinning leaves what is under the pointer where it is, however one pins."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import large, middle
from tests.render.conftest import Open, Opened

SIZES = ((1280, 800), (420, 900))
UNDER = """([x, y]) => {
  const one = document.elementFromPoint(x, y), box = one.getBoundingClientRect();
  const name = e => e ? e.tagName + " " + e.id + " < " + name(e.parentElement) : "";
  const { tx, ty, k, width, height, place } = viewer.plots[0];
  const plot = [tx, ty, k, width, height, ...place.x, ...place.y];
  return [name(one), box.left, box.top, scrollX, scrollY, plot];
}"""


def _opened(open_page: Open, size: tuple[int, int]) -> Opened:
    text = page(record(Shown(middle(), "graph")))
    return open_page(text, width=size[0], height=size[1])


def _ranked(opened: Opened, i: int) -> int:
    return int(opened.run("i => viewer.plots[0].graph.ranked[i]", i))


def _is_unmoved(opened: Opened, x: float, y: float, act: Callable[[], None], pins: int) -> None:
    """The same thing stands at the same place before and after; so many nodes are pinned then."""
    opened.page.mouse.move(x, y)
    opened.settled()
    before = opened.run(UNDER, [x, y])
    act()
    opened.settled()
    opened.painted()
    assert opened.run("() => viewer.plots[0].pinned.size") == pins
    after = opened.run(UNDER, [x, y])
    assert after[0] == before[0]
    assert after[1:5] == pytest.approx(before[1:5], abs=0.5)
    assert after[5] == before[5]  # the plot's view and all its nodes


@pytest.mark.parametrize("size", SIZES)
def test_pinning_in_the_plot_moves_nothing(open_page: Open, size: tuple[int, int]) -> None:
    opened = _opened(open_page, size)
    mouse, keyboard = opened.page.mouse, opened.page.keyboard
    token = int(opened.run("() => viewer.plots[0].graph.kind.indexOf(0)"))
    for pins, row in enumerate((_ranked(opened, 2), token), 1):
        x, y = opened.place_of(row)
        _is_unmoved(opened, x, y, lambda x=x, y=y: mouse.dblclick(x, y), pins)
    x, y = opened.place_of(_ranked(opened, 5))
    keyboard.down("Shift")
    _is_unmoved(opened, x, y, lambda: mouse.click(x, y), 3)
    keyboard.up("Shift")
    opened.click(_ranked(opened, 6))
    _is_unmoved(opened, x, y, lambda: keyboard.press("Enter"), 4)
    _is_unmoved(opened, x, y, lambda: keyboard.press("Enter"), 3)
    assert opened.errors == []


def test_a_node_at_the_rim_of_a_zoomed_view_is_pinned_where_it_is(open_page: Open) -> None:
    opened = _opened(open_page, SIZES[0])
    row = _ranked(opened, 0)
    opened.run("row => { const p = viewer.plots[0]; p.zoom(3); p.tx += 44 - p.sx(p.place.x[row]);"
               " p.ty += 9 - p.sy(p.place.y[row]); p.paint(); }", row)  # fmt: skip
    opened.settled()
    x, y = opened.place_of(row)
    _is_unmoved(opened, x, y, lambda: opened.page.mouse.dblclick(x, y), 1)


@pytest.mark.parametrize("size", SIZES)
def test_pinning_in_the_panel_moves_nothing(open_page: Open, size: tuple[int, int]) -> None:
    opened = _opened(open_page, size)
    mouse = opened.page.mouse

    def press(selector: str, pins: int, at: int = 0) -> None:
        opened.settled()
        target = opened.locator(selector).nth(at)
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        _is_unmoved(opened, x, y, lambda: mouse.click(x, y), pins)

    select = "i => { const p = viewer.plots[0]; viewer.select(p, p.graph.ranked[i], true); }"
    for i in range(3):
        opened.run(select, i)
        press(".node-head > button", i + 1)
        press(".node-head > button", i)
        press(".node-head > button", i + 1)
    opened.locator("[data-tab=pins]").click()
    press(".pins .link", 2)  # the list keeps the node that was unpinned
    press(".pins .link", 1, at=1)
    press(".pins .link", 2, at=1)
    opened.locator("[data-tab=routes]").click()
    opened.locator("[data-tab=pins]").click()
    assert opened.locator(".pins .link").count() == 2  # until the tab is left
    opened.locator("[data-tab=routes]").click()
    opened.locator(".routes .go").nth(4).click()
    rows = opened.run("() => viewer.plots[0].route.rows")
    pinned = set(opened.run("() => [...viewer.plots[0].pinned]"))
    press("button.pin", len(pinned | set(rows)))
    assert opened.errors == []


def test_reading_the_panel_goes_on_while_the_keyboard_pins(open_page: Open) -> None:
    opened = open_page(page(record(Shown(large(), "graph"))), height=600)
    opened.click(_ranked(opened, 0))
    opened.run("() => { document.getElementById('content').scrollTop = 150; }")
    box = opened.locator("#content").bounding_box()
    x, y = box["x"] + 150, box["y"] + 200
    for pins in (1, 0):
        _is_unmoved(opened, x, y, lambda: opened.page.keyboard.press("Enter"), pins)
    assert opened.run("() => document.getElementById('content').scrollTop") == 150
    opened.run("() => { document.querySelector('.node-head > button').focus(); }")
    opened.page.keyboard.press("Enter")
    opened.settled()
    assert opened.run("() => document.activeElement.textContent") == "Unpin"
