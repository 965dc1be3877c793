"""The two routes at supernode level, on graphs worked out by hand and on random ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuit_tracer.experiments.dissociation.report.routes.route import Box, Route, TracedRoute
from circuit_tracer.experiments.dissociation.report.routes.two_routes import (
    MOST_BOXES,
    TwoRoutes,
    routes_of,
    two_routes,
)
from circuit_tracer.experiments.dissociation.results import TracedItem
from circuit_tracer.experiments.dissociation.step_results import FeatureSet, Member
from circuit_tracer.graphs import Edges, Graph, NodeKind, Nodes, PrunedGraph, Target, prune
from circuit_tracer.graphs.comparing.merging import Owner
from circuit_tracer.graphs.files.storage import save_graph
from circuit_tracer.graphs.head_loadings import OTHERS, RESIDUAL, HeadLoadings, save_heads
from tests.experiments.dissociation.report import builders as dissociation_builders
from tests.graphs.builders import make_info
from tests.graphs.loadings import random_loadings
from tests.render import builders

FACT = ("[BOS]", "a", "banana", "is")
LAYERS = ("L0-0", "L3-3", "L5-5")
QUESTION = ("[BOS]", "is", "a", "banana", "yellow", "?")


def hand(
    tokens: tuple[str, ...],
    at_object: int,
    read_out: int,
    *,
    of_first: float = 0.0,
    n_zeroed: int = 1,
) -> PrunedGraph:
    """The first token -`of_first`-> L3/5;
    banana -> L0/1 -2-> L3/5 -1-> L5/`read_out` -3-> target, and L3/5 -1-> target."""
    n, last = len(tokens), len(tokens) - 1
    cells = [(0, at_object, 1, "banana"), (3, last, 5, "yellow"), (5, last, read_out, "→ say")]
    target = Target("x", (500,), last, 1.0, 9.0, 0)
    kinds = [NodeKind.EMBEDDING] * n + [NodeKind.FEATURE] * 3 + [NodeKind.LOGIT]
    size = n + 4
    table = [
        (at_object, n, 1.0),
        (n, n + 1, 2.0),
        (n + 1, n + 2, 1.0),
        (n + 1, n + 3, 1.0),
        (n + 2, n + 3, 3.0),
    ]
    table += [(0, n + 1, of_first)] if of_first else []
    source, to, weight = zip(*sorted(table, key=lambda edge: (edge[1], edge[0])), strict=True)
    total = np.bincount(to, weight, size)
    fed = total > 0
    nodes = Nodes(
        kind=np.array(kinds, np.int8),
        layer=np.array([-1] * n + [cell[0] for cell in cells] + [6], np.int32),
        position=np.array([*range(n), *(cell[1] for cell in cells), last], np.int32),
        feature=np.array([*range(n), *(cell[2] for cell in cells), 500], np.int64),
        activation=np.full(size, 1.0),
        value=np.where(fed, total, np.nan),
        constant=np.where(fed, 0.0, np.nan),
        expanded=fed,
        weight=np.array([0.0] * (size - 1) + [1.0]),
        label=(*tokens, *(cell[3] for cell in cells), "x"),
    )
    edges = Edges(np.array(source, np.int32), np.array(to, np.int32), np.array(weight, np.float32))
    info = replace(make_info(tokens, 6, (target,)), settings={"zeroed_positions": n_zeroed})
    return prune(Graph(info, nodes, edges), node_threshold=1.0, edge_threshold=1.0)


def sides(**more) -> TwoRoutes:
    fact = TracedRoute(hand(FACT, 2, 7), {"object": 2, "verdict": 3}, more.pop("loadings", None))
    roles = {"object": 3, "value": 4, "verdict": 5}
    return two_routes(fact, TracedRoute(hand(QUESTION, 3, 9), roles), early_layers=2, **more)


def supernodes(side: Route) -> dict[str, Box]:
    """By their layers."""
    return {"L{}-{}".format(*box.layers): box for box in side.supernodes}


def test_what_both_graphs_have_is_shared_and_the_same_in_both() -> None:
    routes = sides()
    fact, judgement = supernodes(routes.fact), supernodes(routes.judgement)
    assert [fact[at].owner for at in LAYERS] == [Owner.BOTH, Owner.BOTH, Owner.FIRST]
    assert [judgement[at].owner for at in LAYERS] == [Owner.BOTH, Owner.BOTH, Owner.SECOND]
    for at in ("L0-0", "L3-3"):
        assert fact[at].twin == judgement[at].twin >= 0
    assert fact["L5-5"].twin != judgement["L5-5"].twin
    assert [box.is_store for box in fact.values()].count(True) == 1
    assert fact["L0-0"].position == 2
    assert judgement["L0-0"].position == 3


def test_arrows_carry_the_influence_worked_out_by_hand() -> None:
    """Target input 4: 3/4 by the read-out, which has all from L3/5, 1/4 straight from L3/5."""
    routes = sides()
    boxes = routes.fact.boxes
    found = {
        (boxes[arrow.source].name, boxes[arrow.target].name): arrow for arrow in routes.fact.arrows
    }
    expected = {
        ("banana", "banana"): (1.0, 1.0),
        ("banana", "yellow"): (1.0, 1.0),
        ("yellow", "→ say"): (0.75, 1.0),
        ("yellow", "x"): (0.25, 0.25),
        ("→ say", "x"): (0.75, 0.75),
    }
    assert {pair: (a.influence, a.share) for pair, a in found.items()} == {
        pair: pytest.approx(values) for pair, values in expected.items()
    }
    assert routes.fact.covered == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("n_zeroed", "of_first", "is_drawn"), [(1, 0.08, False), (0, 0.08, True), (1, 0.2, True)]
)
def test_a_weak_arrow_is_left_out_of_a_leading_token_never_of_a_first_word(
    n_zeroed: int, of_first: float, is_drawn: bool
) -> None:
    """Their influences are 0.08 / 2.08 and 0.2 / 2.2."""
    pruned = hand(FACT, 2, 7, of_first=of_first, n_zeroed=n_zeroed)
    found = two_routes(*[TracedRoute(pruned, {"object": 2})] * 2, early_layers=2).fact
    assert any(arrow.source == 0 for arrow in found.arrows) == is_drawn


def test_features_in_the_set_of_their_own_part_are_counted() -> None:
    routes = sides(
        sets={(3, 5): Owner.BOTH, (5, 7): Owner.FIRST, (5, 9): Owner.BOTH, (0, 1): Owner.FIRST}
    )
    fact, judgement = supernodes(routes.fact), supernodes(routes.judgement)
    assert [fact[at].chosen for at in LAYERS] == [0, 1, 1]
    assert [judgement[at].chosen for at in LAYERS] == [0, 1, 0]


def test_early_sets_hold_at_the_object_alone() -> None:
    """Without its role the banana's token is no object, and its early features are no store."""
    sets = {(0, 1): Owner.BOTH, (3, 5): Owner.BOTH}
    graphs = TracedRoute(hand(FACT, 2, 7), {}), TracedRoute(hand(QUESTION, 3, 9), {})
    nowhere = supernodes(two_routes(*graphs, sets=sets, early_layers=2).fact)
    assert (nowhere["L0-0"].chosen, nowhere["L3-3"].chosen) == (0, 1)
    assert supernodes(sides(sets=sets).fact)["L0-0"].chosen == 1


