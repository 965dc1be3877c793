"""A page of Chromium that one test leaves is as new for the next."""

from __future__ import annotations

from pathlib import Path

from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import middle
from tests.render.conftest import Opened
from tests.render.left import STATE, features, work
from tests.render.tabs import Tab, Tabs


def test_a_page_taken_again_has_nothing_of_the_test_before(tabs: Tabs, tmp_path: Path) -> None:
    html = page(record(Shown(middle(), "middle")))
    file = tmp_path / "page.html"
    file.write_text(html, encoding="utf-8")

    def opened(tab: Tab, scheme: str) -> Opened:
        tab.show(width=1280, height=800, scheme=scheme)
        tab.page.goto(file.as_uri())
        found = Opened(tab.page, tab.requests, tab.errors)
        found.settled()
        return found

    first = tabs.take()
    before = opened(first, "dark")
    clean = before.run(STATE)
    before.run("() => console.error('logged')")
    before.page.mouse.move(*before.place_of(features()[0]))
    assert work(before) != clean
    tabs.give_back(first)
    again = tabs.take()
    after = opened(again, "light")
    assert again is first
    assert before.errors == ["logged"]
    assert after.errors == []
    assert after.run("() => localStorage.length + sessionStorage.length") == 0
    assert after.run(STATE) == clean
    assert after.run("() => viewer.plots[0].hovered") == -1
    assert not after.run("() => matchMedia('(prefers-color-scheme: dark)').matches")
    tabs.give_back(again)
