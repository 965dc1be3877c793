"""The viewer's page as text: self-contained, safe whatever it shows, the same each time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust.report.page_record import trust_record
from circuit_tracer.graphs.files.exchange import exchange_id
from circuit_tracer.graphs.head_loadings import carriers
from circuit_tracer.graphs.influence import edge_influence
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.render import html, html_data
from circuit_tracer.render.html import inline_json, page, viewer_file
from circuit_tracer.render.html_data import Shown, record
from circuit_tracer.transcoders.cards import Card, Example
from tests.render.builders import HOSTILE, hostile, loadings_of, middle, small

VIEWER = Path(html.__file__).parent / "viewer"
TYPES = {"u1": "<u1", "i2": "<i2", "u2": "<u2", "i4": "<i4", "u4": "<u4", "f4": "<f4", "f8": "<f8"}


class _Tags(HTMLParser):
    """Every start tag with its attributes, and the text of its elements by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        self.content.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.content[self.inside][-1] += data


def _column(column: list[str]) -> Any:
    kind, text = column
    return np.frombuffer(base64.b64decode(text), dtype=TYPES[kind])


def _hostile_shown() -> Shown:
    card = Card(
        0, 1, HOSTILE[0], 0.1, 2.0, HOSTILE, HOSTILE,
        (Example("Top", HOSTILE, tuple(2.0 for _ in HOSTILE)),),
    )  # fmt: skip
    return Shown(hostile(), "hostile", cards=[card], supernodes=[(HOSTILE[0], [8, 9])])


