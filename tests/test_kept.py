"""Folders that an earlier version wrote (tests/kept) open, and commands read the right figures.

What is right is read from the raw files here, by pyarrow and json alone.
"""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from circuit_tracer import __version__
from circuit_tracer.batch.stored_run import open_run
from circuit_tracer.experiments.dissociation.results import read_report
from tests.cli.conftest import run_command
from tests.graphs.oracles import normalised

KEPT = Path(__file__).parent / "kept"
EMBEDDING, FEATURE, ERROR, LOGIT = range(4)
NEWER = {"location", "format"}
"""What later versions add to the identity of a model or a dictionary."""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kept folders, to work in."""
    shutil.copytree(KEPT, tmp_path / "kept")
    monkeypatch.chdir(tmp_path / "kept")
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "kept"


def printed(*arguments: str) -> Any:
    """What a command prints with --json."""
    outcome = run_command(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def raw(path: str) -> Any:
    return json.loads((KEPT / path).read_text(encoding="utf-8"))


def table(path: str) -> dict[str, Any]:
    """A Parquet file or folder as arrays by column."""
    read = pq.read_table(KEPT / path)
    return {
        name: column.to_numpy()
        for name, column in zip(read.column_names, read.columns, strict=True)
    }


def kept_rows(folder: str) -> Any:
    """Which nodes of a folder are kept."""
    return table(f"{folder}/nodes.parquet")["kept"]


def node_names(folder: str) -> list[str]:
    """The name of every row of a folder's nodes."""
    nodes, tokens = table(f"{folder}/nodes.parquet"), raw(f"{folder}/trace.json")["info"]["tokens"]
    names = {
        EMBEDDING: "embedding@{position}",
        FEATURE: "L{layer}/{feature}@{position}",
        ERROR: "L{layer}/error@{position}",
        LOGIT: "logit:{label}@{position}",
    }
    assert all(nodes["position"] < len(tokens))
    rows = zip(*(nodes[c] for c in ("kind", "layer", "position", "feature", "label")), strict=True)
    return [
        names[kind].format(layer=layer, position=position, feature=feature, label=label)
        for kind, layer, position, feature, label in rows
    ]


@pytest.mark.parametrize("folder", ["carrot", "crows"])
def test_show_gives_the_stored_scores_counts_and_nodes(kept: Path, folder: str) -> None:
    shown, stored = printed("show", folder), raw(f"{folder}/trace.json")
    nodes, names = table(f"{folder}/nodes.parquet"), node_names(folder)
    assert shown["scores"] == stored["scores"]
    assert shown["tokens"] == stored["info"]["tokens"]
    for mine, theirs in zip(shown["targets"], stored["info"]["targets"], strict=True):
        assert theirs.items() <= mine.items()
    for name in ("nodes", "edges", "nodes_kept", "edges_kept"):
        assert shown["counts"][name] == stored[f"n_{name}"]
    for node in shown["nodes"]:
        row = node["row"]
        assert nodes["kept"][row]
        assert node["name"] == names[row]
        assert node["influence"] == nodes["influence"][row]


def test_paths_are_the_strongest_products_of_signed_shares(kept: Path) -> None:
    nodes, edges = table("crows/nodes.parquet"), table("crows/edges.parquet")
    weight = np.zeros((len(nodes["kind"]),) * 2)
    weight[edges["target"], edges["source"]] = edges["weight"]
    shares = normalised(weight) * np.sign(weight)
    names, (target,) = node_names("crows"), np.flatnonzero(nodes["kind"] == LOGIT)

    def paths(end: int) -> Iterator[tuple[float, list[int]]]:
        """Every path that starts at a token and ends here, through kept edges."""
        if nodes["kind"][end] == EMBEDDING:
            yield 1.0, [end]
        for source in edges["source"][(edges["target"] == end) & edges["kept"]]:
            for strength, rows in paths(source):
                yield strength * shares[end, source], [*rows, end]

    expected = sorted(paths(int(target)), key=lambda path: -abs(path[0]))
    routes = printed("paths", "crows", "--top", "6")["routes"]
    assert len(routes) == 6
    for route, (strength, rows) in zip(routes, expected, strict=False):
        assert route["nodes"] == [names[row] for row in rows]
        assert route["strength"] == pytest.approx(abs(strength), rel=1e-9)
        assert route["sign"] == np.sign(strength)


