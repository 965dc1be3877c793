"""Places: nothing overlaps, tokens run along x, layers up y."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.render.curves import curves
from circuit_tracer.render.layout import lay_out
from circuit_tracer.render.places import Layout
from circuit_tracer.render.selection import Selection, select
from tests.graphs.builders import random_graph
from tests.render import builders


def many_targets() -> PrunedGraph:
    targets = tuple((f" target{i}", 0.5 / (i + 1)) for i in range(10))
    return prune(builders.story(targets=targets, n_features=30, seed=6))


def long_prompt() -> PrunedGraph:
    tokens = ("[BOS]", *(f"word{i}" for i in range(90)))
    return prune(builders.story(tokens=tokens, n_features=80, n_layers=26, seed=5))


def bare() -> PrunedGraph:
    return prune(builders.story(tokens=("[BOS]", "x"), n_features=1, n_errors=0, n_layers=1))


def crowded() -> PrunedGraph:
    return prune(random_graph(2, 3, 60, n_targets=3), node_threshold=1.0)


CASES = [
    builders.small,
    builders.middle,
    builders.large,
    builders.hostile,
    many_targets,
    long_prompt,
    bare,
    crowded,
]


def laid_out(pruned: PrunedGraph, max_nodes: int = 60) -> tuple[Selection, Layout]:
    selection = select(pruned, max_nodes=max_nodes)
    return selection, lay_out(pruned, selection)


@pytest.mark.parametrize("case", CASES)
def test_every_selected_node_has_a_place_and_no_two_overlap(case) -> None:
    selection, layout = laid_out(case())
    assert list(layout.placed) == selection.rows.tolist()
    for a, b in combinations(layout.placed.values(), 2):
        assert not a.box.overlaps(b.box), (a, b)


@pytest.mark.parametrize("case", CASES)
def test_everything_is_on_the_page_and_in_its_stripe(case) -> None:
    pruned = case()
    _, layout = laid_out(pruned)
    bands = {band.layer: band for band in layout.bands}
    for row, placed in layout.placed.items():
        assert 0 <= placed.box.left < placed.box.right <= layout.width + 1e-6
        band = bands[int(pruned.graph.nodes.layer[row])]
        assert band.top <= placed.box.top < placed.box.bottom <= band.bottom


@pytest.mark.parametrize("case", CASES)
def test_layers_go_up_and_tokens_to_the_right(case) -> None:
    pruned = case()
    nodes = pruned.graph.nodes
    selection, layout = laid_out(pruned)
    for edge in selection.edges.tolist():
        source = layout.placed[int(pruned.graph.edges.source[edge])]
        target = layout.placed[int(pruned.graph.edges.target[edge])]
        assert target.mark.bottom < source.mark.top
    tokens = [p for row, p in layout.placed.items() if nodes.kind[row] == NodeKind.EMBEDDING]
    xs = [placed.x for placed in tokens]
    assert len(xs) > 1
    assert xs == sorted(xs)


def test_marks_stand_in_the_column_of_their_token() -> None:
    pruned = builders.middle()
    _, layout = laid_out(pruned)
    columns = {column.first: column for column in layout.columns}
    for row, placed in layout.placed.items():
        if pruned.graph.nodes.kind[row] != NodeKind.LOGIT:
            column = columns[int(pruned.graph.nodes.position[row])]
            assert column.left <= placed.mark.left < placed.mark.right <= column.right


def test_more_influence_makes_a_larger_mark() -> None:
    pruned = builders.small()
    selection, layout = laid_out(pruned)
    features = [r for r in selection.rows if pruned.graph.nodes.kind[r] == NodeKind.FEATURE]
    ranked = sorted(features, key=lambda row: pruned.influence[row])
    radii = [layout.placed[row].radius for row in ranked]
    assert radii == sorted(radii)
    assert radii[-1] > 2 * radii[0]


def test_tokens_without_nodes_collapse_into_counted_gaps() -> None:
    _, layout = laid_out(long_prompt())
    gaps = [column for column in layout.columns if column.is_gap]
    assert gaps
    assert sum(column.count for column in layout.columns) == 91
    assert max(column.right - column.left for column in gaps) < 60


def test_the_layout_does_not_depend_on_the_order_of_edges_in_the_selection() -> None:
    pruned = builders.small()
    selection = select(pruned)
    turned = replace(selection, edges=selection.edges[::-1], flow=selection.flow[::-1])
    assert lay_out(pruned, selection) == lay_out(pruned, turned)


def test_nodes_are_chosen_by_influence() -> None:
    pruned = builders.large()
    selection = select(pruned, max_nodes=20)
    kinds = pruned.graph.nodes.kind
    inner = np.flatnonzero(np.isin(kinds, (NodeKind.FEATURE, NodeKind.ERROR)) & pruned.node_kept)
    drawn = np.intersect1d(selection.rows, inner)
    left_out = np.setdiff1d(inner, drawn)
    assert len(drawn) == 20
    assert pruned.influence[drawn].min() >= pruned.influence[left_out].max()
    assert set(pruned.graph.target_rows) <= set(selection.rows)


def test_edges_are_limited_but_every_node_keeps_one() -> None:
    pruned = builders.large()
    selection = select(pruned, max_nodes=60)
    edges = pruned.graph.edges
    assert len(selection.edges) == 2 * len(selection.rows) < selection.edges_between
    drawn = np.zeros(len(edges), dtype=bool)
    drawn[selection.edges] = True
    is_node = np.isin(np.arange(len(pruned.graph.nodes)), selection.rows)
    possible = pruned.edge_kept & is_node[edges.source] & is_node[edges.target]
    for ends in (edges.source, edges.target):
        assert set(ends[drawn]) == set(ends[possible])


def test_what_was_left_out_is_reported() -> None:
    some = " ".join(select(builders.large(), max_nodes=42).sentences())
    assert "42 of 285 kept features and errors drawn: the 42 with most influence." in some
    assert "kept edges between them drawn: no edge left out carries more than" in some
    everything = " ".join(select(builders.small()).sentences())
    assert (
        everything == "All 14 kept features and errors drawn. All 53 kept edges between them drawn."
    )
    assert "26 of 91 tokens drawn" in " ".join(select(long_prompt()).sentences())


def test_no_left_out_edge_is_stronger_than_said() -> None:
    selection = select(builders.large(), max_nodes=60)
    weaker = np.sort(selection.flow)[::-1]
    assert 0 < selection.strongest_omitted < weaker[0]
    assert select(builders.small()).strongest_omitted == 0


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(UsageError, match="`max_nodes`"):
        select(builders.small(), max_nodes=0)


def test_few_curves_cross_marks_of_other_nodes() -> None:
    """Straight lines through a crowded page cross many marks; the curves avoid most of them."""
    pruned = builders.middle()
    selection, layout = laid_out(pruned)
    drawn = curves(pruned.graph, selection, layout)
    bent = straight = 0
    t = np.linspace(0, 1, 60)[:, None]
    for curve in drawn:
        p = np.array(curve.points)
        path = (
            (1 - t) ** 3 * p[0]
            + 3 * t * (1 - t) ** 2 * p[1]
            + 3 * t**2 * (1 - t) * p[2]
            + t**3 * p[3]
        )
        line = (1 - t) * p[0] + t * p[3]
        edges = pruned.graph.edges
        own = {int(edges.source[curve.edge]), int(edges.target[curve.edge])}
        for row, placed in layout.placed.items():
            if row not in own:
                at = np.array([placed.x, placed.y])
                bent += bool((np.linalg.norm(path - at, axis=1) < placed.radius).any())
                straight += bool((np.linalg.norm(line - at, axis=1) < placed.radius).any())
    assert bent < straight / 2
    assert bent < 0.2 * len(drawn)