def test_the_page_names_no_other_place() -> None:
    tags = _Tags(page(record(Shown(middle(), "middle")))).tags
    for tag, attributes in tags:
        assert not {"src", "href", "action", "data", "poster", "background"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
    for name in VIEWER.iterdir():
        text = name.read_text(encoding="utf-8")
        found = set(re.findall(r"https?://[^\s\"']+", text))
        assert found <= {"http://www.w3.org/2000/svg"}, name  # a name, never fetched
        assert not re.search(r"@import|url\((?!#)", text), name


def test_features_of_a_published_dictionary_have_pages() -> None:
    pruned = middle()
    info = pruned.graph.info
    assert record(Shown(pruned, "middle"))["graphs"][0]["featurePages"] is None
    there = replace(info.dictionary, source="hub:mwhanna/qwen3-4b-transcoders@0123")
    graph = replace(pruned.graph, info=replace(info, dictionary=there))
    found = record(Shown(replace(pruned, graph=graph), "middle"))["graphs"][0]["featurePages"]
    assert found == "https://www.neuronpedia.org/qwen3-4b/{layer}-transcoder-hp/{feature}"


def test_the_policy_allows_this_script_and_style_alone() -> None:
    text = page(record(_hostile_shown()))
    parsed = _Tags(text)
    policy = next(
        a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert [a.get("type") for t, a in parsed.tags if t == "script"] == ["application/json", None]
    for tag, rule, content in (
        ("script", "script-src", parsed.content["script"][1]),
        ("style", "style-src", parsed.content["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'", tag


def test_no_text_leaves_its_element() -> None:
    shown = _hostile_shown()
    text = page(record(shown))
    data = _Tags(text).content["script"][0]
    assert not set("<>&\u2028\u2029") & set(data)
    assert len(_Tags(text).tags) == len(_Tags(page(record(Shown(small(), "small")))).tags)
    assert json.loads(data) == json.loads(inline_json(record(shown)))


@pytest.mark.parametrize("name", sorted(path.name for path in VIEWER.glob("*.js")))
def test_scripts_make_no_markup_of_text(name: str) -> None:
    script = viewer_file(name)
    for word in (
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(",
        "setAttribute(\"style", "fetch(", "XMLHttpRequest", "WebSocket", "import(", "sendBeacon",
        "document.cookie",
    ):  # fmt: skip
        assert word not in script, word
    assert "localStorage" not in script or name == "state.js"  # where what it holds is checked
    assert len(script.splitlines()) <= 300


def test_every_module_is_in_a_page() -> None:
    from circuit_tracer.render import html_index

    used = {*html.SCRIPTS, *html_index.SCRIPTS, "strip", "steps", "edits"}  # the last for strips
    assert used == {path.stem for path in VIEWER.glob("*.js")}


def test_the_same_graph_gives_the_same_bytes() -> None:
    first, again = (page(record(Shown(middle(), "middle"))) for _ in range(2))
    assert first == again


def test_columns_are_the_kept_graph() -> None:
    pruned = middle()
    graph = record(Shown(pruned, "middle"))["graphs"][0]
    kept = pruned.kept_rows
    assert _column(graph["nodes"]["kind"]).tolist() == pruned.graph.nodes.kind[kept].tolist()
    assert graph["id"] == [exchange_id(pruned.graph, row) for row in kept.tolist()]
    source, target = (_column(graph["edges"][name]) for name in ("source", "target"))
    weight = _column(graph["edges"]["weight"])
    edges = pruned.kept_edges
    expected = dict(zip(zip(edges.source, edges.target, strict=True), edges.weight, strict=True))
    found = zip(zip(kept[source], kept[target], strict=True), weight, strict=True)
    assert dict(found) == expected
    # What flows along an edge follows from its weight and the target's column, strongest first.
    flow = np.abs(weight) * _column(graph["nodes"]["passedOn"])[target]
    which = np.flatnonzero(pruned.edge_kept)
    truth = np.sort(edge_influence(pruned.graph, pruned.influence, which))[::-1]
    assert flow == pytest.approx(truth, rel=1e-5)


def test_routes_are_the_strongest_ones() -> None:
    pruned = middle()
    graph = record(Shown(pruned, "middle"))["graphs"][0]
    listed = {tuple(route["rows"]): route["share"] for route in graph["routes"]}
    number = {row: i for i, row in enumerate(pruned.kept_rows.tolist())}
    for path in best_paths(pruned, k=5, direct=False):
        assert listed[tuple(number[row] for row in path.rows)] == pytest.approx(path.share)


def test_heads_go_with_their_edges() -> None:
    pruned = middle()
    loadings = loadings_of(pruned)
    graph = record(Shown(pruned, "middle", heads=loadings))["graphs"][0]
    columns = {name: _column(one) for name, one in graph["heads"]["columns"].items()}
    source, target = (_column(graph["edges"][name]) for name in ("source", "target"))
    kept = pruned.kept_rows
    found = {
        (int(kept[source[edge]]), int(kept[target[edge]])): (int(head), float(loading))
        for edge, head, loading in zip(
            columns["edge"], columns["head"], columns["loading"], strict=True
        )
    }
    expected = carriers(loadings, least=0.02)  # the head that carries next to nothing is left out
    assert found.keys() == expected.keys()
    for edge, (head, loading) in found.items():
        assert [head] == [one.head for one in expected[edge]]
        assert loading == pytest.approx(expected[edge][0].loading, rel=1e-6)


def test_a_page_holds_the_strongest_edges_and_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pruned = middle()
    shown = Shown(pruned, "middle", heads=loadings_of(pruned))
    whole = record(shown)["graphs"][0]
    monkeypatch.setattr(html_data, "MOST_EDGES", 20)
    graph = record(shown)["graphs"][0]
    for name in ("source", "target", "weight"):
        assert (
            _column(graph["edges"][name]).tolist() == (_column(whole["edges"][name]).tolist()[:20])
        )
    kept = int(pruned.edge_kept.sum())
    assert f"the strongest 20 of {kept:,} kept edges" in graph["about"]
    assert "strongest" not in whole["about"]
    edges = _column(graph["heads"]["columns"]["edge"])
    assert sorted(edges.tolist()) == list(range(20))


def test_a_report_of_another_shape_is_left_out() -> None:
    for report in ({}, {"verdict": 3}, {"verdict": {"level": "<b>", "headline": "x"}}):
        assert trust_record(report) is None


def test_graphs_of_two_models_stand_side_by_side_and_share_no_feature() -> None:
    from dataclasses import replace

    one = small()
    model = replace(one.graph.info.model, sha256="12" * 32, name="another")
    dictionary = replace(one.graph.info.dictionary, sha256="34" * 32, name="its own")
    info = replace(one.graph.info, model=model, dictionary=dictionary)
    other = replace(one, graph=replace(one.graph, info=info))
    figures = record(Shown(one, "one"), Shown(other, "other"))["comparison"]["figures"]
    assert {line["name"]: line["value"] for line in figures}["features of both"] == "0"
    deep = replace(one, graph=replace(one.graph, info=replace(info, n_layers=info.n_layers + 1)))
    with pytest.raises(UsageError, match="two models of different depth"):
        record(Shown(one, "one"), Shown(deep, "deep"))
