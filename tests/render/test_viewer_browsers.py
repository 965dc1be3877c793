"""What browsers differ in, in Chromium and in Firefox: drawing, pointer, keys, search, files,
and what is left and found again."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from functools import cache
from xml.etree import ElementTree

import pytest

from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from tests.render.builders import middle
from tests.render.conftest import PATIENCE, Open, Opened
from tests.render.left import assert_same, features, kept, work

COLOURS = """canvas => {
  const {width, height} = canvas = viewer.plots[0][canvas];
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height), seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(data.slice(i, i + 4).join());
  return seen.size;
}"""
PINNED = "() => [...viewer.plots[0].pinned]"


@cache
def _text() -> str:
    return page(record(Shown(middle(), "middle")))


@pytest.fixture
def opened(open_anywhere: Open) -> Iterator[Opened]:
    """The page, which has logged nothing at the end."""
    found = open_anywhere(_text())
    yield found
    found.run("0")
    assert found.errors == []


def _node(opened: Opened, rank: int) -> int:
    return int(opened.run("i => viewer.plots[0].graph.ranked[i]", rank))


def test_a_page_is_drawn_and_follows_the_pointer(opened: Opened) -> None:
    for canvas in ("under", "base"):
        assert opened.run(COLOURS, canvas) > 20  # marks, words, lines, each with its rims
    assert opened.run(COLOURS, "over") == 1  # nothing is lit up yet
    assert opened.run("document.getElementById('prompt').textContent") == "a banana is"
    assert opened.run("[innerWidth, innerHeight]") == [1280, 800]
    _pointed_at(opened)


def _pointed_at(opened: Opened) -> None:
    """A node lights up under the pointer, is selected by a click and pinned by two."""
    row = _node(opened, 1)
    x, y = opened.place_of(row)
    opened.page.mouse.move(x, y)
    opened.settled()
    assert not opened.run("document.getElementById('tip').hidden")
    assert opened.run("() => viewer.plots[0].lit().strong.has(viewer.plots[0].hovered)")
    opened.page.mouse.click(x, y)
    assert opened.run("() => viewer.plots[0].selected") == row
    name = "row => viewer.plots[0].graph.label[row] || viewer.plots[0].graph.name[row]"
    title = opened.run(name, row)
    assert opened.run("document.querySelector('#content h2').textContent") == title
    opened.page.mouse.move(5, 5)
    opened.page.mouse.dblclick(*opened.place_of(_node(opened, 3)))
    opened.settled()
    assert opened.run(PINNED) == [_node(opened, 3)]
    assert opened.run("document.getElementById('pin-count').textContent").strip() == "1"


def test_what_goes_wrong_is_seen_and_the_policy_lets_nothing_be_asked_for(
    open_anywhere: Open,
) -> None:
    found = open_anywhere(_text())
    found.run("() => console.error('first')")
    found.run("() => { setTimeout(() => { throw new Error('second'); }); }")
    found.painted()
    found.painted()
    found.run("0")
    assert len(found.errors) == 2
    assert "first" in found.errors[0]
    assert "second" in found.errors[1]
    refused = "() => fetch('http://127.0.0.1:9/').then(() => '', error => error.name)"
    assert found.run(refused) == "TypeError"
    end = time.monotonic() + PATIENCE  # the browser says so when it has time
    while not any("Content" in error for error in found.errors):
        assert time.monotonic() < end, found.errors
        found.painted()


def test_a_box_is_dragged_files_leave_and_the_page_turns_dark(opened: Opened) -> None:
    opened.run("() => { const p = viewer.plots[0]; viewer.pinAll(p, p.graph.ranked.slice(0, 4)); }")
    opened.settled()
    opened.painted()
    where = (
        "() => { const box = document.querySelector('#diagram .box:not(.end)');"
        " const r = box.getBoundingClientRect();"
        " return [(r.left + r.right) / 2, (r.top + r.bottom) / 2]; }"
    )
    x, y = opened.run(where)
    opened.page.mouse.move(x, y)
    opened.page.mouse.down()
    opened.page.mouse.move(x + 20, y + 6)
    opened.page.mouse.move(x + 40, y + 12)
    opened.page.mouse.up()
    opened.painted()
    assert opened.run(where) == pytest.approx([x + 40, y + 12], abs=3)
    ends = opened.run("() => viewer.diagram.nodes.map(n => [n.isToken, n.isTarget])")
    assert [True, False] in ends
    assert [False, True] in ends
    _files_leave(opened)
    _turns_dark(opened)


def test_keys_walk_pin_search_and_explain(opened: Opened) -> None:
    press = opened.page.keyboard.press
    selected = "() => viewer.plots[0].selected"
    press("ArrowDown")
    target = opened.run(selected)
    assert opened.run("row => viewer.plots[0].graph.kind[row]", target) == 3
    press("i")
    source = opened.run(selected)
    assert opened.run(
        "([source, target]) => { const g = viewer.plots[0].graph; return [...g.source.keys()].some("
        "e => g.source[e] === source && g.target[e] === target); }", [source, target],
    )  # fmt: skip
    press("Enter")
    assert opened.run(PINNED) == [source]
    press("Enter")
    assert opened.run(PINNED) == []
    press("?")
    assert opened.run("document.getElementById('help').open")
    press("Escape")
    assert not opened.run("document.getElementById('help').open")
    press("/")
    opened.page.keyboard.type("fruit")
    assert "node" in opened.run("document.querySelector('#found .count').textContent")
    press("Enter")
    opened.settled()
    assert opened.run("document.querySelector('#content h2').textContent") == "fruit"
    press("Escape")
    press("Escape")
    assert opened.run(selected) == -1


def _files_leave(opened: Opened) -> None:
    view = ElementTree.fromstring(opened.exported("view"))
    assert "banana" in "".join(view.itertext())
    diagram = ElementTree.fromstring(opened.exported("diagram"))
    assert len(diagram.findall(".//{*}rect")) > 3
    png = opened.exported("diagram-png")
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    shape = [float(diagram.attrib[side]) for side in ("width", "height")]
    assert (width, height) == pytest.approx([3 * side for side in shape], abs=2)
    pins = json.loads(opened.exported("pins"))["qParams"]["pinnedIds"]
    ids = opened.run("() => [...viewer.plots[0].pinned].map(row => viewer.plots[0].graph.id[row])")
    assert sorted(pins) == sorted(ids)


def _turns_dark(opened: Opened) -> None:
    theme = "document.documentElement.dataset.theme"
    was_dark = opened.run(theme) == "dark"
    opened.run("() => document.getElementById('theme').click()")
    opened.settled()
    assert opened.run(theme) == ("light" if was_dark else "dark")
    colour = "() => [...viewer.plots[0].under.getContext('2d').getImageData(2, 2, 1, 1).data]"
    assert (sum(opened.run(colour)[:3]) > 3 * 200) == was_dark


def test_all_marks_and_the_view_survive_a_reload_and_are_exported(opened: Opened) -> None:
    state = work(opened)
    left = json.loads(state)["plots"][0]
    assert all(left[key] for key in ("pins", "groups", "names", "notes", "places"))
    assert left["zoom"][0] == 2.5
    assert len(opened.run("location.hash")) < 2000
    for with_link in (True, False):
        if not with_link:  # by storage alone
            opened.run("() => { viewer.memory.save = () => {}; location.hash = ''; }")
        opened.page.reload()
        opened.settled()
        assert_same(kept(opened), state)
    assert opened.run("document.getElementById('search').value") == "fruit"
    assert opened.run("() => viewer.plots[0].matches.length") > 0
    assert opened.run("document.querySelectorAll('#diagram .box.grouped').length") == 1
    tab = "document.querySelector('[data-tab=pins]').getAttribute('aria-selected')"
    assert opened.run(tab) == "true"
    assert opened.run("document.getElementById('pin-count').textContent").strip() == "4"
    texts = opened.run("document.querySelector('#content .texts').textContent")
    assert "what ripens" in texts
    assert "seen <b>twice</b>" in texts
    row = features()[2]  # named and noted
    assert opened.run("row => viewer.plots[0].graph.label[row]", row) == "what ripens"
    file = json.loads(opened.exported("pins"))
    assert [name for _, name in file["qParams"]["clerps"]] == ["what ripens"]
    node_id = opened.run("row => viewer.plots[0].graph.id[row]", row)
    assert file["metadata"]["circuit_tracer_cli"]["notes"] == {node_id: "seen <b>twice</b>"}
