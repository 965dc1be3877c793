"""Heads and scores in the terminal: fits, true, deaf to hostile text."""

from __future__ import annotations

import numpy as np
import pytest
from rich.cells import cell_len

from circuit_tracer.graphs.graph import NodeKind, node_name
from circuit_tracer.graphs.head_loadings import leading_heads
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.qk_terms import (
    KINDS,
    Against,
    KeyScore,
    Parts,
    QkAttribution,
    Share,
    Source,
    Term,
)
from circuit_tracer.render.attention import edge_heads, leading_table, qk_parts
from circuit_tracer.render.terminal import as_text
from tests.graphs.loadings import random_loadings
from tests.render import builders


def parts_of(pruned: PrunedGraph, value: float = 2.5, complete: bool = True) -> Parts:
    nodes = pruned.graph.nodes
    row = int(nodes.of_kind(NodeKind.FEATURE)[0])
    places = (nodes.layer[row], nodes.position[row], nodes.feature[row])
    feature = Source("feature", *(int(place) for place in places))
    assert feature.name == node_name(pruned.graph, row)
    token, rest = Source("embedding", -1, 1, -1), Source("constant", -1, -1, -1)
    by_kind = np.zeros((4, 4))
    by_kind[0, 0], by_kind[0, 2], by_kind[3, 3] = 0.5, 3.0, value - 3.5
    return Parts(
        value=value,
        by_kind=by_kind,
        feature_share=0.5 / np.abs(by_kind).sum(),
        residual=0.0,
        positive=(Term(feature, token, 3.0), Term(feature, feature, 0.5)),
        negative=(Term(rest, rest, value - 3.5),),
        complete=complete,
        query_sources=(Share(feature, 3.5), Share(rest, -1.0)),
        key_sources=(Share(token, 3.0),),
    )


def attribution(pruned: PrunedGraph, softcap: float | None = None) -> QkAttribution:
    keys = tuple(KeyScore(at, 2.5 - at, 0.5**at) for at in range(3))
    against = (Against(2, parts_of(pruned, 1.0, complete=False)),)
    return QkAttribution(3, 1, 2, 1, 1.0, softcap, 2, (1, 2), parts_of(pruned), keys, against)


@pytest.mark.parametrize("case", [builders.small, builders.middle, builders.hostile])
@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal_or_acts_on_it(case, width) -> None:
    pruned = case()
    loadings, edges = random_loadings(pruned), pruned.kept_edges
    ends = int(edges.source[0]), int(edges.target[0])
    shown = [
        leading_table(pruned, leading_heads(pruned, loadings)),
        *edge_heads(pruned.graph, *ends, float(edges.weight[0]), loadings.of_edge(*ends)),
        *qk_parts(pruned.graph, attribution(pruned), top=5),
    ]
    for one in shown:
        for line in as_text(one, width=width).splitlines():
            assert cell_len(line) <= width
            assert line.isprintable()


def test_an_edge_without_attention_says_so() -> None:
    pruned = builders.small()
    none = random_loadings(pruned).take(slice(0, 0))
    (shown,) = edge_heads(pruned.graph, 0, len(pruned.graph.nodes) - 1, 1.0, none)
    assert "No attention" in as_text(shown)
    assert "No head" in as_text(leading_table(pruned, []))


def test_a_score_is_explained_before_its_terms() -> None:
    pruned = builders.small()
    text = "".join(as_text(p) for p in qk_parts(pruned.graph, attribution(pruned, 50.0), top=2))
    assert text.index("Explained by features on both sides: 11 %") < text.index("attention   score")
    assert "caps scores to ±50 by tanh" in text
    assert "+3.0000" in text
    assert "a stronger term may be among them" in " ".join(text.split())
    sums = [line.split()[-1] for line in text.splitlines() if line.split()[:1] == ["sum"]]
    assert sums == ["+2.500"]
    assert list(KINDS) == ["feature", "error", "embedding", "constant"]
