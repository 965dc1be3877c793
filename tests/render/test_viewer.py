"""The viewer's page in a real browser: what people do, and what hostile text cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from circuit_tracer.experiments.trust.report.page_record import trust_record
from circuit_tracer.graphs.files.exchange import read_exchange, to_exchange
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.influence import totals
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.supernodes.graph import supernode_graph
from circuit_tracer.graphs.supernodes.grouping import Supernode
from circuit_tracer.render.html import page
from circuit_tracer.render.html_data import ExportCommand, Shown, record
from circuit_tracer.transcoders.cards import Card, Example
from tests.render.builders import HOSTILE, hostile, large, loadings_of, middle, small, story
from tests.render.conftest import Open, Opened

SVG = "{http://www.w3.org/2000/svg}"


@cache
def _middle_page() -> str:
    pruned = middle()
    nodes = pruned.graph.nodes
    cards = [
        Card(
            int(nodes.layer[row]), int(nodes.feature[row]), nodes.label[row], 0.013, 3.0,
            ("yellow", "ripe"), ("green",),
            (Example("Top", ("a", "banana", "is"), (0.0, 3.0, 1.5)),),
        )
        for row in pruned.kept_rows.tolist()
        if nodes.kind[row] == NodeKind.FEATURE
    ]  # fmt: skip
    return page(record(Shown(pruned, "middle", heads=loadings_of(pruned), cards=cards)))


def _opened(open_page: Open, pruned: PrunedGraph, **more: Any) -> Opened:
    return open_page(page(record(Shown(pruned, "graph"))), **more)


def _number_of(pruned: PrunedGraph, row: int) -> int:
    """A row of the whole graph as the page numbers it."""
    return int(np.flatnonzero(pruned.kept_rows == row)[0])


def _strongest_feature(pruned: PrunedGraph) -> int:
    is_feature = pruned.node_kept & (pruned.graph.nodes.kind == NodeKind.FEATURE)
    return int(np.argmax(np.where(is_feature, pruned.influence, -1)))


def _links(opened: Opened, way: str) -> list[tuple[str, str]]:
    """Labels and shares of a list of the panel."""
    found = opened.run(
        "way => [...document.querySelectorAll(`section.${way} .go`)].map(e =>"
        " [e.querySelector('.label').textContent, e.querySelector('.share').textContent])",
        way,
    )
    return [(str(label), str(share)) for label, share in found]


def _percent(text: str) -> float:
    return float(text.replace("−", "-").replace("\u00a0%", "").strip("<> ")) / 100


def test_a_click_shows_a_node_with_its_inputs_and_their_shares(open_page: Open) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    row = _strongest_feature(pruned)
    opened.click(_number_of(pruned, row))
    name = f"L{pruned.graph.nodes.layer[row]}/{pruned.graph.nodes.feature[row]}"
    assert name in str(opened.locator("#content .sub").inner_text())
    edges, whole = pruned.kept_edges, totals(pruned.graph)[row]
    into = edges.target == row
    expected = sorted((edges.weight[into] / whole).tolist(), key=abs, reverse=True)
    shares = [_percent(share) for _, share in _links(opened, "inputs")]
    assert shares == pytest.approx(expected[: len(shares)], abs=0.006)
    assert len(shares) == min(10, len(expected))
    # The plot lights up the same edges.
    lit = opened.run("() => viewer.plots[0].lit().edges.length")
    assert lit == int((into | (edges.source == row)).sum())
    assert opened.run("() => viewer.plots[0].base.style.opacity") == "0.3"
    opened.page.keyboard.press("Escape")
    opened.settled()
    assert opened.run("() => viewer.plots[0].base.style.opacity") == "1"
    assert not opened.errors


def test_hovering_lights_up_and_says_what_it_is(open_page: Open) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    row = _strongest_feature(pruned)
    opened.page.mouse.move(*opened.place_of(_number_of(pruned, row)))
    opened.settled()
    assert opened.locator("#tip").is_visible()
    assert pruned.graph.nodes.label[row] in opened.locator("#tip").inner_text()
    assert opened.run("() => viewer.plots[0].lit().strong.size") == 1
    opened.page.mouse.move(5, 5)
    assert not opened.locator("#tip").is_visible()


def test_a_published_feature_links_to_its_page_and_asks_for_nothing(open_page: Open) -> None:
    pruned, row = middle(), _strongest_feature(middle())
    data = record(Shown(pruned, "middle"))
    data["graphs"][0]["featurePages"] = "https://pages.example/{layer}-set/{feature}"
    opened = open_page(page(data))
    opened.click(_number_of(pruned, row))
    link = opened.locator("a.page")
    layer, feature = pruned.graph.nodes.layer[row], pruned.graph.nodes.feature[row]
    assert link.get_attribute("href") == f"https://pages.example/{layer}-set/{feature}"
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert not any(address.startswith("http") for address in opened.requests)


def test_the_card_and_the_heads_of_an_edge_are_shown(open_page: Open) -> None:
    opened = open_page(_middle_page())
    opened.click(_number_of(middle(), _strongest_feature(middle())))
    card = opened.locator("section.card").inner_text()
    assert "yellow" in card
    assert "1.3\u00a0%" in card
    shade = "getComputedStyle(document.querySelector('.fires')).getPropertyValue('--share')"
    assert float(opened.run(shade)) == 1.0
    opened.locator("section.inputs .more").first.click()
    heads = opened.locator("section.inputs .heads").first.inner_text()
    assert "L0.H0" in heads
    assert "+90\u00a0%" in heads
    assert "L0.H1" not in heads


@pytest.mark.parametrize("threshold", [0.3, 0.55, 0.8])
def test_the_slider_shows_the_nodes_of_so_much_influence(open_page: Open, threshold: float) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    opened.run(
        "t => { const i = document.getElementById('influence'); i.value = 1000 * t;"
        " i.dispatchEvent(new Event('input')); }",
        threshold,
    )
    opened.settled()
    kind, kept = pruned.graph.nodes.kind, pruned.node_kept
    is_inner = kept & ((kind == NodeKind.FEATURE) | (kind == NodeKind.ERROR))
    expected = int((is_inner & (pruned.cumulative <= threshold)).sum())
    assert expected > 0
    text = opened.locator("#influence-text").inner_text()
    assert text == f"{expected} of {int(is_inner.sum())} nodes"
    assert opened.run("() => viewer.plots[0].place.shown.reduce((a, b) => a + b, 0)") == (
        expected + int((kept & ~is_inner).sum())
    )


def test_no_two_labels_overlap_and_none_hides_a_node(open_page: Open) -> None:
    opened = _opened(open_page, large())
    opened.run("() => viewer.setThreshold(1)")
    opened.settled()
    labels = opened.run("() => viewer.plots[0].labels.map(l => [l.x, l.y, l.width])")
    marks = opened.run(
        "() => { const p = viewer.plots[0]; return [...p.place.shown.keys()].filter(r =>"
        " p.place.shown[r] && p.graph.kind[r] % 3).map(r =>"
        " [p.sx(p.place.x[r]), p.sy(p.place.y[r])]); }"
    )
    assert len(labels) > 40
    for i, (x, y, width) in enumerate(labels):
        for u, v, w in labels[i + 1 :]:
            assert x >= u + w or u >= x + width or abs(y - v) >= 11.9
        for u, v in marks:
            assert not (x < u < x + width and abs(y - v) < 6)


def test_all_is_in_view_at_first_at_any_size(open_page: Open) -> None:
    for width, height in ((1280, 800), (1920, 1080), (420, 900)):
        opened = _opened(open_page, large(), width=width, height=height)
        inside = opened.run(
            "() => { const p = viewer.plots[0]; return [...p.place.shown.keys()].filter(r =>"
            " p.place.shown[r]).every(r => { const x = p.sx(p.place.x[r]), y = p.sy(p.place.y[r]);"
            " return x >= 0 && x <= p.width && y >= 0 && y <= p.height; }); }"
        )
        assert inside
        assert opened.run("document.documentElement.scrollWidth") <= width


def test_search_finds_labels_names_and_promoted_tokens(open_page: Open) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("fruit")
    labels = [pruned.graph.nodes.label[row] for row in pruned.kept_rows.tolist()]
    count = sum("fruit" in label for label in labels)
    assert count
    assert f"{count} node" in opened.locator("#found .count").inner_text()
    assert opened.run("() => viewer.plots[0].lit().rows.size") == count
    opened.page.keyboard.press("Enter")
    assert opened.locator("#content h2").inner_text() == "fruit"
    opened.locator("#search").fill("ripe")  # what the cards promote
    features = int((pruned.graph.nodes.kind[pruned.kept_rows] == NodeKind.FEATURE).sum())
    assert f"{features} nodes" in opened.locator("#found .count").inner_text()
    opened.locator("#search").fill("no such thing")
    assert "Nothing found" in opened.locator("#found").inner_text()


def test_keys_walk_pin_and_explain(open_page: Open) -> None:
    opened = open_page(_middle_page())
    press = opened.page.keyboard.press
    press("ArrowDown")  # nothing selected yet: the target
    target = opened.run("() => viewer.plots[0].selected")
    assert opened.run("() => viewer.plots[0].graph.kind[viewer.plots[0].selected]") == 3
    press("i")
    source = opened.run("() => viewer.plots[0].selected")
    best = opened.run(
        "t => { const g = viewer.plots[0].graph; let best = -1; for (let e = 0; e < g.m; e++)"
        " if (g.target[e] === t && (best < 0 || Math.abs(g.weight[e]) > Math.abs(g.weight[best])))"
        " best = e; return g.source[best]; }",
        target,
    )
    assert source == best
    before = opened.place_of(source)
    press("ArrowRight")
    after = opened.place_of(opened.run("() => viewer.plots[0].selected"))
    assert after[0] >= before[0]
    press("Enter")
    assert opened.run("() => viewer.plots[0].pinned.size") == 1
    press("Enter")
    assert opened.run("() => viewer.plots[0].pinned.size") == 0
    press("?")
    assert opened.locator("#help").is_visible()
    selected = opened.run("() => viewer.plots[0].selected")
    for key in ("i", "ArrowUp", "Escape"):  # nothing else moves
        press(key)
    assert not opened.locator("#help").is_visible()
    assert opened.run("() => viewer.plots[0].selected") == selected >= 0
    press("Escape")
    assert opened.run("() => viewer.plots[0].selected") == -1


def test_a_route_lights_up_as_a_path(open_page: Open) -> None:
    opened = open_page(_middle_page())
    opened.locator(".routes .go").nth(3).click()
    lit = opened.run(
        "() => { const p = viewer.plots[0], lit = p.lit(); return [p.route.rows, lit.edges.map("
        "e => [p.graph.source[e], p.graph.target[e]])]; }"
    )
    assert lit[1] == [list(pair) for pair in zip(lit[0], lit[0][1:], strict=False)]
    opened.locator("button.pin").click()
    assert opened.run("() => [...viewer.plots[0].pinned].sort((a, b) => a - b)") == sorted(lit[0])
    assert opened.locator("#drawer").is_visible()
    assert opened.locator("#diagram .box").count() == len(lit[0])


def _pin_and_group(opened: Opened, pruned: PrunedGraph) -> tuple[list[int], list[int]]:
    """Pin five features and a target by hand, group two of them; page numbers."""
    nodes = pruned.graph.nodes
    features = pruned.kept_rows[nodes.kind[pruned.kept_rows] == NodeKind.FEATURE]
    ranked = features[np.argsort(-pruned.influence[features])]
    rows = [_number_of(pruned, int(row)) for row in (*ranked[:5], pruned.graph.target_rows[0])]
    for number in rows:
        opened.page.mouse.dblclick(*opened.place_of(number))
        opened.settled()
    opened.locator("[data-tab=pins]").click()
    for number in rows[:2]:
        opened.locator(f'.pins input[value="{number}"]').check()
    opened.locator(".grouping input").fill('say "yellow" <b>')
    opened.locator(".grouping button").click()
    return rows, rows[:2]


def test_grouped_pins_are_joined_as_the_supernodes_command_joins_them(open_page: Open) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    rows, grouped = _pin_and_group(opened, pruned)
    assert opened.locator("#diagram .box:not(.end)").count() == len(rows) - 1
    found = opened.run(
        "() => { const { edges, nodes } = viewer.diagram; return edges.filter(e =>"
        " !nodes[e.source].isEnd && !nodes[e.target].isEnd && !e.isIndirect).map(e =>"
        " [nodes[e.source].rows, nodes[e.target].rows, e.share, e.weight]); }"
    )
    kept = pruned.kept_rows
    whole = supernode_graph(pruned, [Supernode("g", tuple(sorted(kept[grouped].tolist())))])
    pinned = {kept[row] for row in rows}
    expected = {
        (whole.nodes[edge.source].rows, whole.nodes[edge.target].rows): (edge.share, edge.weight)
        for edge in whole.edges
        if set(whole.nodes[edge.source].rows) | set(whole.nodes[edge.target].rows) <= pinned
    }
    assert expected
    joined = {
        tuple(tuple(kept[end].tolist()) for end in (source, target)): (share, weight)
        for source, target, share, weight in found
    }
    assert joined.keys() == expected.keys()
    for ends, figures in joined.items():
        assert figures == pytest.approx(expected[ends], rel=1e-4, abs=1e-6)


def test_dragging_boxes_moves_them_and_groups_what_is_dropped_on_another(open_page: Open) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    _pin_and_group(opened, pruned)
    boxes = opened.locator("#diagram .box")

    def drag(index: int, x: float, y: float) -> None:
        box = boxes.nth(index).bounding_box()
        opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        opened.page.mouse.down()
        opened.page.mouse.move(x, y, steps=4)
        opened.page.mouse.up()
        opened.settled()

    opened.settled()
    place = boxes.nth(0).bounding_box()
    drag(0, place["x"] + place["width"] / 2 + 60, place["y"] + place["height"] / 2 + 3)
    moved = boxes.nth(0).bounding_box()
    assert moved["x"] == pytest.approx(place["x"] + 60, abs=3)
    onto = boxes.nth(2).bounding_box()
    count = boxes.count()
    drag(1, onto["x"] + onto["width"] / 2, onto["y"] + onto["height"] / 2)
    assert boxes.count() == count - 1
    assert len(opened.run("() => viewer.plots[0].groups.map(g => g.rows.size)")) == 2


def test_exported_pins_come_back_through_the_exchange_form(open_page: Open, tmp_path: Path) -> None:
    pruned = middle()
    opened = open_page(_middle_page())
    rows, grouped = _pin_and_group(opened, pruned)
    exported = json.loads(opened.exported("pins").decode())["qParams"]
    ids = opened.run("() => viewer.plots[0].graph.id")
    assert exported["pinnedIds"] == [ids[row] for row in sorted(rows)]
    name = 'say "yellow" <b>'
    assert exported["supernodes"] == [[name, *(ids[row] for row in sorted(grouped))]]
    whole = to_exchange(pruned, slug="middle")
    (tmp_path / "graph.json").write_text(json.dumps({**whole, "qParams": exported}))
    back = read_exchange(tmp_path / "graph.json")
    again = to_exchange(back, slug="middle")
    assert again["qParams"] == exported
    # A fresh page of the graph that was read back starts with them; so does loading the file.
    (tmp_path / "pins.json").write_text(json.dumps({"qParams": exported}))
    other = open_page(_middle_page())
    other.locator("#load").set_input_files(tmp_path / "pins.json")
    other.until("viewer.plots[0].pinned.size > 0")
    assert other.run("() => [...viewer.plots[0].pinned].length") == len(rows)
    assert other.run("() => viewer.plots[0].groups[0].name") == name
    assert other.locator("#diagram .box.grouped").count() == 1


def test_a_file_without_pins_is_refused_in_words(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(_middle_page())
    for content in ("{", "[]", '{"qParams": {"pinnedIds": 3}}', "null"):
        (tmp_path / "pins.json").write_text(content)
        opened.run("() => { document.getElementById('live').textContent = ''; }")
        opened.locator("#load").set_input_files(tmp_path / "pins.json")
        opened.until("document.getElementById('live').textContent !== ''")
        assert "no pins" in opened.locator("#live").inner_text()
    assert opened.run("() => viewer.plots[0].pinned.size") == 0
    assert not opened.errors


def test_the_view_is_exported_as_svg(open_page: Open, tmp_path: Path) -> None:
    pruned = middle()
    opened = open_page(_middle_page(), scheme="dark")
    opened.click(_number_of(pruned, _strongest_feature(pruned)))
    text = opened.exported("view").decode()
    tree = ElementTree.fromstring(text)
    words = "".join(tree.itertext())
    for token in pruned.graph.info.tokens:
        assert token in words
    assert pruned.graph.nodes.label[_strongest_feature(pruned)] in words
    assert tree.findall(f".//{SVG}path")
    assert "#ffffff" in text  # in the colours of paper, whatever the screen's
    assert tree.get("width") == str(opened.run("() => viewer.plots[0].width"))


def test_hostile_text_stays_text(open_page: Open, tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;"
    tokens = ("[BOS]", bad, "\u202eabc\n", "", "   ", "x" * 80, "🍌")
    targets = ((bad, 0.5), ('"', 0.2), ("\x00\ud800", 0.1))
    graph = story(tokens=tokens, labels=(bad, *HOSTILE), targets=targets, n_features=30, seed=3)
    pruned = prune(graph, node_threshold=1.0)
    info = replace(graph.info, prompt=bad)
    pruned = replace(pruned, graph=replace(graph, info=info))
    nodes = pruned.graph.nodes
    rows = pruned.kept_rows[nodes.kind[pruned.kept_rows] == NodeKind.FEATURE].tolist()
    texts = (bad, *HOSTILE)
    cards = [
        Card(int(nodes.layer[row]), int(nodes.feature[row]), bad, 0.1, 1.0, texts, texts,
             (Example(bad, texts, tuple(1.0 for _ in texts)),))
        for row in rows
    ]  # fmt: skip
    verdict = {"level": "care", "headline": bad, "reasons": [{"mark": "+", "text": bad}]}
    report = {"verdict": verdict, "settings": {"quick": True}}
    shown = Shown(
        pruned, "x", trust=trust_record(report), cards=cards, supernodes=[(bad, rows[:3])],
        positions=bad,
        heads=loadings_of(pruned), export=ExportCommand(bad, bad),
    )  # fmt: skip
    opened = open_page(page(record(shown, run=bad)))
    elements = (
        "() => document.querySelectorAll('script, img, iframe, object, embed, b + img').length"
    )
    assert opened.locator("#prompt").inner_text() == bad
    for row in rows[:6]:
        opened.run("row => viewer.select(viewer.plots[0], row, true)", _number_of(pruned, row))
        assert bad in opened.locator("#content").inner_text()
    for tab in ("routes", "pins", "trust", "heads"):
        opened.locator(f"[data-tab={tab}]").click()
        is_there = bad in opened.locator("#content").text_content()
        assert is_there or tab in ("pins", "heads")
    assert opened.locator("#above").inner_text() == f"← {bad}"
    opened.locator("#search").fill("<script>")
    assert opened.locator(".hit").count() > 0
    opened.page.mouse.move(*opened.place_of(_number_of(pruned, rows[0])))
    opened.run("() => window.dispatchEvent(new Event('beforeprint'))")
    assert opened.run(elements) == 2
    assert opened.locator("svg.printed script").count() == 0
    for what in ("view", "diagram"):
        tree = ElementTree.fromstring(opened.exported(what).decode())
        assert not [one for one in tree.iter() if one.tag.removeprefix(SVG) in ("script", "img")]
    json.loads(opened.exported("pins").decode())
    assert opened.errors == []
    assert opened.page.title().startswith(bad)


@pytest.mark.parametrize("make", [small, middle, large, hostile])
def test_no_request_ever_leaves_the_page(open_page: Open, make: Any) -> None:
    opened = _opened(open_page, make())
    for key in ("ArrowUp", "i", "Enter", "2", "3", "4", "[", "]", "+", "0", "g"):
        opened.page.keyboard.press(key)
    opened.settled()
    assert len(opened.requests) == 1
    assert opened.requests[0].startswith("file:")
    assert opened.errors == []
    # Not even a script that wanted to could ask for something: the policy forbids it.
    refused = opened.run("() => fetch('http://127.0.0.1:9/').then(() => false, () => true)")
    assert refused
    assert len(opened.requests) == 1
    assert any("Content Security Policy" in error for error in opened.errors)


@pytest.mark.parametrize(
    "facts",
    [
        {"n_features": 0, "n_errors": 0},
        {"tokens": ("[BOS]", "x"), "n_layers": 1, "n_features": 1, "n_errors": 0},
        {"targets": (("yes - no", 0.6),), "contrast": True},
        {"targets": tuple((f"target {i}", 0.08) for i in range(12))},
        {"tokens": tuple(f"token{i}" for i in range(150)), "n_features": 200},
    ],
)
def test_graphs_of_odd_shapes_are_shown(open_page: Open, facts: dict[str, Any]) -> None:
    opened = _opened(open_page, prune(story(**facts), node_threshold=1.0), width=1100)
    for key in ("ArrowUp", "ArrowDown", "i", "o", "[", "]", "Enter", "3", "4"):
        opened.page.keyboard.press(key)
    opened.settled()
    boxes = opened.run(
        "() => { const p = viewer.plots[0]; return p.graph.targets.map(t =>"
        " [p.sx(p.place.x[t.row]), p.top(t.row), p.boxHalf(t.row)]); }"
    )
    for i, (x, y, half) in enumerate(boxes):
        for u, v, other in boxes[i + 1 :]:
            assert abs(x - u) >= half + other or abs(y - v) >= 24
    assert opened.errors == []


def test_two_graphs_stand_side_by_side_and_light_up_together(open_page: Open) -> None:
    first = middle()
    graph = story(n_layers=8, n_features=60, n_errors=18, seed=1)
    second = prune(graph, node_threshold=0.6)
    opened = open_page(page(record(Shown(first, "first"), Shown(second, "second"))))
    row = _strongest_feature(second)  # the same graph, pruned more: the first has it, too
    opened.click(_number_of(second, row), 1)
    assert opened.run("() => viewer.plots[0].selected") == _number_of(first, row)
    assert "In graph A" in opened.locator("#content .other").inner_text()
    alone = int((first.node_kept & ~second.node_kept).sum())
    own = "i => { const p = viewer.plots[i]; let c = 0; for (let r = 0; r < p.graph.n; r++) c +="
    assert opened.run(own + " p.isOwn(r); return c; }", 0) == alone
    assert opened.run(own + " p.isOwn(r); return c; }", 1) == 0
    opened.locator("[data-tab=trust]").click()
    assert "overlap of features" in opened.locator("#content").inner_text()
    assert not opened.errors
    opened.run("() => window.dispatchEvent(new Event('beforeprint'))")
    clips = "() => [...document.querySelectorAll('svg.printed clipPath')].map(one => one.id)"
    assert len(set(opened.run(clips))) == 2  # each is cut by its own


def _background(opened: Opened) -> list[int]:
    corner = "() => [...viewer.plots[0].under.getContext('2d').getImageData(2, 2, 1, 1).data]"
    return [int(value) for value in opened.run(corner)]


def test_themes_follow_the_system_and_the_button_and_paper_is_white(open_page: Open) -> None:
    light, dark = (open_page(_middle_page(), scheme=scheme) for scheme in ("light", "dark"))
    assert _background(light) == [255, 255, 255, 255]
    assert max(_background(dark)[:3]) < 60
    light.locator("#theme").click()
    light.settled()
    assert _background(light) == _background(dark)
    dark.page.emulate_media(media="print")
    printed = dark.locator("svg.printed")
    printed.wait_for()
    assert not dark.locator("canvas.base").is_visible()
    assert "rgb(255, 255, 255)" in dark.run("() => getComputedStyle(document.body).backgroundColor")
    fills = dark.run("() => document.querySelector('svg.printed rect[fill]').getAttribute('fill')")
    assert fills == "#ffffff"


def test_a_large_view_is_moved_as_a_picture_and_drawn_when_it_rests(open_page: Open) -> None:
    opened = _opened(open_page, large())
    opened.run("() => { viewer.setThreshold(1); viewer.setEdges(100); }")
    opened.settled()
    drawn = opened.run("() => viewer.plots[0].edgeLimit")
    assert drawn > 1200
    moved = opened.run(
        "() => new Promise(done => { const p = viewer.plots[0]; p.pan(31, 17);"
        " requestAnimationFrame(() => requestAnimationFrame(() =>"
        " done([p.under.style.transform, p.painted.tx, p.tx]))); })"
    )
    assert "translate(31px, 17px)" in moved[0]
    assert moved[1] != moved[2]
    opened.settled()
    assert opened.run("() => viewer.plots[0].under.style.transform") == ""
    assert opened.run("() => viewer.plots[0].painted.tx === viewer.plots[0].tx")


def test_more_edges_than_a_frame_takes_are_drawn_part_by_part(open_page: Open) -> None:
    opened = _opened(open_page, large())
    parts = opened.run(
        "() => new Promise(done => { const p = viewer.plots[0], ends = []; viewer.setThreshold(1);"
        " viewer.setEdges(100); const all = p.place.between.length; p.paint(); const tick = () => {"
        " ends.push(p.edgesLeft); p.edgesLeft < all ? requestAnimationFrame(tick) : done(ends) };"
        " requestAnimationFrame(tick); })"
    )
    steps = [after - before for before, after in pairwise(parts)]
    assert max([parts[0], *steps]) <= 2500
    assert parts[-1] == int(large().edge_kept.sum())
