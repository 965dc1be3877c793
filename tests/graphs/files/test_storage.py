"""Stored traces come back bit for bit; anything else is one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files import storage
from circuit_tracer.graphs.files.storage import load_graph, save_graph
from circuit_tracer.graphs.graph import DROPPED
from circuit_tracer.graphs.influence import edge_influence
from circuit_tracer.graphs.pruning import prune
from tests.graphs.builders import random_graph, thinned
from tests.graphs.compare import assert_same_pruned


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_come_back_bit_for_bit(tmp_path: Path, dtype: type) -> None:
    pruned = prune(random_graph(n_targets=3, dtype=dtype, unexpanded=2), edge_threshold=0.9)
    save_graph(pruned, tmp_path)
    assert_same_pruned(load_graph(tmp_path), pruned)
    assert_same_pruned(load_graph(tmp_path / "trace.json"), pruned)
    assert_same_pruned(load_graph(str(tmp_path)), pruned)


def test_sparse_rows_and_a_softcap_come_back(tmp_path: Path) -> None:
    graph = thinned(random_graph(unexpanded=2), mass=0.7)
    pruned = prune(replace(graph, info=replace(graph.info, logit_softcap=30.0)))
    save_graph(pruned, tmp_path)
    again = load_graph(tmp_path)
    assert_same_pruned(again, pruned)
    assert again.graph.info.logit_softcap == 30
    assert again.graph.nodes.dropped_features.any()
    assert 0 < again.scores.dropped_share < 1


def as_version_1(folder: Path) -> None:
    """What a circuit-tracer before sparse rows would have written."""
    table = pq.read_table(folder / "nodes.parquet")
    pq.write_table(table.drop_columns(list(DROPPED)), folder / "nodes.parquet")
    record = json.loads((folder / "trace.json").read_text(encoding="utf-8"))
    record["schema_version"] = 1
    del record["info"]["logit_softcap"]
    for name in ("dropped_share", "replacement_range", "completeness_range"):
        del record["scores"][name]
    (folder / "trace.json").write_text(json.dumps(record), encoding="utf-8")


def test_version_1_is_read_as_a_graph_with_nothing_dropped(tmp_path: Path) -> None:
    pruned = prune(random_graph(unexpanded=2))
    save_graph(pruned, tmp_path)
    as_version_1(tmp_path)
    again = load_graph(tmp_path)
    vacuous = {"replacement_range": (0.0, 1.0), "completeness_range": (0.0, 1.0)}
    assert_same_pruned(again, replace(pruned, scores=replace(pruned.scores, **vacuous)))
    assert again.graph.info.logit_softcap is None
    assert not any(getattr(again.graph.nodes, name).any() for name in DROPPED)


def test_edges_are_written_and_read_in_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_ROW_GROUP", 37)
    pruned = prune(random_graph())
    save_graph(pruned, tmp_path)
    metadata = pq.read_metadata(tmp_path / "edges.parquet")
    assert metadata.num_row_groups == -(-len(pruned.graph.edges) // 37) > 2
    assert_same_pruned(load_graph(tmp_path), pruned)
    whole = pq.read_table(tmp_path / "edges.parquet")
    flows = edge_influence(pruned.graph, pruned.influence).astype(np.float32)
    np.testing.assert_array_equal(whole.column("influence").to_numpy(), flows)


def test_a_graph_without_edges_comes_back(tmp_path: Path) -> None:
    graph = random_graph()
    pruned = prune(replace(graph, edges=graph.edges.take(slice(0))))
    save_graph(pruned, tmp_path)
    assert_same_pruned(load_graph(tmp_path), pruned)


def test_tables_are_zstd_and_hold_kept_and_influence(tmp_path: Path) -> None:
    pruned = prune(random_graph())
    save_graph(pruned, tmp_path)
    for name, n in (("nodes", len(pruned.graph.nodes)), ("edges", len(pruned.graph.edges))):
        meta = pq.read_metadata(tmp_path / f"{name}.parquet")
        assert meta.row_group(0).column(0).compression == "ZSTD"
        assert meta.num_rows == n
        assert {"kept", "influence"} <= set(pq.read_schema(tmp_path / f"{name}.parquet").names)


def test_json_has_no_nan(tmp_path: Path) -> None:
    graph = random_graph()
    settings = {"seed": np.int64(3), "ratio": math.nan, "path": Path("x"), "list": (1, 2.5)}
    info = replace(graph.info, conservation_residual=math.nan, settings=settings)
    save_graph(prune(replace(graph, info=info)), tmp_path)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in trace.json")

    text = (tmp_path / "trace.json").read_text(encoding="utf-8")
    stored = json.loads(text, parse_constant=refuse)["info"]
    assert stored["conservation_residual"] is None
    assert stored["settings"] == {"seed": 3, "ratio": None, "path": "x", "list": [1, 2.5]}
    assert math.isnan(load_graph(tmp_path).graph.info.conservation_residual)


def edit(key: str, value: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        record = json.loads((folder / "trace.json").read_text(encoding="utf-8"))
        record[key] = value
        (folder / "trace.json").write_text(json.dumps(record), encoding="utf-8")

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def drop_column(name: str, column: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = pq.read_table(folder / name)
        pq.write_table(table.drop_columns([column]), folder / name)

    return apply


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40]) and None


def swap_ends(folder: Path) -> None:
    table = pq.read_table(folder / "edges.parquet")
    names = ["target", "source", *table.column_names[2:]]
    pq.write_table(table.rename_columns(names), folder / "edges.parquet")


def change_column(name: str, column: str, value: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = pq.read_table(folder / name)
        cells = table.column(column).to_numpy().copy()
        cells[0] = value
        at = table.column_names.index(column)
        pq.write_table(table.set_column(at, column, pa.array(cells)), folder / name)

    return apply


def edit_info(key: str, value: object, *, target: bool = False) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        record = json.loads((folder / "trace.json").read_text(encoding="utf-8"))
        (record["info"]["targets"][0] if target else record["info"])[key] = value
        (folder / "trace.json").write_text(json.dumps(record), encoding="utf-8")

    return apply


SCORES = dict.fromkeys(
    ("replacement", "completeness", "error_share", "constant_share", "unexpanded_share"), 0.5
)
DAMAGES = {
    "no trace.json": (remove("trace.json"), "give the folder that"),
    "no nodes": (remove("nodes.parquet"), "missing; trace the prompt again"),
    "no edges": (remove("edges.parquet"), "missing; trace the prompt again"),
    "half a file": (truncate("edges.parquet"), "damaged .*; trace the prompt again"),
    "empty file": (write("nodes.parquet", b"\n"), "damaged .*; trace the prompt again"),
    "no JSON": (write("trace.json", b"{"), "cannot be read"),
    "no UTF-8": (write("trace.json", b"\xff\xfe{}"), "cannot be read"),
    "a JSON list": (write("trace.json", b"[1]"), "not written by circuit-tracer"),
    "another schema": (edit("schema", "x"), "not written by circuit-tracer"),
    "newer version": (edit("schema_version", 99), "version 99.*reads version 1.*install"),
    "no info": (edit("info", None), "the facts of the run are missing"),
    "no scores": (edit("scores", None), "the scores are missing"),
    "a score in words": (edit("scores", {"replacement": "good"}), "replacement is"),
    "a threshold of 7": (edit("node_threshold", 7), "node_threshold is no number from 0 to 1"),
    "prompt 5": (edit_info("prompt", 5), "prompt is 5 where it needs text"),
    "tokens that are numbers": (edit_info("tokens", [1, 2, 3]), "tokens is 1 where it needs text"),
    "a token too few": (edit_info("token_ids", [1]), "as many token_ids as tokens"),
    "layers in words": (edit_info("n_layers", "six"), "n_layers is .* a whole number"),
    "settings gone": (edit_info("settings", None), "settings is null"),
    "model is text": (edit_info("model", "sprout"), 'model is "sprout" where it needs an object'),
    "targets are text": (
        edit_info("targets", ["yes"]),
        'targets is "yes" where it needs an object',
    ),
    "a target without text": (edit_info("token", None, target=True), "token is null"),
    "a probability of 7": (edit_info("probability", 7, target=True), "from 0 to 1"),
    "a target without ids": (
        edit_info("vocabulary_ids", [], target=True),
        "one id, two for a contrast",
    ),
    "a target elsewhere": (edit_info("position", 99, target=True), "a place in the prompt"),
    "scores of another shape": (edit("scores", {"x": 1}), "damaged"),
    "other trace's tables": (edit("n_edges", 3), "different traces"),
    "no column": (drop_column("edges.parquet", "kept"), "damaged"),
    "no column of dropped edges": (drop_column("nodes.parquet", "dropped_errors"), "damaged"),
    "a dropped sum below 0": (change_column("nodes.parquet", "dropped_errors", -1.0), "no sum"),
    "a dropped sum of NaN": (change_column("nodes.parquet", "dropped", math.nan), "no sum"),
    "a weight of infinity": (change_column("edges.parquet", "weight", math.inf), "finite"),
    "a soft-cap in words": (edit_info("logit_softcap", "30"), "logit_softcap is"),
    "a model without a name": (
        edit_info("model", {"source": "x", "sha256": ""}),
        "name is missing",
    ),
    "a range of one": (
        edit("scores", SCORES | {"replacement_range": [1]}),
        r"\[1\] .* a list of 2",
    ),
    "a range past 1": (edit("scores", SCORES | {"replacement_range": [0, 7]}), "from 0 to 1"),
    "edges upside down": (swap_ends, "does not go up"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_one_sentence(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    save_graph(prune(random_graph()), tmp_path)
    damage(tmp_path)
    with pytest.raises(GraphFileError, match=message) as caught:
        load_graph(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["graph.pt", "graph.pkl", "nothing", "nothing/trace.json"])
def test_pickles_are_never_opened_and_nothing_is_nothing(tmp_path: Path, name: str) -> None:
    if "." in name and "/" not in name:
        (tmp_path / name).write_bytes(b"cos\nsystem\n")
    message = "pickle" if name.startswith("graph") else "There is no"
    with pytest.raises(GraphFileError, match=message):
        load_graph(tmp_path / name)


def test_the_folder_above_traces_names_them(tmp_path: Path) -> None:
    """A single one is opened: a circuit's folder stands for its graph."""
    for name in ("a-plum", "a-pear"):
        (tmp_path / name).mkdir()
        save_graph(prune(random_graph(0)), tmp_path / name)
        if name == "a-plum":
            alone = load_graph(tmp_path).graph, load_graph(tmp_path / name).graph
            assert alone[0].info == alone[1].info
    with pytest.raises(
        GraphFileError, match=r"it holds: \S+a-pear, \S+a-plum\. Give one"
    ) as caught:
        load_graph(tmp_path)
    assert str(caught.value).count("\n") == 0
