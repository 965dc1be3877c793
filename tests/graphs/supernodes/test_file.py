"""The TOML file of supernodes: it comes back, also with hostile text, and says what is wrong."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs import PrunedGraph, node_name, prune, to_exchange
from circuit_tracer.graphs.files.exchange import exchange_id
from circuit_tracer.graphs.supernodes.file import (
    read_supernodes,
    supernodes_toml,
    write_supernodes,
)
from circuit_tracer.graphs.supernodes.grouping import Supernode, feature_rows
from tests.graphs.builders import random_graph

HOSTILE = ('"""', "a\nb = 1\n[x]", "\\u0000", "\x00\x7f\u2028", "\ud800", "", "# no", "猫 → \t")


@pytest.fixture
def pruned() -> PrunedGraph:
    return prune(random_graph(3, 3, 6, 1), node_threshold=0.7)


def groups_of(pruned: PrunedGraph) -> list[Supernode]:
    rows = feature_rows(pruned).tolist()
    return [Supernode("say yellow", tuple(rows[:2])), Supernode("other", tuple(rows[2:5]))]


def test_what_is_written_is_read(pruned: PrunedGraph, tmp_path: Path) -> None:
    groups = groups_of(pruned)
    write_supernodes(pruned, groups, tmp_path / "supernodes.toml")
    assert read_supernodes(pruned, tmp_path / "supernodes.toml") == groups


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_and_labels_stay_text(text: str, pruned: PrunedGraph, tmp_path: Path) -> None:
    nodes = replace(pruned.graph.nodes, label=(text,) * len(pruned.graph.nodes))
    hostile = replace(pruned, graph=replace(pruned.graph, nodes=nodes))
    group = Supernode(text or "x", groups_of(pruned)[0].rows)
    path = tmp_path / "s.toml"
    path.write_text(supernodes_toml(hostile, [group]), encoding="utf-8")
    assert list(tomllib.loads(path.read_text(encoding="utf-8"))) == [
        group.name.replace("\ud800", "?")
    ]
    assert read_supernodes(hostile, path)[0].rows == group.rows


def test_ids_of_the_exchange_form_are_understood(pruned: PrunedGraph, tmp_path: Path) -> None:
    row = int(feature_rows(pruned)[0])
    path = tmp_path / "s.toml"
    path.write_text(f'name = ["{exchange_id(pruned.graph, row)}", "embedding@1"]')
    assert read_supernodes(pruned, path) == [Supernode("name", (1, row))]


def test_supernodes_go_into_the_exchange_form(pruned: PrunedGraph) -> None:
    groups = groups_of(pruned)
    record = to_exchange(pruned, slug="x", supernodes=[(g.name, g.rows) for g in groups])
    ids = {node["node_id"] for node in record["nodes"]}
    for group, (name, *members) in zip(groups, record["qParams"]["supernodes"], strict=True):
        assert name == group.name
        assert members == [exchange_id(pruned.graph, row) for row in group.rows]
        assert set(members) <= ids & set(record["qParams"]["pinnedIds"])
    assert to_exchange(pruned, slug="x")["qParams"]["supernodes"] == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name = ", "cannot be read as TOML"),
        ("name = 3", "is no supernode"),
        ("name = []", "is no supernode"),
        ("name = [1]", "is no supernode"),
        ("[table]\nname = ['embedding@0']", "is no supernode"),
        ('" " = ["embedding@0"]', "is no supernode"),
        ('name = ["L9/9@9"]', "is no node of this graph"),
        ('a = ["embedding@0"]\nb = ["embedding@0"]', "2 times"),
        ('a = ["embedding@0", "embedding@0"]', "2 times"),
        ('a = ["embedding@0"]\na = ["embedding@1"]', "cannot be read as TOML"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"#" * (5 << 20), "too large"),
        ("x = " + "[" * 5000 + "]" * 5000, "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_explained(
    content: str | bytes, says: str, pruned: PrunedGraph, tmp_path: Path
) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GraphFileError, match=says):
        read_supernodes(pruned, path)
    with pytest.raises(GraphFileError, match=r"is missing; .* write one"):
        read_supernodes(pruned, tmp_path / "none.toml")


def test_pruned_members_are_refused_or_left_out(pruned: PrunedGraph, tmp_path: Path) -> None:
    gone = int(np.flatnonzero(~pruned.node_kept)[0])
    kept = int(feature_rows(pruned)[0])
    path = tmp_path / "s.toml"
    names = [node_name(pruned.graph, row) for row in (gone, kept)]
    path.write_text(f'a = ["{names[0]}"]\nb = ["{names[0]}x", "{names[1]}"]'.replace("x", ""))
    with pytest.raises(GraphFileError, match="times"):
        read_supernodes(pruned, path)
    path.write_text(f'a = ["{names[0]}"]\nb = ["{names[1]}"]')
    with pytest.raises(GraphFileError, match="was pruned away"):
        read_supernodes(pruned, path)
    assert read_supernodes(pruned, path, pruned_away="leave out") == [Supernode("b", (kept,))]
