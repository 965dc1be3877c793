"""Heads on the edges of the figure: which are written, where they stand, what tooltips add."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import numpy as np
import pytest

from circuit_tracer.graphs.head_loadings import HeadLoadings, carriers
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.curves import curves
from circuit_tracer.render.edge_labels import (
    LEAST_SHARE,
    MOST_LABELS,
    Carrier,
    carried_by,
    carrier_words,
    carriers_of,
    labels_of,
    place_labels,
)
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.route_lines import leading_routes, routes
from circuit_tracer.render.selection import select
from circuit_tracer.render.terminal import as_text
from tests.graphs.loadings import random_loadings
from tests.render import builders
from tests.render.builders import svg
from tests.render.test_svg import SVG, of_class

CASES = [builders.small, builders.middle, builders.large]


def loaded(pruned: PrunedGraph) -> HeadLoadings:
    return random_loadings(pruned, 3)


@pytest.mark.parametrize("case", CASES)
def test_labels_cover_no_node_and_no_other_label_and_stay_on_the_page(case) -> None:
    pruned = case()
    selection = select(pruned)
    layout = lay_out(pruned, selection)
    drawn = curves(pruned.graph, selection, layout)
    words = labels_of(pruned.graph, drawn, carriers_of(pruned.graph.edges, loaded(pruned)))
    labels = place_labels(drawn, words, layout)
    assert 0 < len(labels) <= MOST_LABELS
    for one, other in combinations(labels, 2):
        assert not one.box.overlaps(other.box)
    for label in labels:
        assert label.words == words[label.edge]
        assert 0 <= label.box.left < label.box.right <= layout.width
        assert not any(label.box.overlaps(placed.box) for placed in layout.placed.values())


def test_only_edges_between_tokens_are_labelled_and_like_ones_once() -> None:
    pruned = builders.middle()
    nodes, edges = pruned.graph.nodes, pruned.graph.edges
    selection = select(pruned)
    drawn = curves(pruned.graph, selection, lay_out(pruned, selection))
    carried = carriers_of(edges, loaded(pruned))
    words = labels_of(pruned.graph, drawn, carried)
    seen = set()
    for edge, said in words.items():
        source, target = int(edges.source[edge]), int(edges.target[edge])
        places = int(nodes.position[source]), int(nodes.position[target])
        assert places[0] != places[1]
        alike = (*places, int(nodes.layer[target]), said.split()[0])
        assert alike not in seen
        seen.add(alike)
    found = carriers(loaded(pruned), least=0.1)
    for edge, heads in carried.items():
        assert heads == found[int(edges.source[edge]), int(edges.target[edge])]


def test_the_head_that_moves_is_named_before_a_stronger_one_that_stays() -> None:
    stays = Carrier(0, 1, 2, 2, 0.9, 0.9)
    moves = Carrier(3, 2, 2, 4, 0.4, 0.4)
    weak = Carrier(3, 3, 2, 4, 0.1, LEAST_SHARE / 2)
    assert carrier_words([stays, moves]) == "L3.H2 40 %"
    assert carrier_words([stays, weak]) == "L0.H1 90 %"
    assert carrier_words([weak]) == ""
    assert carrier_words([]) == ""


def test_the_figure_bears_the_heads_only_where_they_are_stored() -> None:
    pruned = builders.middle()
    plain, with_heads = svg(pruned), svg(pruned, heads=loaded(pruned))
    assert "attention head" not in plain
    assert not of_class(ET.fromstring(plain.encode()), "heads")
    root = ET.fromstring(with_heads.encode())
    labels = of_class(root, "heads")
    assert labels
    assert all(label.findtext(f"{SVG}text", "").startswith("L") for label in labels)
    titles = [e.findtext(f"{SVG}title", "") for e in of_class(root, "edges")[0]]
    assert any("through L1.H" in title or "through L2.H" in title for title in titles)
    assert with_heads == svg(pruned, heads=loaded(pruned))


def test_routes_say_which_head_carries_an_edge() -> None:
    pruned = builders.middle()
    paths, words = leading_routes(pruned, 5), carried_by(loaded(pruned))
    text = as_text(routes(pruned, paths, carried=words), width=100)
    assert "brings most of the edge over" in text
    named = [pair for path in paths for pair in pairwise(path.rows) if pair in words]
    assert words[named[0]] in text
    assert "─L" not in as_text(routes(pruned, paths), width=100)
    assert carried_by(None) == {}
    none = loaded(pruned).take(np.zeros(0, dtype=np.int64))
    assert carriers_of(pruned.graph.edges, none) == {}
