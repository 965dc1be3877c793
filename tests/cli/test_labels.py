"""Labels and cards of published dictionaries, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circuit_tracer.transcoders.formats.native import save_dictionary
from tests.cli.conftest import Run
from tests.tiny import random_dictionary, tiny_llama
from tests.transcoders.test_published_cards import record, write_features


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a dictionary with a `features/` folder beside it."""
    home = tmp_path_factory.mktemp("home")
    model = tiny_llama(n_layers=2)
    model.module.save_pretrained(home / "model")
    model.tokenizer.save_pretrained(home / "model")
    save_dictionary(random_dictionary(model, n_features=8), home / "set")
    write_features(home / "set", [[record(f" w{layer}{f}") for f in range(8)] for layer in (0, 1)])
    return home


def trace(run: Run, home: Path, out: str, *more: str) -> Path:
    outcome = run(
        *("trace", "a banana is", "-m", str(home / "model"), "-t", str(home / "set")),
        *("--device", "cpu", "--out", str(home / out), "--format", "json", "--overwrite", *more),
    )
    assert outcome.code == 0, outcome.err
    return home / out / "a-banana-is"


def clerps(file: Path) -> dict[str, str]:
    nodes = json.loads(file.read_text())["nodes"]
    wanted = [node for node in nodes if node["feature_type"] == "cross layer transcoder"]
    return {node["node_id"].rpartition("_")[0]: node["clerp"] for node in wanted}


def test_published_cards_label_a_graph_and_are_shown(home: Path, run: Run) -> None:
    graph = trace(run, home, "graph")
    labels = clerps(graph / "graph.json")
    assert labels
    for name, label in labels.items():
        assert "ripe w" + name.replace("_", "") in label
    assert run("view", str(graph), "--no-browser").code == 0
    assert "peel" in (graph / "graph.html").read_text()
    outcome = run("features", "show", "L1/3", "-t", str(home / "set"))
    assert (outcome.code, "ripe [w13]" in outcome.out) == (0, True), outcome.out
