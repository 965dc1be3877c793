"""The exchanged graph JSON: the form as formats.md says, ours and others' files read back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.exchange import (
    cantor,
    open_graph,
    read_exchange,
    to_exchange,
    write_exchange,
)
from circuit_tracer.graphs.files.exchange_node import inverse_cantor
from circuit_tracer.graphs.files.exchange_reader import from_exchange
from circuit_tracer.graphs.files.storage import save_graph
from circuit_tracer.graphs.graph import DROPPED, Edges, Graph, NodeKind, Target
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from tests.graphs.builders import random_graph, thinned
from tests.graphs.compare import assert_same_graph, assert_same_pruned


def example(**changes: Any) -> PrunedGraph:
    return prune(random_graph(n_targets=3, **changes), node_threshold=0.9)


def through_json(record: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(record, allow_nan=False))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("layer", "feature"), [(0, 0), (3, 117), (47, 2**22), (200, 2**31)])
def test_cantor_number_and_its_inverse(layer: int, feature: int) -> None:
    assert inverse_cantor(cantor(layer, feature)) == (layer, feature)
    assert cantor(layer, feature) < 2**63


def test_cantor_is_the_pairing_of_the_form() -> None:
    assert cantor(2, 3) == 5 * 6 // 2 + 3


def test_form_of_the_nodes() -> None:
    pruned = example()
    record = through_json(to_exchange(pruned, slug="s", scan="gemma-2-2b"))
    assert set(record) == {"metadata", "qParams", "nodes", "links"}
    by_type: dict[str, list[dict[str, Any]]] = {}
    for node in record["nodes"]:
        by_type.setdefault(node["feature_type"], []).append(node)
    feature = by_type["cross layer transcoder"][0]
    layer, index, position = (int(part) for part in feature["node_id"].split("_"))
    assert feature["feature"] == cantor(layer, index)
    assert (feature["layer"], feature["ctx_idx"]) == (str(layer), position)
    assert feature["activation"] > 0
    error = by_type["mlp reconstruction error"][0]
    assert error["node_id"] == f"{error['layer']}_error_mlp_{error['ctx_idx']}"
    assert (error["feature"], error["activation"]) == (-1, None)
    embedding = by_type["embedding"][1]
    assert (embedding["node_id"], embedding["layer"]) == ("E_101_1", "E")
    assert (embedding["jsNodeId"], embedding["feature"]) == ("E_101-1", 1)
    first, second, contrast = by_type["logit"]
    assert (first["node_id"], first["layer"]) == ("4_500_3", "4")
    assert first["clerp"] == 'Output "yellow" (p=0.600)'
    assert (first["is_target_logit"], second["is_target_logit"]) == (True, False)
    assert contrast["node_id"] == "4_502-602_3"


def test_form_of_the_metadata() -> None:
    record = to_exchange(example(), slug="s")
    metadata = record["metadata"]
    assert metadata["slug"] == "s"
    assert metadata["scan"] == "tiny-plt"
    assert metadata["schema_version"] == 1
    assert metadata["pruning_settings"] == {"node_threshold": 0.9, "edge_threshold": 0.98}
    assert metadata["generation_settings"] == {"max_n_logits": 10, "desired_logit_prob": 0.95}
    assert record["qParams"]["linkType"] == "both"


def test_influence_is_cumulative_and_lower_is_more_important() -> None:
    pruned = example()
    record = to_exchange(pruned, slug="s")
    shares = [node["influence"] for node in record["nodes"]]
    mine = pruned.influence[pruned.kept_rows]
    competing = [i for i, share in enumerate(shares) if share is not None]
    assert len(competing) == len(shares) - 3
    order = sorted(competing, key=lambda i: -mine[i])
    assert [shares[i] for i in order] == sorted(shares[i] for i in competing)
    assert shares[order[0]] == pytest.approx(mine.max() / pruned.influence.sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_our_own_files_come_back_whole(dtype: type) -> None:
    pruned = example(dtype=dtype, unexpanded=2)
    read = from_exchange(through_json(to_exchange(pruned, slug="s")))
    assert_same_graph(read.graph, pruned.kept_graph())
    np.testing.assert_array_equal(read.influence, pruned.influence[pruned.kept_rows])
    assert read.scores == pruned.scores
    again = from_exchange(through_json(to_exchange(read, slug="s")))
    assert_same_pruned(again, read)


def foreign(pruned: PrunedGraph, error_id: str = "{layer}_error_mlp_{position}") -> dict[str, Any]:
    """The same graph as another tool writes it: no extras, its own error ids."""
    record = through_json(to_exchange(pruned, slug="s", scan="gemma-2-2b"))
    del record["metadata"]["circuit_tracer_cli"]
    renamed = {}
    for node in record["nodes"]:
        if node["feature_type"] == "mlp reconstruction error":
            name = error_id.format(layer=node["layer"], position=node["ctx_idx"])
            renamed[node["node_id"]] = node["node_id"] = name
    for link in record["links"]:
        link["source"] = renamed.get(link["source"], link["source"])
    return record


@pytest.mark.parametrize(
    "error_id",
    ["{layer}_error_mlp_{position}", "0_{layer}_{position}", "{layer}_-1_{position}"],
)
def test_other_tools_files_are_read_with_any_error_id(error_id: str) -> None:
    pruned = example(dtype=np.float64)
    kept = pruned.kept_graph()
    read = from_exchange(foreign(pruned, error_id))
    for name in ("kind", "layer", "position", "activation"):
        np.testing.assert_array_equal(getattr(read.graph.nodes, name), getattr(kept.nodes, name))
    np.testing.assert_array_equal(read.graph.edges.weight, kept.edges.weight)
    np.testing.assert_array_equal(read.graph.edges.source, kept.edges.source)
    features = kept.nodes.kind != NodeKind.LOGIT
    np.testing.assert_array_equal(read.graph.nodes.feature[features], kept.nodes.feature[features])
    assert read.graph.nodes.label == kept.nodes.label
    assert read.graph.info.token_ids == kept.info.token_ids
    assert read.graph.info.n_layers == kept.info.n_layers
    assert read.graph.info.model.name == "gemma-2-2b"
    np.testing.assert_allclose(read.graph.nodes.weight, kept.nodes.weight)
    assert (read.node_threshold, read.edge_threshold) == (0.9, 0.98)
    assert read.node_kept.all()
    assert read.influence.sum() > 0
    np.testing.assert_array_equal(read.cumulative, pruned.cumulative[pruned.kept_rows])


def test_without_shares_in_the_file_they_are_those_of_its_graph() -> None:
    record = foreign(example(dtype=np.float64))
    record["nodes"][2]["influence"] = None
    read = from_exchange(record)
    assert read.shares is None
    inner = read.graph.nodes.kind != NodeKind.LOGIT
    assert read.cumulative[inner].max() == pytest.approx(1.0)


def test_shares_of_the_whole_graph_survive_reading_and_writing(tmp_path: Path) -> None:
    pruned = prune(random_graph(n_targets=3), node_threshold=0.5)
    record = through_json(to_exchange(pruned, slug="s"))
    read = from_exchange(record)
    assert read.node_kept.sum() < len(pruned.graph.nodes)
    np.testing.assert_array_equal(read.cumulative, pruned.cumulative[pruned.kept_rows])
    assert through_json(to_exchange(read, slug="s")) == record
    save_graph(read, tmp_path)
    assert_same_pruned(open_graph(tmp_path), read)
    assert prune(read.graph).shares is None


def test_nodes_in_any_order_are_sorted() -> None:
    record = foreign(example(dtype=np.float64))
    expected = from_exchange(record)
    shuffled = copy.deepcopy(record)
    np.random.default_rng(0).shuffle(shuffled["nodes"])
    np.random.default_rng(1).shuffle(shuffled["links"])
    read = from_exchange(shuffled)
    assert (read.graph.edges.source < read.graph.edges.target).all()
    np.testing.assert_allclose(
        np.sort(read.influence), np.sort(expected.influence), rtol=1e-12, atol=1e-15
    )


def test_pins_and_supernodes_survive() -> None:
    record = to_exchange(example(), slug="s")
    first, second, third = (node["node_id"] for node in record["nodes"][:3])
    record["qParams"] |= {"supernodes": [["banana", first, second]], "pinnedIds": [third]}
    again = to_exchange(from_exchange(record), slug="s")["qParams"]
    assert again["supernodes"] == [["banana", first, second]]
    assert again["pinnedIds"] == [third, first, second]


@pytest.mark.parametrize(
    "given",
    [
        {"pinnedIds": ["9_9_9"], "supernodes": [["gone", "9_9_9"]], "clickedId": "9_9_9"},
        {"pinnedIds": "E_100_0,E_101_1", "supernodes": [3, [], [4], ["x", 5, ["y"]], {"z": 1}]},
        {"pinnedIds": [None, 7, ["E_100_0"]], "linkType": None, "clickedId": 3, "sg_pos": [1]},
    ],
)
def test_pins_of_no_node_and_what_is_no_pin_are_not_passed_on(given: dict[str, Any]) -> None:
    record = to_exchange(example(), slug="s")
    empty = dict(record["qParams"])
    record["qParams"] |= given
    assert to_exchange(from_exchange(record), slug="s")["qParams"] == empty


def test_a_file_of_ours_with_nodes_taken_out_is_read_with_what_is_left() -> None:
    record = through_json(to_exchange(example(), slug="s"))
    gone = next(n["node_id"] for n in record["nodes"] if n["activation"] is not None)
    record["nodes"] = [n for n in record["nodes"] if n["node_id"] != gone]
    record["links"] = [x for x in record["links"] if gone not in (x["source"], x["target"])]
    read = from_exchange(record)
    assert len(read.graph.nodes) == len(record["nodes"])
    assert len(read.influence) == len(record["nodes"])


def test_a_target_given_twice_cannot_be_exported() -> None:
    graph = random_graph()
    twice = tuple(replace(target, vocabulary_ids=(500,)) for target in graph.info.targets)
    doubled = replace(graph, info=replace(graph.info, targets=twice))
    with pytest.raises(GraphFileError, match="4_500_3"):
        to_exchange(prune(doubled), slug="s")


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def apply(record: dict[str, Any]) -> None:
        at: Any = record
        numbered = (int(p) if p.lstrip("-").isdecimal() else p for p in path.split("."))
        *parents, last = numbered
        for part in parents:
            at = at[part]
        at[last] = value

    return apply


DAMAGES = {
    "no nodes": (lambda r: r.pop("nodes"), "no attribution graph"),
    "no prompt tokens": (lambda r: r["metadata"].pop("prompt_tokens"), "lacks 'prompt_tokens'"),
    "node without id": (lambda r: r["nodes"][0].pop("node_id"), "lacks 'node_id'"),
    "two of one id": (lambda r: r["nodes"].append(r["nodes"][0]), "same node_id"),
    "unknown type": (change("nodes.0.feature_type", "lorsa"), "'lorsa', which is not known"),
    "layer is text": (change("nodes.9.layer", "x"), "damaged"),
    "huge layer": (change("nodes.9.layer", 10**30), "damaged"),
    "position outside": (change("nodes.0.ctx_idx", 99), "outside the prompt"),
    "link to nowhere": (change("links.0.source", "9_9_9"), "9_9_9, which is no node"),
    "link downwards": (lambda r: flip(r["links"][0]), "does not go up"),
    "weight is text": (change("links.0.weight", "heavy"), "damaged"),
    "weight is infinite": (change("links.0.weight", float("inf")), "not a finite number"),
    "link twice": (lambda r: r["links"].append(r["links"][0]), "two links"),
    "no targets": (lambda r: drop_targets(r), "no logit node"),
    "probability 7": (change("nodes.-1.token_prob", 7), "token_prob of 7, which is not from 0"),
    "probability 1.5": (change("nodes.-1.token_prob", 1.5), "token_prob of 1.5"),
    "probability is NaN": (change("nodes.-1.token_prob", float("nan")), "token_prob of nan"),
    "layer is a fraction": (change("nodes.9.layer", 1.5), "layer of 1.5, which is no whole"),
    "weight is null": (change("links.0.weight", None), "has no weight"),
    "no weight": (lambda r: r["links"][0].pop("weight"), "has no weight"),
    "no position": (lambda r: r["nodes"][0].update(ctx_idx=None, node_id="E"), "damaged"),
    "id is a list": (change("nodes.0.node_id", ["E", 1]), "no text"),
    "end is a list": (change("links.0.source", ["E", 1]), "no text"),
    "threshold 80": (change("metadata.pruning_settings.node_threshold", 80), "threshold of 80"),
    "nodes are a number": (change("nodes", 3), "damaged"),
    "extras are text": (change("metadata.circuit_tracer_cli", "x"), "damaged"),
    "short extras": (change("metadata.circuit_tracer_cli.value", [1.0]), "damaged"),
}


def as_text(record: dict[str, Any]) -> None:
    """Every number of the nodes and links as text."""
    for part in (*record["nodes"], *record["links"]):
        part |= {k: str(v) for k, v in part.items() if isinstance(v, (int, float))}


def each_node(wanted: str, **fields: object) -> Callable[[dict[str, Any]], None]:
    """Fields of the nodes of one feature_type; None takes a field out."""

    def apply(record: dict[str, Any]) -> None:
        for node in record["nodes"]:
            if node["feature_type"] == wanted:
                node |= fields
                for name in [name for name, value in fields.items() if value is None]:
                    del node[name]

    return apply


FEATURE = "cross layer transcoder"
HARMLESS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unexplored nodes": each_node(FEATURE, feature_type="unexplored node"),
    "capitals": each_node(FEATURE, feature_type="Cross Layer Transcoder"),
    "unexplored embeddings": each_node("embedding", feature_type="unexplored node"),
    "numbers as text": as_text,
    "layers as numbers": lambda r: [
        n.update(layer=float(n["layer"])) for n in r["nodes"] if n["layer"] != "E"
    ],
    "targets' layers in words": each_node("logit", layer="logits"),
    "no probabilities but in labels": each_node("logit", token_prob=None),
    "a share that was rounded": lambda r: r["nodes"][0].update(influence=1 + 1e-7),
    "thresholds that were rounded": change("metadata.pruning_settings.edge_threshold", 1.0000001),
    "no positions but in ids": lambda r: [
        n.pop("ctx_idx") for n in r["nodes"] if n["feature_type"] != "logit"
    ],
    "no optional fields": lambda r: [
        n.pop(name, None)
        for n in r["nodes"]
        for name in ("jsNodeId", "run_idx", "reverse_ctx_idx", "is_target_logit", "feature")
    ],
    "nulls": lambda r: [
        n.update(clerp=None) for n in r["nodes"] if n["feature_type"].endswith("error")
    ],
    "bare metadata": lambda r: [
        r["metadata"].pop(k) for k in ("schema_version", "info", "generation_settings", "scan")
    ],
    "no prompt": change("metadata.prompt", None),
    "no qParams": lambda r: r.pop("qParams"),
    "extra keys": lambda r: (r["nodes"][0].update(x={}), r["links"][0].update(y=[]), r.update(z=1)),
}


@pytest.mark.parametrize("alter", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_has_only_one_meaning_is_read(alter: Callable[[dict[str, Any]], object]) -> None:
    record = foreign(example(dtype=np.float64))
    expected = from_exchange(record).graph
    altered = copy.deepcopy(record)
    alter(altered)
    assert altered != record
    read = from_exchange(through_json(altered)).graph
    for name in ("kind", "layer", "position", "feature", "activation"):
        np.testing.assert_array_equal(getattr(read.nodes, name), getattr(expected.nodes, name))
    np.testing.assert_array_equal(read.edges.weight, expected.edges.weight)
    np.testing.assert_allclose(read.nodes.weight, expected.nodes.weight, atol=5e-3)


def test_a_probability_just_above_one_is_one() -> None:
    record = foreign(prune(random_graph(n_targets=1)))
    record["nodes"][-1]["token_prob"] = 1.0000001
    assert from_exchange(record).graph.info.targets[0].probability == 1.0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_in_any_utf_is_read(encoding: str, tmp_path: Path) -> None:
    record = to_exchange(example(), slug="s")
    file = tmp_path / "g.json"
    file.write_text(json.dumps(record, ensure_ascii=False), encoding=encoding)
    assert read_exchange(file).graph.info.prompt == example().graph.info.prompt


def flip(link: dict[str, Any]) -> None:
    link["source"], link["target"] = link["target"], link["source"]


def drop_targets(record: dict[str, Any]) -> None:
    gone = {n["node_id"] for n in record["nodes"] if n["feature_type"] == "logit"}
    record["nodes"] = [n for n in record["nodes"] if n["node_id"] not in gone]
    record["links"] = [x for x in record["links"] if x["target"] not in gone]


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_one_sentence(damage: Callable[[dict[str, Any]], object], message: str) -> None:
    record = through_json(to_exchange(example(), slug="s"))
    damage(record)
    with pytest.raises(GraphFileError, match=message) as caught:
        from_exchange(record)
    assert "\n" not in str(caught.value)


def test_files_of_either_form_are_opened(tmp_path: Path) -> None:
    pruned = example()
    save_graph(pruned, tmp_path)
    assert_same_pruned(open_graph(tmp_path / "trace.json"), pruned)
    file = tmp_path / "banana.json"
    write_exchange(to_exchange(pruned, slug="banana"), file)
    assert_same_graph(open_graph(file).graph, pruned.kept_graph())
    file.write_text("{")
    with pytest.raises(GraphFileError, match="cannot be read"):
        read_exchange(file)


def test_hostile_text_is_kept_as_text(tmp_path: Path) -> None:
    graph = random_graph()
    nasty = 'a" (p=1) <script>\ud800\x00\n'
    targets = (Target(nasty, (500,), 3, 0.5, 1.0, 0), graph.info.targets[1])
    nodes = replace(graph.nodes, label=(*graph.nodes.label[:-2], nasty, "x"))
    hostile = Graph(replace(graph.info, targets=targets), nodes, graph.edges)
    file = tmp_path / "g.json"
    write_exchange(to_exchange(prune(hostile), slug="s"), file)
    assert read_exchange(file).graph.info.targets[0].token == nasty.replace("\ud800", "?")
    record = json.loads(file.read_text(encoding="utf-8"))
    del record["metadata"]["circuit_tracer_cli"]
    assert from_exchange(record).graph.info.targets[0].token == nasty.replace("\ud800", "?")


def test_links_are_the_kept_edges() -> None:
    pruned = example()
    kept: Edges = pruned.kept_edges
    record = to_exchange(pruned, slug="s")
    assert [link["weight"] for link in record["links"]] == kept.weight.tolist()


@pytest.mark.parametrize("is_ours", [True, False])
def test_vocabulary_ids_of_embeddings_come_back(is_ours: bool) -> None:
    pruned = prune(random_graph(), node_threshold=1.0)
    record = through_json(to_exchange(pruned, slug="s"))
    names = [n["node_id"] for n in record["nodes"] if n["feature_type"] == "embedding"]
    ids = pruned.graph.info.token_ids
    assert names == [f"E_{one}_{position}" for position, one in enumerate(ids)]
    if not is_ours:
        del record["metadata"]["circuit_tracer_cli"]
    read = from_exchange(record).graph
    embeddings = read.nodes.of_kind(NodeKind.EMBEDDING)
    assert read.nodes.feature[embeddings].tolist() == list(ids) == list(read.info.token_ids)


def test_sparse_rows_come_back_and_the_description_says_what_they_leave_out() -> None:
    graph = thinned(random_graph(unexpanded=2), mass=0.7)
    pruned = prune(graph, node_threshold=1, edge_threshold=1)
    record = through_json(to_exchange(pruned, slug="x"))
    share = f"{pruned.scores.dropped_share:.2%} of the influence"
    assert share in record["metadata"]["info"]["description"]
    again = from_exchange(record)
    assert again.scores == pruned.scores
    rows = pruned.kept_rows
    for name in DROPPED:
        np.testing.assert_array_equal(
            getattr(again.graph.nodes, name), getattr(graph.nodes, name)[rows]
        )
    foreign = {**record, "metadata": {**record["metadata"]}}
    del foreign["metadata"]["circuit_tracer_cli"]
    assert not from_exchange(foreign).graph.nodes.dropped_total.any()


def test_without_dropped_edges_they_are_not_mentioned() -> None:
    text = json.dumps(to_exchange(prune(random_graph()), slug="x"))
    assert "too small" not in text
    assert "dropped_errors" not in text
