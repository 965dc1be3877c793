"""The merged figure: whole XML, all on the page, shape and colour say whose a node is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from circuit_tracer.graphs import NodeKind, PrunedGraph, prune
from circuit_tracer.graphs.comparing.comparison import compare
from circuit_tracer.graphs.comparing.merging import MergedGraph, Owner, merge
from circuit_tracer.graphs.head_loadings import carriers
from circuit_tracer.render import comparing
from circuit_tracer.render.merged import COLORS, merged_carriers, merged_svg, owner_mark
from circuit_tracer.render.terminal import as_text
from circuit_tracer.render.text import text_width
from tests.graphs.loadings import random_loadings
from tests.render import builders
from tests.render.extents import page_size

SVG = "{http://www.w3.org/2000/svg}"


def pair(first: PrunedGraph, second: PrunedGraph) -> tuple[MergedGraph, str]:
    merged = merge(first, second, compare(first, second, shuffles=0).columns)
    return merged, merged_svg(merged, first, second, overlap="Half is shared.")


def other() -> PrunedGraph:
    tokens = ("[BOS]", *builders.BANANA[1:-1], "blue", "?")
    return prune(builders.story(tokens=tokens, seed=5), node_threshold=0.95)


def test_the_figure_is_whole_and_the_same_each_time() -> None:
    first, second = builders.small(), other()
    merged, drawn = pair(first, second)
    assert drawn == pair(first, second)[1]
    root = ElementTree.fromstring(drawn)
    nodes = [g for g in root.iter(f"{SVG}g") if g.get("class", "").startswith("node ")]
    assert len(nodes) == len(merged.rows)
    words = " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    assert "Half is shared." in words
    assert "in both" in words
    shared = int(
        ((merged.node_owner == 0) & (merged.pruned.graph.nodes.kind == NodeKind.FEATURE)).sum()
    )
    assert f"in both: {shared} features" in words
    for owner in {Owner(int(one)) for one in merged.node_owner}:
        assert COLORS[owner] in drawn


def test_nothing_leaves_the_page() -> None:
    _, drawn = pair(builders.small(), other())
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert size is not None
    root = ElementTree.fromstring(drawn)
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("width", 0)) <= float(size[1])


def test_the_names_of_models_are_cut_where_a_column_ends() -> None:
    """Hub names of two models and their dictionaries do not fit 85 mm."""
    first, second = builders.small(), other()
    info = second.graph.info
    named = replace(info.dictionary, name="mwhanna/gemma-scope-transcoders-of-all-layers")
    graph = replace(second.graph, info=replace(info, dictionary=named))
    second = replace(second, graph=graph)
    merged = merge(first, second, compare(first, second, shuffles=0).columns)
    drawn = merged_svg(merged, first, second, width_mm=85)
    (below,) = re.findall(r"<text[^>]*>(attribution graphs of [^<]*)<", drawn)
    assert below.endswith("…")
    assert 20 + text_width(below, 10.0) <= page_size(drawn)[0]


def test_owners_differ_in_shape_not_only_in_colour() -> None:
    marks = [re.sub("#[0-9a-f]{6}", "", owner_mark(0, 0, 5, owner)) for owner in Owner]
    assert len(set(marks)) == 3


def test_a_graph_with_itself_is_of_one_colour() -> None:
    _, drawn = pair(builders.small(), builders.small())
    body = drawn[drawn.index('class="nodes"') :]
    body = body[: body.index("token</text>")]
    assert COLORS[Owner.FIRST] not in body
    assert COLORS[Owner.SECOND] not in body


def test_hostile_text_stays_text() -> None:
    _, drawn = pair(builders.hostile(), builders.hostile())
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn


@pytest.mark.parametrize("owner", list(Owner))
def test_tables_fit_the_terminal(owner: Owner) -> None:
    graphs = (builders.small(), other())
    compared = compare(*graphs, shuffles=10)
    merged = merge(*graphs, compared.columns)
    table = comparing.features_table(merged, owner, graphs, limit=3)
    rows = [("A, B after pruning", compared.kept, 0.01)]
    texts = [
        as_text(table, width=100),
        as_text(comparing.overlap_table(rows), width=100),
        as_text(comparing.graphs_table(graphs, comparing.letters(2)), width=100),
    ]
    assert all(len(line) <= 100 for text in texts for line in text.splitlines())
    assert "A, B after pruning" in texts[1]
    assert comparing.letters(28)[-2:] == ["G27", "G28"]


def test_edges_bear_the_heads_of_the_graph_that_has_them_stored() -> None:
    first, second = builders.small(), other()
    merged, plain = pair(first, second)
    assert "attention head" not in plain
    loadings = random_loadings(first), random_loadings(second, 1)
    found = merged_carriers(merged, (first, second), loadings)
    edges = merged.pruned.graph.edges
    for side in (0, 1):
        own = carriers(loadings[side], least=0.1)
        assert found[side]
        for edge, heads in found[side].items():
            ends = int(edges.source[edge]), int(edges.target[edge])
            rows = merged.rows[ends[0]][side], merged.rows[ends[1]][side]
            assert heads == own[rows]
            assert int(merged.edge_owner[edge]) in (Owner.BOTH, (Owner.FIRST, Owner.SECOND)[side])
    drawn = merged_svg(merged, first, second, heads=loadings)
    assert "attention head" in drawn
    assert drawn.count('class="heads"') > 3
    alone = merged_svg(merged, first, second, heads=(None, loadings[1]))
    assert 0 < alone.count('class="heads"') <= drawn.count('class="heads"')