def test_heads_that_carry_an_arrow_are_named() -> None:
    """Of the edge of 2 from L0/1: 0.5 stays, head 2 moves 1.2, head 0 moves 0.3 (less than 0.2 of
    it), head 1 looks at its own token and moves nothing."""
    n = len(FACT)
    rows = ((RESIDUAL, -1, -1, 0.1), (OTHERS, -1, -1, 0.0), (0, 2, 3, 0.3), (1, 3, 3, 0.4))
    rows = (*rows, (2, 2, 3, 1.2))
    head, key, query, loading = zip(*rows, strict=True)
    count = len(rows)
    loadings = HeadLoadings(
        source=np.full(count, n, np.int32),
        target=np.full(count, n + 1, np.int32),
        layer=np.full(count, 1, np.int16),
        head=np.array(head, np.int16),
        key=np.array(key, np.int32),
        query=np.array(query, np.int32),
        loading=np.array(loading, np.float64),
        peak=np.array(loading, np.float64),
    )
    routes = sides(loadings=loadings)
    fact = routes.fact
    named = {
        fact.boxes[a.target].layers[0]: a.heads
        for a in fact.arrows
        if fact.boxes[a.source].kind == NodeKind.FEATURE
    }
    assert named == {3: ("L1.H2",), 5: (), 6: ()}


