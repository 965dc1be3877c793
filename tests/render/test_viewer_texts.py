"""What is written in the viewer: words from the right, contrast, long prompts, narrow screens."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.render.html import page, viewer_file
from circuit_tracer.render.html_data import Shown, record
from circuit_tracer.render.html_index import Index, IndexRow, index_page
from circuit_tracer.render.numbers import number, percent
from tests.render.builders import middle, story
from tests.render.conftest import Open, Opened
from tests.render.tabs import Tabs

HEBREW = ("\u05e9\u05dc\u05d5\u05dd", "\u05db\u05df")


def _opened(open_page: Open, pruned: PrunedGraph, **more: Any) -> Opened:
    return open_page(page(record(Shown(pruned, "graph"))), **more)


@cache
def _long() -> PrunedGraph:
    """200 tokens, those of the end with nodes."""
    tokens = ("[BOS]", *(f"word{i}" for i in range(199)))
    return prune(story(tokens=tokens, n_layers=8, n_features=90, seed=5), node_threshold=1.0)


def test_what_is_read_from_the_right_keeps_its_place(open_page: Open) -> None:
    """Without isolates the arrow turns with the letters, and "60" comes before the word."""
    first, second = HEBREW
    graph = story(labels=(f"{first} → {second}",), targets=((second, 0.6),), n_features=10)
    opened = _opened(open_page, prune(graph, node_threshold=1.0))
    row = opened.run(
        "() => viewer.plots[0].graph.ranked.find(r => viewer.plots[0].graph.kind[r] === 1)"
    )
    opened.run("row => viewer.select(viewer.plots[0], row)", row)
    places = opened.run(
        "words => { const node = document.querySelector('#content h2').firstChild;"
        " return words.map(word => { const at = node.data.indexOf(word), r = new Range();"
        " r.setStart(node, at); r.setEnd(node, at + word.length);"
        " const box = r.getBoundingClientRect(); return [box.left, box.right]; }); }",
        [first, "→", second],
    )
    ends = [end for place in places for end in place]
    assert ends == sorted(ends)
    token = opened.run("() => viewer.plots[0].graph.targets[0].token")
    assert token == f"\u2068{second}\u2069"
    plain = _opened(open_page, middle())
    labels = plain.run("() => viewer.plots[0].graph.label")
    assert "banana → yellow" in labels  # nothing is put into other words


def test_numbers_are_those_of_the_terminal(tabs: Tabs) -> None:
    values = [0.0, 2e-4, -2e-4, 0.0123, -0.5, 0.9996, 3.14159, 99.994, 1234.6, 2.6e6]
    tab = tabs.take()
    script = viewer_file("numbers.js")
    call = f"values => {{ {script} return values.map(one => [figureOf(one), percent(one)]); }}"
    found = tab.page.evaluate(call, values)
    tabs.give_back(tab)
    for value, (figure, share) in zip(values, found, strict=True):
        assert re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", figure) == number(value)
        assert share.replace("\u00a0", " ") == percent(value)


def _luminance(color: tuple[float, ...]) -> float:
    """Of an sRGB colour (WCAG 2.2, relative luminance)."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def _rgb(color: str) -> tuple[float, ...]:
    return tuple(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_tokens_are_legible_at_every_shade(open_page: Open, scheme: str) -> None:
    opened = _opened(open_page, middle(), scheme=scheme)
    shades = [i / 20 for i in range(21)]
    paper, token, inks = opened.run(
        "shades => { const c = viewer.plots[0].colors; return [c.paper, c.token,"
        " shades.map(s => c.tokenInk(s))]; }",
        shades,
    )
    for shade, ink in zip(shades, inks, strict=True):
        alpha = 0.08 + 0.92 * shade
        mixed = tuple(
            alpha * a + (1 - alpha) * b for a, b in zip(_rgb(token), _rgb(paper), strict=True)
        )
        dark, light = sorted((_luminance(mixed), _luminance(_rgb(ink))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, shade


def test_in_a_long_prompt_the_room_goes_to_the_tokens_with_nodes(open_page: Open) -> None:
    opened = _opened(open_page, _long())
    opened.run("() => viewer.setThreshold(1)")
    opened.settled()
    widths = opened.run("() => viewer.plots[0].place.columns.map(c => c.right - c.left)")
    nodes = _long().graph.nodes
    inner = (nodes.kind == NodeKind.FEATURE) | (nodes.kind == NodeKind.ERROR)
    filled = set(nodes.position[inner & _long().node_kept].tolist())
    least = min(widths[at] for at in filled)
    most = max(width for at, width in enumerate(widths) if at not in filled)
    assert least > 2 * most
    places = opened.run(
        "() => { const p = viewer.plots[0], g = p.graph; p.fit(); p.paint();"
        " return [...p.place.spelled.at].map(at => p.place.columns[at].centre); }"
    )
    places.sort()
    assert len(places) > 40
    assert min(b - a for a, b in pairwise(places)) >= 13
    best = opened.run(
        "() => { const p = viewer.plots[0], g = p.graph; const tokens = [...g.kind.keys()]"
        ".filter(r => !g.kind[r]); const best = tokens.reduce((a, b) => g.influence[b] >"
        " g.influence[a] ? b : a); return p.place.spelled.at.has(g.position[best]); }"
    )
    assert best


def test_a_runs_index_fits_a_phone(open_page: Open) -> None:
    prompt = "what is the capital of the country of hamburg and of its neighbours ?"
    scores = {"replacement": 0.91, "completeness": 0.97, "error_share": 0.0321}
    rows = [
        IndexRow(f"graphs/{i}.html", prompt, "berlin", 0.8, scores, tags=("two-hop",))
        for i in range(30)
    ]
    opened = open_page(index_page(Index("run", "about", rows)), width=390, height=844)
    assert opened.run("document.documentElement.scrollWidth") <= 390
    line = opened.locator(".line").first
    box = line.locator("b").bounding_box()
    assert box["width"] > 150
    assert box["height"] > 25  # on two lines
    shown = ":visible"
    assert line.locator(f".number{shown}").all_inner_texts() == ["80\u00a0%"]
    opened.locator("#head [data-key='error_share']").click()
    assert line.locator(f".number{shown}").all_inner_texts() == ["3.2\u00a0%"]
    wide = open_page(index_page(Index("run", "about", rows)), width=1280)
    assert wide.locator(".line").first.locator(f".number{shown}").count() == 4


def test_a_runs_index_sorts_what_has_no_score_last_and_keeps_the_focus(open_page: Open) -> None:
    scores = [0.1, None, 0.9, None, 0.5, *([0.3] * 25)]
    rows = [
        IndexRow(f"graphs/{i}.html", f"prompt {i}", "berlin", 0.8, {"replacement": score})
        for i, score in enumerate(scores)
    ]
    opened = open_page(index_page(Index("run", "about", rows)))
    focus = (
        "number => new Promise(done => { const list = document.getElementById('list');"
        " document.querySelectorAll('a.line')[number].focus(); list.scrollTop = 400;"
        " setTimeout(() => done(document.activeElement.getAttribute('href')), 200); })"
    )
    assert opened.run(focus, 5) == "graphs/5.html"  # lines were drawn again
    for times, ends in ((1, [0.9, 0.5]), (2, [0.1, 0.3])):
        opened.locator("#head [data-key='replacement']").click()
        found = opened.run("() => viewer.found.map(row => row.scores.replacement)")
        assert found[:2] == ends, times
        assert found[-2:] == [None, None]


def test_an_input_methods_enter_does_nothing_else(open_page: Open) -> None:
    """In Japanese or Chinese, Enter takes what the input method offers."""
    opened = _opened(open_page, middle())
    opened.locator("#search").fill("fruit")
    press = (
        "isComposing => { const field = document.getElementById('search'); for (const key of"
        " ['Escape', 'Enter']) if (isComposing || key === 'Enter') field.dispatchEvent("
        "new KeyboardEvent('keydown', { key, isComposing, bubbles: true }));"
        " return [field.value, viewer.plots[0].selected >= 0]; }"
    )
    assert opened.run(press, True) == ["fruit", False]
    assert opened.run(press, False)[1]


def test_tabs_menu_and_panel_go_by_keyboard(open_page: Open) -> None:
    opened = _opened(open_page, middle())
    press = opened.page.keyboard.press
    opened.locator("#tab-routes").focus()
    press("ArrowRight")
    assert opened.run("() => [viewer.tab, document.activeElement.id]") == ["node", "tab-node"]
    press("ArrowLeft")
    press("ArrowLeft")
    assert opened.run("() => [viewer.tab, document.activeElement.id]") == ["heads", "tab-heads"]
    assert opened.run("() => viewer.plots[0].selected") == -1  # no node was walked to
    stops = (
        "() => [...document.querySelectorAll('[role=tab]')].filter(t => t.tabIndex === 0).length"
    )
    assert opened.run(stops) == 1
    opened.locator("summary", has_text="Export").click()
    assert opened.locator("details.menu").get_attribute("open") is not None
    press("Escape")
    assert opened.locator("details.menu").get_attribute("open") is None
    # What was pressed in the panel is gone with its page; the focus stays in the panel.
    row = opened.run("() => viewer.plots[0].graph.ranked[0]")
    opened.run("row => viewer.select(viewer.plots[0], row)", row)
    opened.locator("#content .links .go").first.focus()
    press("Enter")
    assert opened.run("() => viewer.plots[0].selected") != row
    assert opened.run("() => document.activeElement.id") == "content"
    assert opened.errors == []
