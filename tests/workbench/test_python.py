"""What a newcomer types: the calls of the package, on names, paths and opened objects alike."""

from __future__ import annotations

import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import circuit_tracer as ct
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.interventions.spec import Strength, change_feature
from circuit_tracer.workbench import calls, traced_graph
from circuit_tracer.workbench.tables import Table

PROMPT = "a banana is"


@pytest.fixture(scope="module")
def g() -> ct.TracedGraph:
    return ct.trace(PROMPT, model="sprout", transcoders="plt", targets=["yellow"], device="cpu")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_lines_of_the_issue_work(g: ct.TracedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    assert repr(g).startswith('TracedGraph("a banana is" -> yellow ')
    assert "\n" not in repr(g)
    assert "<svg" in g._repr_html_()
    assert "replacement" in g._repr_html_().lower()
    assert 0.9 < g.scores.replacement < 1
    assert g.targets[0].token == "yellow"
    kept_kinds = g.pruned.graph.nodes.kind[g.pruned.node_kept]
    assert len(g.features()) == int((kept_kinds == NodeKind.FEATURE).sum()) > 5
    assert g.features().to_arrow().num_rows == len(g.features())
    assert g.adjacency()[0].dense().any()
    assert g.to_networkx().number_of_edges() == len(g.edges())
    lines = repr(g.paths(to="yellow", k=3)).splitlines()
    assert len(lines) == 3
    assert any(line.startswith("banana -> L5/717 ") for line in lines)
    assert 'width="85mm"' in g.prune(node_threshold=0.6).svg(width_mm=85, routes=3)
    assert g.html("page.html").is_file()
    assert g.html("page.html").is_file()
    assert g.save("folder") == Path("folder")
    assert ct.load("folder").scores == g.scores
    assert ct.load("folder/graph.json").targets == g.targets
    (row,) = g.ablate(["L5/717"], mode="free").rows
    assert row.measured["free"].logits[0] < 0
    report = g.trust(quick=True)
    assert report.verdict.headline in " ".join(repr(report).split())
    assert g.heads(top=3)[0].share > g.heads(top=3)[2].share
    assert g.qk(head="3.2", query="is", key="banana").parts.value == pytest.approx(3.365, abs=0.01)
    h = ct.trace("a lemon is", model="sprout", device="cpu")
    assert 0.5 < ct.compare(g, h, shuffles=0).pairs[0, 1].kept.features < 1
    steered = ct.steer("sprout", "the sky is", {"L4/288": 10}, of_max=True, device="cpu")
    assert "yellow" in steered.prompts[0][1].at(10).text.text
    asked: dict[str, Any] = {}

    def run(folder: Path, study: Any, **given: Any) -> tuple[Any, list[str]]:
        asked.update(folder=folder, study=study, **given)
        raise UsageError("twenty seconds that other tests spend")

    monkeypatch.setattr(calls, "EXPERIMENT", SimpleNamespace(into=run))
    with pytest.raises(UsageError, match="twenty seconds"):
        ct.dissociate("bananas", quick=True, device="cpu")
    assert asked["folder"] == Path("outputs/dissociate-bananas")
    assert asked["study"].settings.quick
    assert asked["study"].spec.name == "bananas"


def test_names_paths_and_opened_objects_give_one_graph(g: ct.TracedGraph, tmp_path: Path) -> None:
    model = g.opened.model
    dictionary = g.opened.dictionary
    ways: list[dict[str, Any]] = [
        {"model": g.opened},
        {"model": model, "transcoders": "plt"},
        {"model": model, "transcoders": dictionary},
        {"model": model, "transcoders": Path(bundled("plt"))},
    ]
    for way in ways:
        other = ct.trace(PROMPT, targets="yellow", **way)
        assert [row["label"] for row in other.features()] == [row["label"] for row in g.features()]
        assert other.scores == g.scores


def bundled(dictionary: str) -> Path:
    from circuit_tracer.bundled import bundled_folder

    return bundled_folder() / "sprout" / dictionary


def test_neurons_have_labels_too(g: ct.TracedGraph) -> None:
    other = ct.trace(PROMPT, model=g.opened.model, transcoders="neurons", targets=["yellow"])
    more = other.prune(node_threshold=0.95)
    labels = [sum(row["label"] != "" for row in some.features()) for some in (other, more)]
    assert 10 < labels[0] < labels[1]


def test_the_matrix_is_upstreams(g: ct.TracedGraph) -> None:
    """Upstream's replacement score, by its own recipe and offsets, is the graph's."""
    matrix, nodes = g.adjacency(whole=True)
    dense, n_tokens = matrix.dense(), len(g.tokens)
    n_features = len(g.features(whole=True))
    error_end = n_features + n_tokens * g.pruned.graph.info.n_layers
    assert len(dense) == error_end + n_tokens + len(g.targets)
    features = [(n["layer"], n["position"], n["feature"]) for n in nodes[:n_features]]
    assert features == sorted(features)
    for place, node in enumerate(nodes[n_features:error_end]):
        assert node["name"] in ("", f"L{place // n_tokens}/error@{place % n_tokens}")
    assert nodes["name"][error_end:-1] == [f"embedding@{at}" for at in range(n_tokens)]
    shares = np.abs(dense) / np.maximum(np.abs(dense).sum(1, keepdims=True), 1e-10)
    influence = step = shares[-1]
    while step.any():
        step = step @ shares
        influence = influence + step
    errors, tokens = influence[n_features:error_end].sum(), influence[error_end:-1].sum()
    assert tokens / (tokens + errors) == pytest.approx(g.scores.replacement, abs=1e-6)
    assert np.array_equal(matrix.sparse().to_dense().numpy(), dense)
    assert np.array_equal(np.asarray(matrix), dense)


def test_the_matrix_of_the_kept_part_has_its_edges(g: ct.TracedGraph) -> None:
    matrix, nodes = g.adjacency()
    dense, names = matrix.dense(), nodes["name"]
    assert np.count_nonzero(dense) == len(g.edges())
    assert sorted(names) == sorted(g.nodes()["name"])
    for edge in g.edges():
        at = names.index(edge["target"]), names.index(edge["source"])
        assert dense[at] == edge["weight"]


def test_a_stored_trust_report_goes_where_its_graph_is_saved(tmp_path: Path) -> None:
    g = ct.trace(PROMPT, targets=["yellow"], device="cpu")
    for idle, value in (("other", "clt"), ("random_sets", 3), ("draws", 2)):
        with pytest.raises(UsageError, match=f"`{idle}` is for a full report"):
            g.trust(quick=True, **{idle: value})  # type: ignore[arg-type]
    g.trust(quick=True)
    first = g.save(tmp_path / "first")
    report = (first / "trust.json").read_bytes()
    assert (ct.load(first).save(tmp_path / "second") / "trust.json").read_bytes() == report
    assert (ct.load(first).save(first, overwrite=True) / "trust.json").read_bytes() == report
    smaller = ct.load(first).prune(node_threshold=0.5)
    assert not (smaller.save(tmp_path / "third") / "trust.json").exists()  # of another graph


def test_a_loaded_graph_opens_its_model_when_asked(g: ct.TracedGraph, tmp_path: Path) -> None:
    g.heads()
    loaded = ct.load(g.save(tmp_path / "folder"))
    heads = [head.name for head in loaded.heads()]
    assert loaded._opened is None  # loadings are stored
    assert heads == [head.name for head in g.heads()]
    assert loaded.ablate(["L5/717"], mode="direct").rows == (
        g.ablate(["L5/717"], mode="direct").rows
    )
    assert loaded._opened is not None
    again = ct.load(tmp_path / "folder")
    assert again.reopen(g.opened).opened is g.opened
    assert again.reopen(g.opened.model).opened.dictionary.shape == g.opened.dictionary.shape
    assert again.reopen(transcoders=g.opened.dictionary).opened.dictionary is g.opened.dictionary
    with pytest.raises(UsageError, match="traced with another dictionary"):
        again.reopen(g.opened.model, "neurons")


def test_reading_a_graph_needs_no_torch(g: ct.TracedGraph, tmp_path: Path) -> None:
    folder = g.save(tmp_path / "folder")
    code = (
        "import sys, circuit_tracer as ct; g = ct.load(sys.argv[1]); g.paths(); g.svg(routes=2)\n"
        "g.features().to_arrow(); g._repr_html_(); g.html(sys.argv[1] + '/page.html'); g.show()\n"
        "ct.compare(g, g, shuffles=0); g.adjacency()[0].dense(); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_results_are_saved_and_listed(g: ct.TracedGraph, tmp_path: Path) -> None:
    """nnsight gives every object of the process a `save`; ours is another."""
    routes = g.paths(k=2)
    assert len(json.loads(routes.save(tmp_path / "routes.json").read_text())) == 2
    assert g.svg().save(tmp_path / "graph.svg").read_text().startswith("<?xml")
    table = g.features()
    assert table.save(tmp_path / "t.csv").read_text().startswith('"row","name"')
    nothing = table[:0]
    assert (len(nothing), nothing.columns) == (0, table.columns)
    assert nothing.save(tmp_path / "t.csv").read_text().startswith('"row","name"')
    assert tuple(nothing.to_arrow().column_names) == table.columns
    assert {"save", "show", "paths", "svg"} <= set(dir(g))
    assert not [name for name in dir(g) if name.startswith("_")]
    assert {"verdict", "measured", "record"} <= set(dir(g.trust(quick=True)))
    assert "trace" in dir(ct)
    n, m = len(g.nodes(whole=True)), len(g.edges(whole=True))
    whole = f"Graph('{PROMPT}', {n} nodes, {m:,} edges)"
    assert repr(g.pruned.graph) == whole
    assert (
        repr(g.pruned) == f"PrunedGraph({len(g.nodes())} nodes, {len(g.edges())} edges of {whole})"
    )
    assert "TYPE_CHECKING" not in dir(ct)


def test_features_of_a_text_have_strengths_of_their_own(g: ct.TracedGraph) -> None:
    both = ct.steer(g.opened, "the sky is", {"L5/717": -3, "L4/288": 9}, doses=[])
    alone = ct.steer(g.opened, "the sky is", {"L4/288": 9}, doses=[])
    assert both.record()["strength"] == {"unit": "value", "amount": 9.0, "shares": (-1 / 3, 1.0)}
    assert "-0.333 of the strength" in repr(both)
    model, ids = g.opened.model, g.opened.model.tokenize("the sky is")
    changes = [
        change_feature(layer, index, None, Strength(value, is_multiple=False))
        for layer, index, value in ((5, 717, -3.0), (4, 288, 9.0))
    ]
    logits = ct.intervene(model, g.opened.dictionary, ids, [tuple(changes)], mode="free").logits
    expected = model.probabilities(logits)[0, -1, model.token_id(both.target)]
    assert both.prompts[0][1].at(9).first == pytest.approx(float(expected), rel=1e-4)
    assert both.prompts[0][1].at(9).first != alone.prompts[0][1].at(9).first
    assert "shares" not in alone.record()["strength"]


def test_a_figure_with_a_width_is_the_bare_graph(g: ct.TracedGraph) -> None:
    assert "Settings" in g.svg()
    assert "Settings" not in g.svg(width_mm=85)
    assert "Settings" in g.svg(width_mm=180, legend="full")
    short = g.svg(width_mm=180, legend="short")
    assert "feature" in short
    assert "Settings" not in short


def test_a_table_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table([{"name": "<b>", "share": 0.5}])
    assert "&lt;b&gt;" in table._repr_html_()
    monkeypatch.setattr("circuit_tracer.workbench.tables.find_spec", lambda name: None)
    for turn in (table.to_pandas, table.to_polars):
        with pytest.raises(UsageError, match=r"is not installed: pip install .*`to_arrow`"):
            turn()
    with pytest.raises(UsageError, match='no column "weight"; choose name, share'):
        table["weight"]
    assert repr(Table([])) == "an empty table"


def test_a_taken_folder_and_a_foreign_file_stay(g: ct.TracedGraph, tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        g.html(tmp_path / "notes.html")
    g.save(tmp_path / "folder")
    with pytest.raises(OutputError, match="`overwrite`"):
        g.save(tmp_path / "folder")
    g.save(tmp_path / "folder", formats="json", overwrite=True)
    for table, name in ((g.nodes(), "nodes.parquet"), (g.edges(), "edges.parquet")):
        with pytest.raises(OutputError, match="a part of the graph in that folder"):
            table.save(tmp_path / "folder" / name)
    with pytest.raises(OutputError, match="a part of the graph in that folder"):
        g.paths().save(tmp_path / "folder" / "trace.json")
    assert g.nodes().save(tmp_path / "nodes.parquet").is_file()
    assert ct.load(tmp_path / "folder").scores == g.scores


def test_a_graph_json_cannot_be_trusted(g: ct.TracedGraph, tmp_path: Path) -> None:
    loaded = ct.load(g.save(tmp_path / "folder") / "graph.json")
    with pytest.raises(UsageError, match="holds the kept graph alone"):
        loaded.trust()


@pytest.mark.parametrize(
    "module",
    [
        ct,
        traced_graph,
        calls,
        *map(
            importlib.import_module,
            (
                "circuit_tracer.workbench.tables",
                "circuit_tracer.workbench.loading",
                "circuit_tracer.workbench.graph_tables",
                "circuit_tracer.workbench.results",
            ),
        ),
    ],
    ids=lambda module: module.__name__,
)
def test_the_examples_of_the_docstrings_run(module: Any) -> None:
    done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert not done.failed


def test_every_public_call_has_an_example() -> None:
    named = ((name, getattr(ct.TracedGraph, name)) for name in dir(ct.TracedGraph))
    methods = [value for name, value in named if not name.startswith("_") and callable(value)]
    public = [ct.trace, ct.load, ct.compare, ct.steer, ct.dissociate, ct.diff, ct.steps]
    public += [one for one in methods if one.__module__.startswith("circuit_tracer.")]
    assert len(public) > 18
    assert [one.__name__ for one in public if ">>>" not in (one.__doc__ or "")] == []