def test_heads_take_an_edge_apart_as_it_is_stored(kept: Path) -> None:
    names, rows = node_names("carrot"), table("carrot/heads.parquet")
    source, target = names.index("embedding@2"), names.index("L5/885@3")
    of_edge = (rows["source"] == source) & (rows["target"] == target) & (rows["head"] >= 0)
    stored = {
        (int(layer), int(head)): loading
        for layer, head, loading in zip(
            *(rows[column][of_edge] for column in ("layer", "head", "loading")), strict=True
        )
    }
    shown = printed("heads", "carrot", "--edge", names[source], names[target])
    (edge,) = shown
    parts = {
        (layer["layer"], head["head"]): head["loading"]
        for layer in edge["layers"]
        for head in layer["heads"]
    }
    assert parts == stored


def test_a_graph_shares_everything_with_itself(kept: Path) -> None:
    (pair,) = printed("compare", "carrot", "carrot")["pairs"]
    for part in ("whole", "kept"):
        shares = [value for name, value in pair[part].items() if name != "p"]
        assert len(shares) == 6
        assert shares == pytest.approx([1.0] * 6, abs=1e-12)
    n_kept = int((table("carrot/nodes.parquet")["kind"] == FEATURE)[kept_rows("carrot")].sum())
    assert pair["features"] == {"shared": n_kept, "first": 0, "second": 0}


def test_export_writes_the_exchange_file_again(kept: Path) -> None:
    assert run_command("export", "carrot", "--out", "new.json").code == 0
    new, old = json.loads(Path("new.json").read_text(encoding="utf-8")), raw("carrot/graph.json")
    assert new["nodes"] == old["nodes"]
    assert new["links"] == old["links"]
    for key in ("prompt", "prompt_tokens", "node_threshold", "generation_settings"):
        assert new["metadata"][key] == old["metadata"][key]


@pytest.mark.parametrize("folder", ["carrot", "crows"])
def test_an_exchange_file_opens_as_its_folder_does(kept: Path, folder: str) -> None:
    nodes = {node["name"]: node for node in printed("show", folder, "--nodes", "1000")["nodes"]}
    for node in printed("show", f"{folder}/graph.json", "--nodes", "1000")["nodes"]:
        assert node["influence"] == pytest.approx(nodes[node["name"]]["influence"], abs=1e-9)


@pytest.mark.parametrize("folder", ["carrot", "crows"])
def test_pruning_again_keeps_the_same(kept: Path, folder: str) -> None:
    thresholds = raw(f"{folder}/trace.json")
    outcome = run_command(
        "prune",
        folder,
        *("--node-threshold", str(thresholds["node_threshold"])),
        *("--edge-threshold", str(thresholds["edge_threshold"])),
        *("--out", "pruned"),
    )
    assert outcome.code == 0, outcome.err
    for name in ("nodes", "edges"):
        old, new = (pq.read_table(f"{f}/{name}.parquet").to_pydict() for f in (folder, "pruned"))
        assert new["kept"] == old["kept"]
        np.testing.assert_allclose(new["influence"], old["influence"], rtol=1e-9, atol=1e-15)


def test_the_figure_has_the_edges_of_the_stored_figure(kept: Path) -> None:
    outcome = run_command("render", "carrot", "-o", "new.svg")
    assert outcome.code == 0, outcome.err
    names, edges = node_names("carrot"), table("carrot/edges.parquet")
    ends = zip(edges["source"], edges["target"], strict=True)
    weights = dict(
        zip(((names[one], names[other]) for one, other in ends), edges["weight"], strict=True)
    )
    drawn, stored = drawn_edges(kept / "new.svg"), drawn_edges(KEPT / "carrot/graph.svg")
    assert len(drawn) > 50
    assert drawn.keys() == stored.keys()
    for ends, weight in drawn.items():
        assert weight == pytest.approx(weights[ends], rel=1e-3)