def test_negative_edges_count_their_heads_by_what_they_do_to_the_edge() -> None:
    """A head whose loading has the edge's own sign carries it, whichever sign that is."""
    fact = hand(FACT, 2, 7)
    n = len(FACT)
    edges = fact.graph.edges
    weight = np.where(edges.source == n, -edges.weight, edges.weight).astype(np.float32)
    fact = prune(
        replace(fact.graph, edges=replace(edges, weight=weight)),
        node_threshold=1.0,
        edge_threshold=1.0,
    )
    loadings = HeadLoadings(
        source=np.full(2, n, np.int32),
        target=np.full(2, n + 1, np.int32),
        layer=np.full(2, 1, np.int16),
        head=np.array([0, 2], np.int16),
        key=np.full(2, 2, np.int32),
        query=np.full(2, 3, np.int32),
        loading=np.array([1.0, -3.0]),
        peak=np.array([1.0, -3.0]),
    )
    other = TracedRoute(hand(QUESTION, 3, 9), {"object": 3})
    routes = two_routes(TracedRoute(fact, {"object": 2}, loadings), other, early_layers=2)
    arrow = next(one for one in routes.fact.arrows if one.heads)
    assert (arrow.heads, arrow.share) == (("L1.H2",), pytest.approx(-1.0))


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs_come_down_to_a_few_boxes(seed: int) -> None:
    tokens = ("[BOS]", "is", "a", "banana", "yellow", "?")
    first = prune(builders.story(n_features=60, seed=seed), node_threshold=0.95)
    second = prune(builders.story(tokens=tokens, n_features=70, seed=seed + 9), node_threshold=0.95)
    given = (TracedRoute(first, {"object": 2}), TracedRoute(second, {"object": 3}))
    routes = two_routes(*given, early_layers=2)
    repeated = two_routes(*given, early_layers=2)
    for side, same in zip(routes.both, repeated.both, strict=True):
        assert (side.boxes, side.arrows) == (same.boxes, same.arrows)
        inner = side.supernodes
        assert 0 < len(inner) <= MOST_BOXES + 1
        assert 0 < side.covered <= 1 + 1e-9
        assert sum(len(box.rows) for box in inner) <= 70
        for arrow in side.arrows:
            assert side.boxes[arrow.source].level < side.boxes[arrow.target].level
        flows = [arrow.influence for arrow in side.arrows]
        assert flows == sorted(flows, reverse=True)
        for box in inner:
            first, last = box.layers
            assert last < 2 or first >= 2


def test_a_graph_beside_itself_is_all_shared() -> None:
    pruned = builders.middle()
    routes = two_routes(*[TracedRoute(pruned, {"object": 2})] * 2, early_layers=3)
    assert (routes.fact.boxes, routes.fact.arrows) == (
        routes.judgement.boxes,
        routes.judgement.arrows,
    )
    assert {box.owner for box in routes.fact.boxes} == {Owner.BOTH}


def test_heads_that_rewrite_a_token_in_its_place_are_named_there() -> None:
    """Of banana's edge of 1: head 1 does 0.7 at its own place, head 0 carries 0.3 elsewhere."""
    n = len(FACT)
    loadings = HeadLoadings(
        source=np.full(3, 2, np.int32),
        target=np.full(3, n, np.int32),
        layer=np.zeros(3, np.int16),
        head=np.array([RESIDUAL, 0, 1], np.int16),
        key=np.array([-1, 1, 2], np.int32),
        query=np.array([-1, 2, 2], np.int32),
        loading=np.array([0.0, 0.3, 0.7]),
        peak=np.array([0.0, 0.3, 0.7]),
    )
    boxes = {box.name: box for box in sides(loadings=loadings).fact.boxes[: len(FACT)]}
    assert {name: box.heads for name, box in boxes.items() if box.heads} == {"banana": ("L0.H1",)}


def test_a_report_is_drawn_with_the_sets_of_the_other_half(tmp_path: Path) -> None:
    """The item is in half 1: what was chosen on half 0 counts."""
    graphs = {"completion": hand(FACT, 2, 7), "yes-no": hand(QUESTION, 3, 9)}
    for name, pruned in graphs.items():
        (tmp_path / name).mkdir()
        save_graph(pruned, tmp_path / name)
        save_heads(random_loadings(pruned), tmp_path / name)
    roles = {"completion": {"object": 2}, "yes-no": {"object": 3}}
    item = TracedItem(
        "banana", "yellow", "red", {name: name for name in graphs}, *graphs, roles, half=1
    )
    member = Member(5, 7, 0.1, 0.1, "")
    sets = (
        FeatureSet("F", "late", 0, (member,), 1.0, 1.0),
        FeatureSet("F", "late", 1, (), 1.0, 1.0),
    )
    report = dissociation_builders.report(item=item, sets=sets)
    routes = routes_of(report, tmp_path)
    assert routes is not None
    assert supernodes(routes.fact)["L5-5"].chosen == 1
    assert any(arrow.heads for arrow in routes.fact.arrows)
    assert routes_of(dissociation_builders.report(), tmp_path) is None
