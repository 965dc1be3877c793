"""What is done in the viewer survives: reloads, links, storage; names and notes go out and in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import circuit_tracer as ct
from circuit_tracer.graphs.files.exchange import (
    exchange_id,
    named_rows,
    to_exchange,
    write_exchange,
)
from circuit_tracer.graphs.files.q_params import notes_of, pins_of, with_pins
from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import Shown, record
from circuit_tracer.workbench.folders import export_graph
from circuit_tracer.workbench.index_pages import Pages
from circuit_tracer.workbench.serving import serving
from circuit_tracer.workbench.viewing import shown_at
from tests.render.builders import loadings_of, middle, small
from tests.render.conftest import Open
from tests.render.left import STATE, assert_same, features, kept, work


@cache
def _page() -> str:
    return page(record(Shown(middle(), "middle", heads=loadings_of(middle()))))


def test_a_link_to_a_served_page_opens_the_same_in_another_browser(open_page: Open) -> None:
    with serving(Pages(_page(), {})) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            opened = open_page(server.address, alone=True)
            state = work(opened)
            opened.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            opened.locator("#copy-link").click()
            opened.until("!document.getElementById('notice').hidden")
            assert "Copied" in opened.locator("#notice").inner_text()
            link = str(opened.run("() => navigator.clipboard.readText()"))
            assert link.startswith(server.address + "#view=")
            other = open_page(link, width=1500, height=900)  # a profile of its own
            assert_same(kept(other), state)
            # The same part of the graph is in view in a window of another size.
            middles = [
                one.run("() => viewer.plots[0].framing.map(x => Math.round(1000 * x))")
                for one in (opened, other)
            ]
            assert middles[0] == middles[1]
            assert opened.errors + other.errors == []
        finally:
            server.shutdown()


def test_a_link_is_shown_for_copying_where_the_clipboard_is_denied(open_page: Open) -> None:
    opened = open_page(_page())
    opened.run("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    work(opened)
    opened.locator("#copy-link").click()
    field = opened.locator("#notice input")
    assert field.input_value() == opened.run("location.href")
    assert opened.run("() => document.activeElement.selectionEnd") == len(field.input_value())


def test_a_link_comes_before_what_is_stored_and_that_is_offered(open_page: Open) -> None:
    opened = open_page(_page())
    first, second = features()[:2]
    bare = str(opened.run("location.href"))
    opened.run("row => viewer.togglePin(viewer.plots[0], row)", first)
    kept(opened)
    link = str(opened.run("location.href"))
    opened.run("() => viewer.unpinAll(viewer.plots[0])")
    opened.run("row => viewer.togglePin(viewer.plots[0], row)", second)
    kept(opened)
    pinned = "() => [...viewer.plots[0].pinned]"
    opened.page.goto("about:blank")
    opened.page.goto(link)
    opened.settled()
    assert opened.run(pinned) == [first]
    opened.locator("#notice button", has_text="Show that").click()
    kept(opened)
    assert opened.run(pinned) == [second]
    # Pasting another link into the address of an open page is followed, too.
    opened.page.goto(link)
    opened.until(f"viewer.plots[0].pinned.has({first})")
    assert opened.run(pinned) == [first]
    opened.page.goto("about:blank")
    opened.page.goto(bare)  # nothing was changed since: what was stored is still there
    opened.settled()
    assert opened.run(pinned) == [second]


DENIED = (
    "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no',"
    " 'SecurityError'); } });"
)
FULL = (
    "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
)
NO_ADDRESS = "history.replaceState = () => { throw new DOMException('no', 'SecurityError'); };"


@pytest.mark.parametrize("broken", [DENIED, FULL, NO_ADDRESS, DENIED + NO_ADDRESS])
def test_what_the_browser_denies_breaks_nothing(open_page: Open, broken: str) -> None:
    opened = open_page(_page(), script=broken)
    state = work(opened)
    opened.page.reload()
    opened.settled()
    if broken == DENIED + NO_ADDRESS:
        assert kept(opened) != state
    else:
        assert_same(kept(opened), state)
    assert opened.errors == []


def _link(state: object) -> str:
    return "#view=" + base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")


def _state(**plot: Any) -> Callable[[str], object]:
    return lambda identity: {"v": 1, "of": identity, "plots": [plot]}


BAD = [
    "#top", "#view=%%%", "#view=e30", "#view=bnVsbA", "#view=" + "A" * 5000,
    lambda _: {"v": 1, "of": "another graph", "plots": [None]},
    lambda identity: {"v": 2, "of": identity, "plots": [None]},
    lambda identity: {"v": 1, "of": identity, "plots": []},
    lambda identity: {"v": 1, "of": identity, "plots": [None], "page": {"tab": "constructor"}},
    lambda identity: {"v": 1, "of": identity, "plots": [None], "page": {"active": 1}},
    lambda identity: {"v": 1, "of": identity, "plots": [None], "page": {"folded": 1}},
    _state(pins=[10_000]), _state(pins=[0.5]), _state(pins="0"), _state(groups=[["g", -1]]),
    _state(names=[[0, 7]]), _state(names=[[0, "the token is no feature"]]), _state(notes=7),
    _state(places=[["0", 1e9, 0]]), _state(zoom=[0, 0, 0]), _state(zoom=None),
    _state(share="1"), _state(power=9), _state(route=999), _state(head="L99.H0"),
    _state(selected=None), _state(shown=[None]),
]  # fmt: skip


def test_a_bad_old_or_foreign_fragment_is_ignored_with_one_message(open_page: Open) -> None:
    opened = open_page(_page())
    clean = opened.run(STATE)
    identity = str(opened.run("() => viewer.memory.graph"))
    notice = opened.locator("#notice p")
    for make in BAD:
        fragment = make if isinstance(make, str) else _link(make(identity))
        opened.run("words => { viewer.notify(''); location.hash = words; }", fragment)
        opened.until("!document.getElementById('notice').hidden")
        assert notice.inner_text().endswith("it was left out."), fragment
        assert opened.run(STATE) == clean, fragment
    opened.page.reload()  # the last of them, in the address from the start
    opened.settled()
    assert notice.inner_text().endswith("it was left out.")
    assert kept(opened) == clean
    assert opened.errors == []


def test_damaged_storage_is_forgotten(open_page: Open) -> None:
    opened = open_page(_page())
    clean = opened.run(STATE)
    opened.run("() => localStorage.setItem(viewer.memory.key, 'e30')")
    opened.page.reload()
    opened.settled()
    assert opened.run(STATE) == clean
    assert opened.run("() => localStorage.getItem(viewer.memory.key)") is None
    assert opened.errors == []


def test_hostile_text_in_a_link_stays_text(open_page: Open) -> None:
    opened = open_page(_page())
    row = features()[0]
    bad = "\u202e<img src=x onerror=alert(1)>\u0007"
    state = _state(
        pins=[row], groups=[[bad, row]], names=[[row, bad]], notes=[[row, bad]], selected=row
    )
    link = _link(state(str(opened.run("() => viewer.memory.graph"))))
    opened.run("link => { location.hash = link; }", link)
    opened.until("viewer.plots[0].pinned.size > 0")
    opened.locator("[data-tab=node]").click()
    words = "<img src=x onerror=alert(1)>"
    assert opened.locator("#content h2").inner_text() == words
    assert opened.locator("#content .noted .note").inner_text() == words
    assert opened.run("() => viewer.plots[0].groups[0].name") == words
    assert opened.locator("img").count() == 0
    assert opened.errors == []


def test_too_much_for_a_link_is_stored_and_said_once(open_page: Open) -> None:
    opened = open_page(_page())
    rows = features()[:3]
    for number, row in enumerate(rows):
        opened.run(
            "([row, note]) => { viewer.memory.app.active.graph.notes.set(row, note); }",
            [row, f"{number}" + " long words" * 90],
        )
        state = kept(opened)
        if number:
            assert opened.run("location.hash") == ""  # none that holds less than there is
    notice = opened.locator("#notice p")
    assert "too many marks" in notice.inner_text()
    opened.locator("#copy-link").click()
    assert "too many marks" in notice.inner_text()
    opened.page.reload()
    opened.settled()
    assert_same(kept(opened), state)


def test_reset_view_keeps_marks_and_dropping_them_can_be_undone(open_page: Open) -> None:
    opened = open_page(_page())
    clean = json.loads(opened.run(STATE))
    state = json.loads(work(opened))
    opened.locator("#reset-view").click()
    opened.settled()
    reset = json.loads(kept(opened))
    marks = ("pins", "groups", "names", "notes", "places")
    for key, value in reset["plots"][0].items():
        assert value == (state if key in marks else clean)["plots"][0][key], key
    assert reset["page"] == clean["page"]
    opened.locator("[data-tab=pins]").click()
    opened.locator("button", has_text="drop all my").click()
    dropped = json.loads(kept(opened))["plots"][0]
    assert all(dropped[key] == clean["plots"][0][key] for key in marks)
    assert "#view" in str(opened.run("location.hash"))  # the open tab
    opened.locator("#notice button", has_text="Bring them back").click()
    back = json.loads(kept(opened))["plots"][0]
    assert all(back[key] == state["plots"][0][key] for key in marks)
    opened.locator("button", has_text="drop all my").click()
    opened.locator("#reset-view").click()
    assert json.loads(kept(opened)) == clean
    assert opened.run("location.hash") == ""
    assert opened.run("() => localStorage.getItem(viewer.memory.key)") is None


def test_renaming_by_keyboard_shows_everywhere_and_escape_cancels(open_page: Open) -> None:
    opened = open_page(_page())
    row = features()[0]
    press, kind = opened.page.keyboard.press, opened.page.keyboard.type
    opened.run("row => viewer.select(viewer.plots[0], row, true)", row)
    title = opened.locator("#content h2")
    own = title.inner_text()
    press("r")
    kind("never")
    press("Escape")
    assert title.inner_text() == own
    assert opened.run("() => document.activeElement.dataset.edit") == "name"
    assert opened.run("() => viewer.plots[0].selected") == row  # Escape ended the field alone
    press("Enter")  # on the button in focus
    kind("  ripening \u202e fruit ")
    press("Enter")
    assert title.inner_text() == "ripening fruit"
    assert f"back to “{own}”" in opened.locator(".edits").inner_text()
    opened.settled()
    labels = dict(opened.run("() => viewer.plots[0].labels.map(l => [l.row, l.words])"))
    assert "ripen" in labels[row]  # the id before it and the rest, where there is room for it
    opened.run("row => viewer.togglePin(viewer.plots[0], row)", row)
    assert "ripening fruit" in opened.locator("#diagram").text_content()
    opened.locator("#search").fill("ripening")
    assert opened.locator(".hit .label").inner_text() == "ripening fruit"
    opened.page.keyboard.press("Escape")
    # Leaving the field keeps, too; without words the graph's own label is back.
    opened.locator("[data-edit=name]").click()
    opened.locator("input.edit").fill("left")
    opened.locator("#copy-link").focus()
    opened.until("document.querySelector('#content h2')?.textContent === 'left'")
    opened.locator("[data-edit=name]").click()
    opened.locator("input.edit").fill(" ")
    press("Enter")
    assert title.inner_text() == own
    assert opened.run("() => viewer.plots[0].graph.names.size") == 0
    assert opened.errors == []


def test_a_note_is_shown_found_and_marked(open_page: Open) -> None:
    opened = open_page(_page())
    row = features()[0]
    opened.click(row)
    opened.locator("[data-edit=note]").click()
    opened.page.keyboard.type("peel it")
    opened.page.keyboard.press("Shift+Enter")
    opened.page.keyboard.type("then eat")
    opened.page.keyboard.press("Enter")
    assert opened.locator(".noted .note").inner_text() == "peel it\nthen eat"
    assert opened.run("() => document.activeElement.dataset.edit") == "note"
    opened.page.mouse.move(5, 5)
    opened.page.mouse.move(*opened.place_of(row))
    assert "peel it" in opened.locator("#tip").inner_text()
    opened.locator("#search").fill("peel")
    assert opened.locator(".hit").count() == 1
    opened.page.keyboard.press("Escape")
    opened.painted()
    ink = opened.run(
        "row => { const p = viewer.plots[0], r = 0.71 * (p.place.half[row] * p.markScale + 8);"
        " const x = Math.floor(p.sx(p.place.x[row]) + r), y = Math.floor(p.sy(p.place.y[row]) - r);"
        " return [...p.over.getContext('2d').getImageData(x, y, 1, 1).data]; }",
        row,
    )
    assert ink == [0x1D, 0x1F, 0x23, 255]
    opened.locator("[data-edit=note]").click()
    opened.locator("textarea.edit").fill("")
    opened.page.keyboard.press("Enter")
    assert opened.run("() => viewer.plots[0].graph.notes.size") == 0
    assert opened.errors == []


def test_names_and_notes_are_exported_and_reopened(open_page: Open, tmp_path: Path) -> None:
    pruned = middle()
    opened = open_page(_page())
    row = features()[2]
    work(opened)  # names and notes the third feature
    opened.locator("summary", has_text="Export").click()
    with opened.page.expect_download() as download:
        opened.locator("[data-export=pins]").click()
    download.value.save_as(tmp_path / "pins.json")
    with_pins(pruned, tmp_path / "pins.json")
    # `export --pins` makes a graph JSON that holds them where other tools look ...
    write_exchange(to_exchange(pruned, slug="middle"), tmp_path / "clean.json")
    export_graph(
        tmp_path / "clean.json", "json", tmp_path / "graph.json", pins=tmp_path / "pins.json"
    )
    graph = json.loads((tmp_path / "graph.json").read_text(encoding="utf-8"))
    node_id = exchange_id(pruned.graph, int(pruned.kept_rows[row]))
    node = next(one for one in graph["nodes"] if one["node_id"] == node_id)
    assert node["clerp"] == "what ripens"
    key = f"{node['layer']}_{node['feature']}_{node['ctx_idx']}"
    assert graph["qParams"]["clerps"] == [[key, "what ripens"]]
    # ... and our own readers find them again, the page among them.
    read = ct.load(tmp_path / "graph.json").pruned
    [named] = named_rows(read.graph, read.kept_rows.tolist())
    assert read.graph.nodes.label[named] == "what ripens"
    assert notes_of(read.graph) == {named: "seen <b>twice</b>"}
    assert pins_of(read) is not None
    again = open_page(page(record(shown_at(tmp_path / "graph.json"))))
    texts = "() => { const g = viewer.plots[0].graph; return [clerps(g), g.notes.size]; }"
    found = again.run(texts.replace("clerps(g)", "[...g.names].map(([r, n]) => [g.id[r], n])"))
    assert found == [[[node_id, "what ripens"]], 1]
    assert again.run("() => location.hash") == ""  # as the graph has it: no state of its own
    # Loading the file into another page of the graph does the same.
    other = open_page(_page())
    other.locator("#load").set_input_files(tmp_path / "graph.json")
    other.until("viewer.plots[0].graph.notes.size === 1")
    assert other.run("row => viewer.plots[0].graph.label[row]", row) == "what ripens"
    assert opened.errors + again.errors + other.errors == []


def test_two_graphs_have_states_of_their_own(open_page: Open) -> None:
    opened = open_page(page(record(Shown(middle(), "one"), Shown(middle(), "two"))))
    first, second = features()[:2]
    opened.run("row => viewer.togglePin(viewer.plots[0], row)", first)
    opened.run("row => viewer.togglePin(viewer.plots[1], row)", second)
    opened.run("row => viewer.select(viewer.plots[1], row)", second)
    opened.settled()
    state = kept(opened)
    opened.page.reload()
    opened.settled()
    assert_same(kept(opened), state)
    assert opened.run("() => viewer.plots.map(p => [...p.pinned])") == [[first], [second]]
    assert opened.run("() => viewer.active.index") == 1


def test_the_identity_of_a_graph_is_that_of_its_nodes_and_edges(tmp_path: Path) -> None:
    def identity(shown: Shown) -> str:
        return str(record(shown)["graphs"][0]["identity"])

    relabelled = middle().with_labels(middle().kept_rows[5:6], ["another label"])
    assert identity(Shown(middle(), "a")) == identity(Shown(relabelled, "b"))
    assert identity(Shown(middle(), "a")) != identity(Shown(small(), "a"))