def drawn_edges(figure: Path) -> dict[tuple[str, str], float]:
    """The edges of a figure by the names of their ends, with the weights in their hints."""
    hints = re.findall(
        r"weight ([-+−][\d.e-]+),[^<]*?&#10;(\S+) → (\S+?)(?:&#10;|<)",
        figure.read_text(encoding="utf-8"),
    )
    return {(source, target): float(weight.replace("−", "-")) for weight, source, target in hints}


def test_the_page_carries_nodes_groups_heads_and_the_trust_report(kept: Path) -> None:
    outcome = run_command("view", "carrot", "--no-browser", "--out", "page.html")
    assert outcome.code == 0, outcome.err
    page = Path("page.html").read_text(encoding="utf-8")
    data = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    (graph,) = json.loads(data[1])["graphs"]
    nodes, names = table("carrot/nodes.parquet"), node_names("carrot")
    assert graph["name"] == [names[row] for row in np.flatnonzero(nodes["kept"])]
    assert graph["trust"]["headline"] == raw("carrot/trust.json")["verdict"]["headline"]
    groups = tomllib.loads((KEPT / "carrot/supernodes.toml").read_text(encoding="utf-8"))
    assert {
        group["name"]: [graph["name"][row] for row in group["rows"]] for group in graph["groups"]
    } == groups
    assert graph["leading"]


def test_edited_supernodes_are_taken_up(kept: Path) -> None:
    shown = printed("supernodes", "carrot", "--edit", "carrot/supernodes.toml")
    groups = tomllib.loads((KEPT / "carrot/supernodes.toml").read_text(encoding="utf-8"))
    assert {group["name"]: group["nodes"] for group in shown["supernodes"]} == groups
    influence = dict(
        zip(node_names("carrot"), table("carrot/nodes.parquet")["influence"], strict=True)
    )
    for group in shown["supernodes"]:
        members = sum(influence[name] for name in group["nodes"])
        assert group["influence"] == pytest.approx(members, rel=1e-9)


