"""Stored traces come back bit for bit; anything else is one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.pruning import prune
from circuit_tracer.graphs.storage import load_graph, save_graph
from tests.graphs.builders import random_graph
from tests.graphs.compare import assert_same_pruned


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_come_back_bit_for_bit(tmp_path: Path, dtype: type) -> None:
    pruned = prune(random_graph(n_targets=3, dtype=dtype, unexpanded=2), edge_threshold=0.9)
    save_graph(pruned, tmp_path)
    assert_same_pruned(load_graph(tmp_path), pruned)
    assert_same_pruned(load_graph(tmp_path / "trace.json"), pruned)
    assert_same_pruned(load_graph(str(tmp_path)), pruned)


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


def edit_info(key: str, value: object, *, target: bool = False) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        record = json.loads((folder / "trace.json").read_text(encoding="utf-8"))
        (record["info"]["targets"][0] if target else record["info"])[key] = value
        (folder / "trace.json").write_text(json.dumps(record), encoding="utf-8")

    return apply


DAMAGES = {
    "no trace.json": (remove("trace.json"), "give the folder that"),
    "no nodes": (remove("nodes.parquet"), "missing: trace the prompt again"),
    "no edges": (remove("edges.parquet"), "missing: trace the prompt again"),
    "half a file": (truncate("edges.parquet"), "damaged .*: trace the prompt again"),
    "empty file": (write("nodes.parquet", b"\n"), "damaged .*: trace the prompt again"),
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
    "tokens that are numbers": (edit_info("tokens", [1, 2, 3]), "tokens is .* needs texts"),
    "a token too few": (edit_info("token_ids", [1]), "as many token_ids as tokens"),
    "layers in words": (edit_info("n_layers", "six"), "n_layers is .* a whole number"),
    "settings gone": (edit_info("settings", None), "settings is null"),
    "model is text": (edit_info("model", "sprout"), "model is .* a name, a source"),
    "targets are text": (edit_info("targets", ["yes"]), "targets is .* objects"),
    "a target without text": (edit_info("token", None, target=True), "token is null"),
    "a probability of 7": (edit_info("probability", 7, target=True), "from 0 to 1"),
    "a target without ids": (edit_info("vocabulary_ids", [], target=True), "one id, or two"),
    "a target elsewhere": (edit_info("position", 99, target=True), "a place in the prompt"),
    "scores of another shape": (edit("scores", {"x": 1}), "damaged"),
    "other trace's tables": (edit("n_edges", 3), "different traces"),
    "no column": (drop_column("edges.parquet", "kept"), "damaged"),
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
