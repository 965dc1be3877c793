"""A trace says where its model and dictionary lie, so that later commands find them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from circuit_tracer.transcoders.card_making import write_cards
from circuit_tracer.transcoders.formats.native import save_dictionary
from tests.cli.conftest import Run, run_command
from tests.tiny import random_dictionary, tiny_llama


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a dictionary with cards in folders, and a prompt traced with them."""
    home = tmp_path_factory.mktemp("home")
    model = tiny_llama(n_layers=2)
    model.module.save_pretrained(home / "model")
    model.tokenizer.save_pretrained(home / "model")
    identity = save_dictionary(random_dictionary(model, n_features=8), home / "set")
    card = {
        "frequency": 0.1,
        "max_activation": 2.0,
        "promotes": ["yes"],
        "suppresses": [],
        "example_quantiles": [0],
        "example_lengths": [1],
        "example_tokens": [3],
        "example_activations": [255],
    }
    rows = [
        [{"layer": layer, "feature": f, "label": f"l{layer}f{f}", **card} for f in range(8)]
        for layer in range(2)
    ]
    write_cards(
        home / "set" / "cards.parquet",
        rows,
        vocabulary={3: "the"},
        dictionary_sha256=identity.sha256,
    )
    traced(home, "set", "graph")
    return home


def traced(home: Path, transcoders: str, out: str) -> Path:
    arguments = ("trace", "a banana is", "-m", str(home / "model"), "--device", "cpu")
    outcome = run_command(
        *arguments, "-t", str(home / transcoders), "--out", str(home / out), "--format", "json"
    )
    assert outcome.code == 0, outcome.err
    return home / out / "a-banana-is"


def test_commands_on_a_graph_find_its_model_and_dictionary(home: Path, run: Run) -> None:
    graph = str(home / "graph" / "a-banana-is")
    for command in (
        ("heads", graph),
        ("ablate", graph, "--top", "1"),
        ("supernodes", graph, "--decoders", str(home / "set")),
    ):
        outcome = run(*command)
        assert outcome.code == 0, (command, outcome.err)


def test_cards_of_a_dictionary_in_a_folder_are_found(home: Path, run: Run) -> None:
    graph = str(home / "graph" / "a-banana-is")
    outcome = run("export", graph, "--feature-examples", "--out", "x.json")
    assert outcome.code == 0, outcome.err
    assert "feature cards in" in outcome.out


def test_where_things_lie_stays_out_of_what_is_exported(home: Path, run: Run) -> None:
    graph = home / "graph" / "a-banana-is"
    assert str(home / "set") in (graph / "trace.json").read_text()
    for form, file in (("json", "x.json"), ("node-link", "y.json"), ("graphml", "x.graphml")):
        assert run("export", str(graph), "--to", form, "--out", file).code == 0
        assert str(home) not in Path(file).read_text()


def test_weights_that_moved_or_changed_get_a_sentence(home: Path, run: Run, tmp_path: Path) -> None:
    graph = home / "graph" / "a-banana-is"
    record = json.loads((graph / "trace.json").read_text())
    for part, path, flag in (
        ("model", tmp_path / "gone", "--model"),
        ("dictionary", tmp_path / "gone", "--transcoders"),
    ):
        changed = json.loads(json.dumps(record))
        changed["info"][part]["location"] = str(path)
        copy = tmp_path / part
        copy.mkdir()
        for file in graph.glob("*.parquet"):
            (copy / file.name).write_bytes(file.read_bytes())
        (copy / "trace.json").write_text(json.dumps(changed))
        outcome = run("heads", str(copy))
        assert outcome.code == 2
        assert f"which is no longer there; give its folder with {flag}" in outcome.err
        del changed["info"][part]["location"]
        (copy / "trace.json").write_text(json.dumps(changed))  # as older versions wrote it
        assert "is not stored in the graph" in run("heads", str(copy)).err
    weights = home / "model" / "model.safetensors"
    kept = weights.read_bytes()
    tensors = load_file(weights)
    tensors["lm_head.weight"] = torch.zeros_like(tensors["lm_head.weight"])
    try:
        save_file(tensors, weights)
        outcome = run("heads", str(graph))
    finally:
        weights.write_bytes(kept)
    assert outcome.code == 2
    assert "traced with another model" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_converted_copy_is_the_same_dictionary_with_its_cards(home: Path, run: Run) -> None:
    for source, out, to in (("set", "theirs", "circuit-tracer"), ("theirs", "again", "ours")):
        outcome = run("transcoders", "convert", str(home / source), str(home / out), "--to", to)
        assert outcome.code == 0, outcome.err
        assert (home / out / "cards.parquet").is_file()
        graph = traced(home, out, f"graph-{out}")
        text = run("compare", str(home / "graph" / "a-banana-is"), str(graph), "--json").out
        (pair,) = json.loads(text)["pairs"]
        assert pair["kept"]["features"] == pytest.approx(1)  # null between two dictionaries
        name = f"{out}.json"
        assert "cards in" in run("export", str(graph), "--feature-examples", "-o", name).out
        assert run("heads", str(graph)).code == 0
    original = str(home / "graph" / "a-banana-is")
    outcome = run("heads", original, "-t", str(home / "theirs"))
    assert outcome.code == 0, outcome.err
    outcome = run("trust", original, "--other", str(home / "again"))
    assert "is the graph's own dictionary" in outcome.err


def test_a_copy_whose_weights_were_changed_is_refused(home: Path, run: Run) -> None:
    assert (
        run("transcoders", "convert", str(home / "set"), "copy", "--to", "circuit-tracer").code == 0
    )
    file = Path("copy/layer_1.safetensors")
    tensors = load_file(file)
    tensors["b_dec"] += 1
    save_file(tensors, file)
    outcome = run("trace", "a banana", "-m", str(home / "model"), "-t", "copy", "--device", "cpu")
    assert "they were damaged or changed" in outcome.err