def test_a_stored_trust_report_is_shown_and_not_replaced_by_a_brief_one(kept: Path) -> None:
    stored = raw("carrot/trust.json")
    assert stored["verdict"]["headline"] in run_command("show", "carrot").out
    outcome = run_command("trust", "carrot", "--quick", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "rests on more and stays" in outcome.err
    assert json.loads(Path("carrot/trust.json").read_text(encoding="utf-8")) == stored


def test_a_stored_run_shows_its_figures(kept: Path) -> None:
    shown, stored, heads = (
        printed("runs", "show", "facts"),
        table("facts/graphs"),
        table("facts/heads"),
    )
    assert shown["progress"]["done"] == len(stored["id"]) == 3
    for name, quantiles in shown["scores"].items():
        np.testing.assert_allclose(
            quantiles, np.quantile(stored[name], shown["quantiles"]), rtol=1e-12
        )
    for head in shown["heads"]:
        rows = (heads["layer"] == head["layer"]) & (heads["head"] == head["head"])
        assert head["share"]["value"] == pytest.approx(heads["share"][rows].sum() / 3, rel=1e-12)
    nodes = table("facts/nodes")
    for feature in shown["features"]:
        rows = (
            (nodes["kind"] == FEATURE)
            & (nodes["layer"] == feature["layer"])
            & (nodes["feature"] == feature["feature"])
            & nodes["kept"]
        )
        if not feature["tag"]:
            assert feature["prompts"] == len(set(nodes["id"][rows]))
            influence = nodes["influence"][rows].sum() / 3
            assert feature["influence"]["value"] == pytest.approx(influence, rel=1e-9)


def test_a_stored_prompt_is_exported_and_read_as_a_graph(kept: Path) -> None:
    outcome = run_command("runs", "export", "facts", "facts-02", "--out", "crows-of-run")
    assert outcome.code == 0, outcome.err
    stored, paths, nodes = table("facts/graphs"), table("facts/paths"), table("facts/nodes")
    (row,) = np.flatnonzero(stored["name"] == "facts-02")
    key = stored["id"][row]
    shown = printed("show", "crows-of-run")
    assert shown["prompt"] == stored["prompt"][row] == "crows are"
    for name in ("replacement", "completeness", "error_share", "constant_share"):
        assert shown["scores"][name] == stored[name][row]
    pruned = open_run("facts").graph("facts-02")
    for name in ("influence", "label", "value", "layer"):
        column = pruned.influence if name == "influence" else getattr(pruned.graph.nodes, name)
        np.testing.assert_array_equal(column, nodes[name][nodes["id"] == key])
    strongest = np.flatnonzero((paths["id"] == key) & (paths["rank"] == 1))
    routes = printed("paths", "crows-of-run", "--top", "20")["routes"]
    through_features = next(route for route in routes if len(route["nodes"]) > 2)
    assert through_features["nodes"] == list(paths["nodes"][strongest[0]])
    assert through_features["strength"] == pytest.approx(paths["strength"][strongest[0]], rel=1e-9)


def test_the_same_batch_command_goes_on_with_a_stored_run(kept: Path) -> None:
    lines = [json.loads(line) for line in Path("facts/manifest.jsonl").read_text().splitlines()]
    Path("facts3.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = {path: path.read_bytes() for path in Path("facts").rglob("*.parquet")}
    outcome = run_command("batch", "facts3.jsonl", "--out", ".", "--name", "facts", "--heads")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "3 of 3 prompts have a graph in facts\n"
    assert {path: path.read_bytes() for path in Path("facts").rglob("*.parquet")} == before


def test_a_dissociation_goes_on_from_its_stages_with_the_same_figures(kept: Path) -> None:
    before = {path: path.read_bytes() for path in sorted(Path("towns/stages").rglob("*.json"))}
    old = raw("towns/dissociation.json")
    outcome = run_command(
        "dissociate",
        "towns/towns.toml",
        "--quick",
        "--out",
        ".",
        "--name",
        "towns",
        "--device",
        "cpu",
    )
    if old["versions"]["circuit-tracer-cli"] != __version__:
        assert outcome.code == 1
        assert "holds another experiment" in outcome.err
        return
    assert outcome.code == 0, outcome.err
    assert {path: path.read_bytes() for path in before} == before
    new = json.loads(Path("towns/dissociation.json").read_text(encoding="utf-8"))
    assert figures(new) == figures(old)


def figures(value: Any, place: str = "") -> dict[str, float]:
    """Every number of a report by its place, without the times."""
    if isinstance(value, dict):
        children = [(f".{k}", v) for k, v in value.items() if k != "seconds"]
    elif isinstance(value, list):
        children = [(f"[{i}]", v) for i, v in enumerate(value)]
    else:
        return {} if isinstance(value, str | None) else {place: value}
    return {k: v for name, child in children for k, v in figures(child, place + name).items()}


def test_a_dissociation_report_is_read_whole(kept: Path) -> None:
    report, stored = read_report(Path("towns")), raw("towns/dissociation.json")
    assert report.name == stored["name"]
    assert report.behaviour.kept == stored["behaviour"]["kept"]
    for family, record in zip(
        report.behaviour.families, stored["behaviour"]["families"], strict=True
    ):
        assert family.family == record["family"]
        for name in ("right", "contrast"):
            assert vars(getattr(family, name)) == record[name]
    assert [finding.sentence for finding in report.verdict.findings] == [
        finding["sentence"] for finding in stored["verdict"]["findings"]
    ]
    compared = run_command("compare", "towns/dissociation.json", "towns/dissociation.json")
    assert compared.code == 0, compared.err
