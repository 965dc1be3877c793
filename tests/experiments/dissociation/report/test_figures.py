"""The figures of `dissociate`: whole, the same each time, nothing clipped or covered."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from functools import cache
from itertools import combinations
from math import nan

import numpy as np
import pytest

from circuit_tracer.experiments.dissociation.report.page import figures
from circuit_tracer.experiments.dissociation.report.routes.combined import box_words, combine
from circuit_tracer.experiments.dissociation.report.routes.evidence import (
    SWAPS,
    evidence,
    index_sentence,
)
from circuit_tracer.experiments.dissociation.report.routes.picture import routes_svg
from circuit_tracer.experiments.dissociation.report.routes.route import TracedRoute
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes, two_routes
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.step_results import TruthResult
from circuit_tracer.graphs import NodeKind, prune
from circuit_tracer.graphs.bootstrap import Interval
from tests.experiments.dissociation.report import builders as dissociation_builders
from tests.render import builders
from tests.render.extents import SVG, extents, page_size

ALL = {
    "routes.svg",
    "overlap.svg",
    "ablation.svg",
    "heads.svg",
    "swap.svg",
    "truth-direction.svg",
}
QUESTION = ("[BOS]", "is", "a", "banana", "yellow", "?")


@cache
def routes(seed: int = 0, labels: tuple[str, ...] = builders.LABELS) -> TwoRoutes:
    first = builders.story(n_features=50, labels=labels, seed=seed, contrast=True)
    second = builders.story(
        tokens=QUESTION,
        n_features=60,
        labels=labels,
        targets=(("yes - no", 0.8),),
        contrast=True,
        seed=seed + 5,
    )
    sides = (
        TracedRoute(prune(first, node_threshold=0.95), {"object": 2}),
        TracedRoute(prune(second, node_threshold=0.95), {"object": 3}),
    )
    return two_routes(*sides, early_layers=2)


def hostile() -> Report:
    bad = "</text><script>alert(1)</script>\x00 & \u202e"
    whole = dissociation_builders.report(name=bad, question=bad * 9)
    families = tuple(replace(one, name=bad + one.name) for one in whole.families)
    heads = replace(whole.heads, families=(bad,))
    return replace(
        whole, families=families, heads=heads, verdict=replace(whole.verdict, headline=bad * 6)
    )


def test_all_figures_are_drawn_the_same_each_time() -> None:
    report = dissociation_builders.report()
    drawn = figures(report, routes())
    assert set(drawn) == ALL
    assert drawn == figures(report, routes())
    assert set(figures(report)) == ALL - {"routes.svg"}


def test_steps_that_were_not_measured_have_no_figure() -> None:
    bare = dissociation_builders.report(
        overlap=None, ablation=None, stores=None, heads=None, swap=None, truth=None, sets=()
    )
    assert set(figures(bare, routes())) == {"routes.svg"}
    empty = TruthResult(rows=(), best_role="value", best_layer=0)
    drawn = figures(dissociation_builders.report(truth=empty))
    assert set(drawn) == ALL - {"routes.svg", "truth-direction.svg"}


def assert_on_page(svg: str) -> None:
    width, height = page_size(svg)
    for one in extents(svg):
        assert one.left >= 0, one
        assert one.right <= width + 1, one
        assert one.top >= 0, one
        assert one.bottom <= height, one


@pytest.mark.parametrize("make", [dissociation_builders.report, hostile])
def test_nothing_is_clipped_and_no_text_lies_on_another(make) -> None:
    for name, svg in figures(make()).items():
        assert_on_page(svg)
        clashes = [(a, b) for a, b in combinations(extents(svg), 2) if a.covers(b)]
        assert not clashes, (name, clashes[:2])


@pytest.mark.parametrize("seed", range(3))
def test_routes_keep_to_their_page(seed: int) -> None:
    """Heads are moved off boxes and each other as far as their arrows go, so may come close."""
    svg = routes_svg(dissociation_builders.report(), routes(seed))
    assert_on_page(svg)
    heads = [one for one in extents(svg) if re.fullmatch(r"(L\d+\.H\d+ ?)+", one.words)]
    others = [one for one in extents(svg) if one not in heads]
    for one in others:
        assert not any(one.covers(other) for other in others if other is not one), one


@pytest.mark.parametrize("make", [dissociation_builders.report, hostile])
def test_text_stays_text_and_nothing_is_fetched(make) -> None:
    for svg in figures(make(), routes(1, builders.HOSTILE)).values():
        root = ElementTree.fromstring(svg)
        tags = {node.tag.removeprefix(SVG) for node in root.iter()}
        allowed = {"svg", "g", "rect", "text", "title", "line", "circle", "polygon", "path"}
        assert tags <= allowed | {"polyline"}
        assert not re.findall(r"(?:href|src|url)\W", re.sub(r">[^<]*<", "><", svg))


def test_unknown_figures_are_question_marks() -> None:
    unknown = Interval(nan, nan, nan)
    whole = dissociation_builders.report()
    cells = tuple(replace(one, drop=unknown) for one in whole.ablation.cells)
    index = tuple(replace(one, index=unknown) for one in whole.ablation.index)
    report = replace(whole, ablation=replace(whole.ablation, cells=cells, index=index))
    svg = figures(report)["ablation.svg"]
    ElementTree.fromstring(svg)
    assert sum(one.words == "?" for one in extents(svg)) == len(cells) + len(index)
    assert not re.search(r"\bnan\b", svg)


@pytest.mark.parametrize("seed", range(4))
def test_both_routes_share_their_bands_and_keep_apart(seed: int) -> None:
    drawn = combine(routes(seed))
    placed, nodes = drawn.layout.placed, drawn.graph.nodes
    assert set(np.flatnonzero(nodes.kind != NodeKind.EMBEDDING)) <= set(placed)
    for one, other in combinations(placed.values(), 2):
        assert not one.box.overlaps(other.box)
    for row, one in placed.items():
        is_second = nodes.position[row] >= drawn.second
        assert (one.box.left > drawn.start) == is_second
        assert one.box.right < drawn.start or is_second
        band = next(band for band in drawn.layout.bands if band.layer == nodes.layer[row])
        assert band.top <= one.box.top < one.box.bottom <= band.bottom


@pytest.mark.parametrize(
    ("name", "token", "is_early", "words"),
    [
        ('is/"?" → yes', "?", False, 'says yes, at is/"?"'),
        ('is/"?" → not leer', "is", False, 'at is/"?"'),
        ("pineapple → is", "banana", True, "at banana, pineapple …"),
    ],
)
def test_supernodes_are_named_in_plain_words(
    name: str, token: str, is_early: bool, words: str
) -> None:
    assert box_words(name, token, is_early=is_early) == words


def test_the_same_supernode_has_the_same_letter_in_both_routes() -> None:
    pruned = builders.middle()
    both = two_routes(*[TracedRoute(pruned, {"object": 2})] * 2, early_layers=3)
    svg = figures(dissociation_builders.report(), both)["routes.svg"]
    letters = [one.words[0] for one in extents(svg) if re.match("[A-Z] · ", one.words)]
    count = len(both.fact.supernodes)
    assert sorted(letters) == sorted([chr(65 + i) for i in range(count)] * 2)


def test_the_words_for_an_index_are_what_the_verdict_found() -> None:
    one = dissociation_builders.index("late", 0.9, 0.2)
    nothing = Interval(0.0, -0.1, 0.1)
    assert index_sentence(one, "yes", "features").startswith("Separate")
    assert index_sentence(one, "no", "stores").startswith("Not separate")
    assert index_sentence(one, "unclear", "features") == "Open."
    assert "only the fact" in index_sentence(
        replace(one, judgement_side=nothing), "unclear", "stores"
    )
    assert "only the judgement" in index_sentence(
        replace(one, fact_side=nothing), "unclear", "stores"
    )


def test_the_evidence_repeats_the_findings_and_what_was_measured() -> None:
    whole = dissociation_builders.report()
    shares, indices = ([row.name for row in panel.rows] for panel in evidence(whole))
    assert [name.partition(" (")[0] for name in shares[::2]] == [
        "Features in common",
        "Judgement follows a swapped fact",
    ]
    assert shares[3] == SWAPS["yes"]
    assert [name.partition(":")[0] for name in indices[1::2]] == ["Not separate", "Separate"]
    bare = evidence(replace(whole, ablation=None, stores=None, swap=None))
    assert [len(panel.rows) for panel in bare] == [2]


def test_control_bands_and_dots_stand_where_the_scale_says() -> None:
    """The late F drop of the fact, 71 %, lies right of V's, 8 %, by the distance of the ticks."""
    svg = figures(dissociation_builders.report())["ablation.svg"]
    root = ElementTree.fromstring(svg)
    squares = [
        float(node.get("x", 0)) + float(node.get("width", 0)) / 2
        for group in root.iter(f"{SVG}g")
        for node in group.findall(f"{SVG}rect")
        if group.find(f"{SVG}title") is not None and node.get("fill") == "#0072b2"
    ]
    texts = {one.words: (one.left + one.right) / 2 for one in extents(svg)}
    zero, all_ = (texts[words] for words in ("0 %", "100 %"))  # the last of both panels: judgement
    drops = [0.2, 0.06, 0.24]  # of judgement by F: early, late, together
    found = [(x + 18 - zero) / (all_ - zero) for x in squares if x + 18 > 450]
    assert found == pytest.approx(drops, abs=0.01)


def test_drawing_a_report_loads_nothing_heavy() -> None:
    names = ("page", "terminal", "compare")
    modules = ", ".join(f"circuit_tracer.experiments.dissociation.report.{name}" for name in names)
    program = (
        f"import sys, {modules};"
        "print([m for m in ('torch', 'nnsight', 'transformers', 'pyarrow', 'typst')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
