"""The kept graph in other tools' forms, read back with their own readers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import networkx as nx
import numpy as np
import pyarrow.parquet as pq
import pytest

from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.graphs.files.network_formats import Form, to_networkx, write
from circuit_tracer.graphs.files.records import counts, edge_table, node_table
from circuit_tracer.graphs.graph import NodeKind, node_names
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from tests.graphs.builders import random_graph


def example() -> PrunedGraph:
    return prune(random_graph(n_targets=3, unexpanded=1))


def hostile() -> PrunedGraph:
    """Labels and prompt with markup, control characters and formulas; two targets of one text."""
    graph = random_graph()
    n = len(graph.nodes)
    labels = (*('<b>\x00"&\x1b[0m' for _ in range(n - 2)), "\x01", "\x01")
    info = replace(graph.info, prompt="=cmd()\x07]]>", tokens=("\x00", "</node>", "'", "é"))
    return prune(replace(graph, nodes=replace(graph.nodes, label=labels), info=info))


def test_network_has_the_kept_nodes_and_edges() -> None:
    pruned = example()
    network = to_networkx(pruned)
    names = node_names(pruned.graph)
    assert list(network) == [names[row] for row in pruned.kept_rows]
    kept = pruned.kept_edges
    weights = {
        (names[s], names[t]): float(w)
        for s, t, w in zip(kept.source, kept.target, kept.weight, strict=True)
    }
    assert {(s, t): d["weight"] for s, t, d in network.edges(data=True)} == weights
    assert nx.is_directed_acyclic_graph(network)
    for _, _, edge in network.edges(data=True):
        assert edge["sign"] == np.sign(edge["weight"])
        assert 0 < edge["share"] <= 1
    for _, node in network.nodes(data=True):
        assert ("activation" in node) == (node["kind"] == "feature")
        assert None not in node.values()


@pytest.mark.parametrize("make", [example, hostile])
def test_each_form_is_read_back_by_its_own_reader(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    pruned = make()
    network = to_networkx(pruned)
    for form in get_args(Form):
        write(pruned, tmp_path / form, form)
    readers = {"graphml": nx.read_graphml, "gexf": nx.read_gexf}
    for form, read in readers.items():
        back = read(tmp_path / form)
        assert (len(back), back.size()) == (len(network), network.size())
        mine = sorted(d["weight"] for *_, d in network.edges(data=True))
        assert sorted(d["weight"] for *_, d in back.edges(data=True)) == pytest.approx(mine)
    record = json.loads((tmp_path / "node-link").read_text(encoding="utf-8"))
    back = nx.node_link_graph(record, edges="links")
    assert nx.utils.graphs_equal(back, network)
    assert pq.read_table(tmp_path / "parquet" / "edges.parquet").num_rows == network.size()
    with (tmp_path / "csv" / "nodes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["name"] for row in rows} == set(network)
    assert all(row["activation"] == "" for row in rows if row["kind"] != "feature")


def test_graphml_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(example(), tmp_path / name, "graphml")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of graphml"):
        write(example(), tmp_path / "x", "dot")
    write(example(), tmp_path / "x", "csv")
    with pytest.raises(OutputError, match="`overwrite`"):
        write(example(), tmp_path / "x", "csv")
    write(example(), tmp_path / "x", "csv", overwrite=True)


def test_two_targets_of_one_text_have_two_names() -> None:
    graph = hostile().graph
    names = node_names(graph)
    assert len(set(names)) == len(names)
    assert names[-1] == names[-2] + "#2"


def test_tables_are_plain_sorted_and_limited() -> None:
    pruned = example()
    nodes = node_table(pruned, 5, kinds=[NodeKind.FEATURE, NodeKind.ERROR])
    assert len(nodes) == 5
    assert [row["influence"] for row in nodes] == sorted(
        (row["influence"] for row in nodes), reverse=True
    )
    assert len(node_table(pruned, None)) == pruned.node_kept.sum()
    assert [row["kind"] for row in node_table(pruned, 3)] == ["logit"] * 3
    edges = edge_table(pruned, None)
    assert len(edges) == pruned.edge_kept.sum()
    flows = [row["influence"] for row in edges]
    assert flows == sorted(flows, reverse=True)
    assert len(edge_table(pruned, 2)) == 2
    json.dumps([nodes, edges, counts(pruned)], allow_nan=False)


def test_counts_add_up() -> None:
    pruned = example()
    found = counts(pruned)
    words = ("embeddings", "features", "errors", "logits")
    assert sum(found[word] for word in words) == found["nodes"] == len(pruned.graph.nodes)
    assert sum(found[f"{word}_kept"] for word in words) == found["nodes_kept"]
    assert found["features_unexpanded"] == 1
