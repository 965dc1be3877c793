"""The viewer under fingers and a trackpad: real touch events of a real browser."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import middle
from tests.render.conftest import Open, Opened

DESK, PHONE = (1280, 800), (390, 844)


@cache
def _page() -> str:
    return page(record(Shown(middle(), "middle")))


def _touched(open_page: Open, size: tuple[int, int]) -> Opened:
    return open_page(_page(), width=size[0], height=size[1], touch=True)


def _middle_of(opened: Opened) -> tuple[float, float]:
    x, y = opened.run(
        "() => { const b = viewer.plots[0].over.getBoundingClientRect();"
        " return [b.left + b.width / 2, b.top + b.height / 2]; }"
    )
    return float(x), float(y)


def _under(opened: Opened, x: float, y: float) -> list[float]:
    """The place of the drawing that is at a place of the window."""
    found = opened.run(
        "([x, y]) => { const p = viewer.plots[0], b = p.over.getBoundingClientRect();"
        " return [(x - b.left - p.tx) / p.k, (y - b.top - p.ty) / p.k]; }",
        [x, y],
    )
    return [float(one) for one in found]


def _view(opened: Opened) -> Any:
    opened.settled()
    return opened.run("() => { const p = viewer.plots[0]; return [p.k, p.tx, p.ty]; }")


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_two_fingers_zoom_around_their_middle(open_page: Open, size: tuple[int, int]) -> None:
    opened = _touched(open_page, size)
    x, y = _middle_of(opened)
    under_finger = _under(opened, x, y)
    opened.fingers(
        [(x - 40, y - 30)],
        [(x - 40, y - 30), (x + 40, y + 30)],
        [(x - 60, y - 45), (x + 60, y + 45)],
        [(x - 70, y - 80), (x + 90, y + 40)],  # twice as far apart; the middle moved by (10, -20)
    )
    assert _view(opened)[0] == pytest.approx(2.0)
    assert _under(opened, x + 10, y - 20) == pytest.approx(under_finger, abs=1e-6)
    assert opened.run("() => viewer.plots[0].selected") == -1  # no click at its end
    opened.fingers([(x - 80, y), (x + 80, y)], [(x - 40, y), (x + 40, y)])
    assert _view(opened)[0] == pytest.approx(1.0)
    assert not opened.errors


def test_one_finger_pans(open_page: Open) -> None:
    opened = _touched(open_page, DESK)
    x, y = _middle_of(opened)
    opened.fingers([(x, y)], [(x + 20, y + 20)], [(x + 60, y - 50)])
    assert _view(opened) == [1, 60, -50]
    assert opened.run("() => viewer.plots[0].selected") == -1


def test_on_a_phone_one_finger_scrolls_the_page_until_the_view_is_zoomed(open_page: Open) -> None:
    opened = _touched(open_page, PHONE)
    touch = "() => getComputedStyle(viewer.plots[0].over).touchAction"
    assert opened.run(touch) == "pan-y"
    x, y = _middle_of(opened)
    opened.run("() => { addEventListener('scrollend', () => { window.cameToRest = true; }); }")
    opened.fingers([(x, y)], [(x, y - 30)], [(x, y - 60)])
    opened.until("window.cameToRest && scrollY > 0")  # it may roll on after the finger
    assert _view(opened) == [1, 0, 0]
    opened.run("() => { scrollTo(0, 0); viewer.plots[0].zoom(2); }")
    opened.painted()  # only then does the browser know what the next touch is for
    assert opened.run(touch) == "none"
    k, tx, ty = _view(opened)
    x, y = _middle_of(opened)
    opened.fingers([(x, y)], [(x, y - 30)], [(x, y - 60)])
    assert _view(opened) == pytest.approx([k, tx, ty - 60], abs=1)  # a touch has whole pixels
    opened.locator("[data-zoom=fit]").click()
    assert opened.run(touch) == "pan-y"


def test_a_tap_near_a_node_clicks_it_and_no_tip_is_left(open_page: Open) -> None:
    opened = _touched(open_page, PHONE)
    row = opened.run("() => viewer.plots[0].graph.ranked[0]")
    x, y = opened.place_of(row)
    opened.page.touchscreen.tap(x, y)
    assert opened.run("() => viewer.plots[0].selected") == row
    assert opened.locator("#tip").is_hidden()
    assert opened.locator("[data-tab=node]").get_attribute("aria-selected") == "true"


def test_a_trackpads_pinch_zooms_around_the_pointer(open_page: Open) -> None:
    opened = open_page(_page(), width=PHONE[0], height=PHONE[1])
    x, y = (float(round(one)) for one in _middle_of(opened))  # wheels have whole pixels
    under_finger = _under(opened, x, y)
    wheel = (
        "([x, y, deltaY, ctrlKey]) => viewer.plots[0].over.dispatchEvent(new WheelEvent('wheel',"
        " { clientX: x, clientY: y, deltaY, ctrlKey, bubbles: true, cancelable: true }))"
    )
    assert opened.run(wheel, [x, y, -10, False])  # not taken: it scrolls the page
    assert _view(opened)[0] == 1
    assert not opened.run(wheel, [x, y, -10, True])  # taken: the browser does not zoom the page
    assert _view(opened)[0] == pytest.approx(2.718281828**0.1, rel=1e-6)
    assert _under(opened, x, y) == pytest.approx(under_finger, abs=1e-6)
    assert not opened.run(wheel, [x, y, -400, True])  # a notch of a mouse wheel is no leap
    assert _view(opened)[0] < 2
