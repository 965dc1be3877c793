"""The exchange JSON as commands write it and take it: valid as published, hostile files refused."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from circuit_tracer.batch.stored_run import open_run
from circuit_tracer.graphs import load_graph, open_graph
from tests.cli.conftest import Outcome, Run
from tests.graphs.compare import assert_same_graph, assert_same_pruned
from tests.graphs.validator import feature_complaints, graph_complaints

Banana = tuple[Path, Outcome]


def _features(text: str) -> set[int]:
    kind = "cross layer transcoder"
    return {node["feature"] for node in json.loads(text)["nodes"] if node["feature_type"] == kind}


def _assert_examples_beside(graph: Path) -> None:
    """Every feature of the graph has its file, each of them valid, and there are no others."""
    text = graph.read_text(encoding="utf-8")
    folder = graph.parent / "features" / json.loads(text)["metadata"]["scan"]
    assert {int(file.stem) for file in folder.iterdir()} == _features(text) != set()
    for file in folder.iterdir():
        assert feature_complaints(file.read_text(encoding="utf-8"), int(file.stem)) == []


def test_a_trace_and_its_export_are_valid_and_lossless(banana: Banana, run: Run) -> None:
    traced = (banana[0] / "graph.json").read_text(encoding="utf-8")
    assert graph_complaints(traced) == []
    outcome = run("export", str(banana[0]), "--out", "exported.json")
    assert outcome.code == 0, outcome.err
    assert Path("exported.json").read_text(encoding="utf-8") == traced
    assert_same_graph(open_graph("exported.json").graph, load_graph(banana[0]).kept_graph())
    assert run("export", "exported.json", "--out", "exported-2.json").code == 0
    again = json.loads(Path("exported-2.json").read_text(encoding="utf-8"))
    assert again.pop("metadata").pop("slug") == "exported"
    assert again == {k: v for k, v in json.loads(traced).items() if k != "metadata"}


def test_feature_examples_lie_beside_the_graph(banana: Banana, run: Run) -> None:
    outcome = run("export", str(banana[0]), "-o", "web/graph.json", "--feature-examples")
    assert outcome.code == 0, outcome.err
    count = len(_features(Path("web/graph.json").read_text(encoding="utf-8")))
    assert f"{count} feature cards in " in outcome.out
    _assert_examples_beside(Path("web/graph.json"))
    back = run("export", "web/graph.json", "-o", "again/graph.json", "--feature-examples")
    assert back.code == 0, back.err
    _assert_examples_beside(Path("again/graph.json"))
    outcome = run("export", str(banana[0]), "--to", "gexf", "--feature-examples")
    assert outcome.code == 2
    assert not (banana[0] / "graph.gexf").exists()


def test_a_folder_of_any_name_and_supernodes_make_a_valid_file(banana: Banana, run: Run) -> None:
    folder = Path("mes graphes (1) é")
    shutil.copytree(banana[0], folder)
    assert run("supernodes", str(folder), "--out", str(folder / "supernodes.toml")).code == 0
    assert run("export", str(folder), "--out", "graph.json").code == 0
    text = Path("graph.json").read_text(encoding="utf-8")
    assert graph_complaints(text) == []
    record = json.loads(text)
    assert record["metadata"]["slug"].startswith("mes-graphes-1-e-")
    assert record["qParams"]["supernodes"]
    assert run("prune", str(folder), "--node-threshold", "0.3").code == 0
    assert run("export", str(folder), "--out", "graph.json", "--overwrite").code == 0
    assert graph_complaints(Path("graph.json").read_text(encoding="utf-8")) == []


def test_prompts_of_a_run_come_out_valid_and_lossless(run: Run) -> None:
    prompts = [
        {"id": "plain", "prompt": "a lemon is"},
        {"id": "contrast", "prompt": "is a lemon red ?", "contrast": "yes,no"},
    ]
    Path("two.jsonl").write_text("\n".join(map(json.dumps, prompts)) + "\n")
    outcome = run("batch", "two.jsonl", "--out", ".", "--device", "cpu", "--store", "kept")
    assert outcome.code == 0, outcome.err
    assert json.loads(run("runs", "show", "two", "--json").out)["progress"]["done"] == 2
    for prompt in prompts:
        outcome = run("runs", "export", "two", prompt["id"], "-o", prompt["id"], "--format", "json")
        assert outcome.code == 0, outcome.err
        graph = Path(prompt["id"]) / "graph.json"
        assert graph_complaints(graph.read_text(encoding="utf-8")) == []
        stored = open_run(Path("two")).graph(prompt["id"])
        assert_same_pruned(load_graph(graph.parent), stored)
        assert_same_graph(open_graph(graph).graph, stored.kept_graph())
    assert run("export", "contrast", "--feature-examples", "--overwrite").code == 0
    _assert_examples_beside(Path("contrast/graph.json"))


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], str]:
    def damaged(record: dict[str, Any]) -> str:
        at: Any = record
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = to
        return json.dumps(record)

    return damaged


LONG = "x" * 10_000
HOSTILE = {
    "an array": (lambda r: json.dumps([r]), "no attribution graph"),
    "a key missing": (lambda r: json.dumps({**r, "links": None}), "damaged"),
    "two of one id": (_set("nodes", 1, "node_id", to="E_2_0"), "same node_id"),
    "a link to nowhere": (_set("links", 0, "target", to=LONG), "which is no node"),
    "a type of another tool": (_set("nodes", 0, "feature_type", to=LONG), "not known here"),
    "a huge position": (_set("nodes", 0, "ctx_idx", to=10**400), "damaged"),
    "a huge weight": (_set("links", 0, "weight", to=1e308), "not a finite number"),
    "an infinite layer": (_set("nodes", 9, "layer", to=float("inf")), "damaged"),
    "an influence below 0": (
        _set("metadata", "circuit_tracer_cli", "influence", 0, to=-1),
        "share",
    ),
    "a weight of NaN": (
        lambda r: json.dumps(r).replace('"weight": ', '"weight": NaN, "w": ', 1),
        "",
    ),
    "deep nesting": (lambda r: "[" * 200_000 + "]" * 200_000, "cannot be read"),
    "half a file": (lambda r: json.dumps(r)[:5000], "cannot be read"),
    "more digits than Python reads": (lambda r: '{"nodes": ' + "9" * 5000 + "}", "cannot be read"),
}


@pytest.mark.parametrize("command", [("show",), ("render", "--out", "figure.svg"), ("export",)])
@pytest.mark.parametrize(("damaged", "says"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_in_a_sentence(
    command: tuple[str, ...],
    damaged: Callable[[dict[str, Any]], str],
    says: str,
    banana: Banana,
    run: Run,
) -> None:
    record = json.loads((banana[0] / "graph.json").read_text(encoding="utf-8"))
    Path("hostile.json").write_text(damaged(copy.deepcopy(record)), encoding="utf-8")
    outcome = run(command[0], "hostile.json", *command[1:])
    assert outcome.code in (1, 2)
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert len(outcome.err) < 500
    assert {file.name for file in Path().iterdir()} == {"hostile.json"}


def test_markup_in_a_file_stays_text(banana: Banana, run: Run) -> None:
    nasty = '</script><script>alert(1)</script>"><img src=x onerror=alert(1)>\x1b[31m[red]&amp;'
    record = json.loads((banana[0] / "graph.json").read_text(encoding="utf-8"))
    del record["metadata"]["circuit_tracer_cli"]
    for node in record["nodes"]:
        node["clerp"] = nasty
    record["metadata"] |= {"prompt": nasty, "slug": nasty, "scan": nasty}
    record["metadata"]["prompt_tokens"] = [nasty for _ in record["metadata"]["prompt_tokens"]]
    Path("nasty.json").write_text(json.dumps(record), encoding="utf-8")
    shown = run("show", "nasty.json")
    assert shown.code == 0, shown.err
    assert "\x1b[31m" not in shown.out
    assert run("render", "nasty.json", "--out", "nasty.svg").code == 0
    tags = {one.tag.rpartition("}")[2] for one in ElementTree.parse("nasty.svg").iter()}
    assert not tags & {"script", "img", "image", "foreignObject"}
    assert run("render", "nasty.json", "--format", "html", "--out", "nasty.html").code == 0
    assert "<script>alert" not in Path("nasty.html").read_text(encoding="utf-8")
    assert "<img src=x" not in Path("nasty.html").read_text(encoding="utf-8")
    assert run("export", "nasty.json", "--out", "again.json").code == 0
    found = graph_complaints(Path("again.json").read_text(encoding="utf-8"))
    assert found == []
