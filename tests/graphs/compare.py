"""Equality of graphs down to the last bit, NaN equal to NaN."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.pruning import PrunedGraph


def assert_same_graph(one: Graph, other: Graph) -> None:
    assert one.info == other.info
    for table in ("nodes", "edges"):
        for field in fields(getattr(one, table)):
            mine = getattr(getattr(one, table), field.name)
            theirs = getattr(getattr(other, table), field.name)
            if field.name == "label":
                assert mine == theirs
                continue
            assert mine.dtype == theirs.dtype, field.name
            np.testing.assert_array_equal(mine, theirs, err_msg=field.name)


def assert_same_pruned(one: PrunedGraph, other: PrunedGraph) -> None:
    assert_same_graph(one.graph, other.graph)
    for name in ("node_kept", "edge_kept", "influence", "cumulative"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("node_threshold", "edge_threshold", "scores"):
        assert getattr(one, name) == getattr(other, name)
