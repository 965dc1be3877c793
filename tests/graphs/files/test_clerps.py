"""Names and notes that people gave to nodes in a viewer, in `qParams.clerps` and beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circuit_tracer as ct
from circuit_tracer.graphs.files.clerps import names_in, notes_in
from circuit_tracer.graphs.files.exchange import exchange_id, from_exchange, named_rows, to_exchange
from circuit_tracer.graphs.files.q_params import notes_of, with_pins
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.describe import node_lines
from tests.graphs.validator import graph_complaints
from tests.render.builders import middle


def _feature() -> int:
    """The row of the strongest kept feature."""
    pruned = middle()
    is_feature = pruned.node_kept & (pruned.graph.nodes.kind == NodeKind.FEATURE)
    return int(np.argmax(np.where(is_feature, pruned.influence, -1)))


def _neuronpedia_id(record: dict[str, Any], node_id: str) -> str:
    """`featureId` as formatGraphData of Neuronpedia's page makes it of a node in a graph JSON."""
    node = next(one for one in record["nodes"] if one["node_id"] == node_id)
    return f"{node['layer']}_{node['feature']}_{node['ctx_idx']}"


def _written_on(tmp_path: Path) -> tuple[PrunedGraph, str]:
    """A graph with a name and two notes, put on it by a viewer's export, and its node's id."""
    node_id = exchange_id(middle().graph, _feature())
    clean = to_exchange(middle(), slug="x")
    token = clean["nodes"][0]["node_id"]
    exported = {
        "qParams": {
            "pinnedIds": [],
            "supernodes": [],
            "clerps": [[_neuronpedia_id(clean, node_id), "what ripens"]],
        },
        "metadata": {"circuit_tracer_cli": {"notes": {node_id: "first\nsecond", token: "<b>"}}},
    }
    (tmp_path / "pins.json").write_text(json.dumps(exported))
    return with_pins(middle(), tmp_path / "pins.json"), node_id


def test_a_name_is_the_nodes_clerp_and_in_the_list_that_neuronpedia_reads(tmp_path: Path) -> None:
    pruned, node_id = _written_on(tmp_path)
    record = to_exchange(pruned, slug="x")
    assert graph_complaints(json.dumps(record)) == []
    clerps = {node["node_id"]: node["clerp"] for node in record["nodes"]}
    assert clerps.pop(node_id) == "what ripens"
    before = {node["node_id"]: node["clerp"] for node in to_exchange(middle(), slug="x")["nodes"]}
    assert clerps == {name: clerp for name, clerp in before.items() if name != node_id}
    assert record["qParams"]["clerps"] == [[_neuronpedia_id(record, node_id), "what ripens"]]
    assert "clerps" not in to_exchange(middle(), slug="x")["qParams"]


def test_names_and_notes_come_back_from_a_graph_json(tmp_path: Path) -> None:
    pruned, node_id = _written_on(tmp_path)
    (tmp_path / "graph.json").write_text(json.dumps(to_exchange(pruned, slug="x")))
    loaded = ct.load(tmp_path / "graph.json")
    row = next(
        row
        for row in loaded.pruned.kept_rows.tolist()
        if exchange_id(loaded.pruned.graph, row) == node_id
    )
    assert loaded.pruned.graph.nodes.label[row] == "what ripens"
    assert named_rows(loaded.pruned.graph, loaded.pruned.kept_rows.tolist()) == [row]
    assert notes_of(loaded.pruned.graph)[row] == "first\nsecond"
    table = {one["row"]: one for one in loaded.nodes()}
    assert (table[row]["label"], table[row]["note"]) == ("what ripens", "first\nsecond")
    assert sorted(one["note"] for one in table.values())[-2:] == ["<b>", "first\nsecond"]
    assert node_lines(loaded.pruned, row)[-2:] == ["first", "second"]
    again = to_exchange(loaded.pruned, slug="x")
    assert again == to_exchange(pruned, slug="x")


def test_another_tools_file_without_our_extras_keeps_its_names(tmp_path: Path) -> None:
    pruned, node_id = _written_on(tmp_path)
    record = to_exchange(pruned, slug="x")
    del record["metadata"]["circuit_tracer_cli"]
    node = next(one for one in record["nodes"] if one["node_id"] == node_id)
    node["clerp"] = "as it was"
    for given in (record["qParams"]["clerps"], json.dumps([[str(node["feature"]), "what ripens"]])):
        record["qParams"]["clerps"] = given
        graph = from_exchange(record).graph
        labels = {
            exchange_id(graph, row): graph.nodes.label[row] for row in range(len(graph.nodes))
        }
        assert labels[node_id] == "what ripens"


def test_names_that_a_later_viewer_took_away_are_gone(tmp_path: Path) -> None:
    pruned, _ = _written_on(tmp_path)
    record = to_exchange(pruned, slug="x")
    del record["qParams"]["clerps"]
    del record["metadata"]["circuit_tracer_cli"]["notes"]
    graph = from_exchange(record).graph
    assert named_rows(graph, range(len(graph.nodes))) == []
    assert notes_of(graph) == {}


@pytest.mark.parametrize(
    "clerps",
    [None, 7, "[", "[" * 100_000, {}, [3, [], ["a"], ["a", 5], ["a", "b", "c"], ["a", " "]]],
)
def test_what_is_no_name_is_left_out(clerps: object) -> None:
    assert names_in({"clerps": clerps}) == {}
    record = to_exchange(middle(), slug="x")
    record["qParams"]["clerps"] = clerps
    assert "clerps" not in to_exchange(from_exchange(record), slug="x")["qParams"]


def test_what_is_no_note_is_left_out() -> None:
    for extras in (None, 3, {"notes": [1]}, {"notes": {"1_2_3": 4, "x": "  "}}):
        assert notes_in({"metadata": {"circuit_tracer_cli": extras}}) == {}
    assert notes_in([]) == {}
    gone = to_exchange(middle(), slug="x")
    gone["metadata"]["circuit_tracer_cli"]["notes"] = {"9_9_9": "of no node"}
    assert (
        "notes" not in to_exchange(from_exchange(gone), slug="x")["metadata"]["circuit_tracer_cli"]
    )
