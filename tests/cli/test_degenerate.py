"""Every command on graphs that lack what graphs usually have: a sentence or an empty result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from circuit_tracer.graphs import prune, save_graph
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.transcoders.formats.native import save_dictionary
from tests.cli.conftest import Run
from tests.graphs.builders import degenerate_graphs, random_graph
from tests.tiny import random_dictionary, tiny_llama, tiny_module, tiny_tokenizer

SPEC = """
[[panel]]
graph = "graphs/given"
legend = true
[[panel]]
merged = ["graphs/given", "usual"]
"""
READING = """
show GRAPH
show GRAPH --json --nodes 0
paths GRAPH
render GRAPH -o whole.svg
render GRAPH -o whole.dot
render GRAPH -o routes.svg --routes 2
render GRAPH -o groups.svg --level supernodes
figure page.toml
export GRAPH -o given.json
export GRAPH -o given.gexf
export GRAPH -o tables --to csv
show given.json
prune GRAPH -o half --node-threshold 0.5
supernodes GRAPH --json
supernodes GRAPH --out groups.toml --across-tokens
compare usual GRAPH --ceiling GRAPH --floor GRAPH --figure both.svg
view GRAPH usual -o both.html --no-browser
"""
EXPECTED = (
    "no route through features was kept",
    "no two features are alike enough",
)
"""What a command may say instead of a result."""


def store(graph: Graph, folder: str) -> None:
    Path(folder).mkdir(parents=True)
    save_graph(prune(graph), Path(folder))


@pytest.mark.parametrize("lack", ["no edges", "targets alone", "one token"])
def test_reading_a_degenerate_graph(lack: str, run: Run) -> None:
    store(degenerate_graphs()[lack], "graphs/given")
    store(random_graph(n_layers=2, n_tokens=3, per_layer=3), "usual")
    Path("page.toml").write_text(SPEC)
    for line in READING.strip().splitlines():
        outcome = run(*line.replace("GRAPH", "graphs/given").split())
        assert "unforeseen" not in outcome.err, line
        assert "nan" not in outcome.out.lower().replace("banana", ""), line
        if outcome.code != 0:
            assert any(words in outcome.err for words in EXPECTED), (line, outcome.err)
        elif "--json" in line:
            json.loads(outcome.out)


MEASURING = """
trust GRAPH -m model -t DICTIONARY --features 2 --random-sets 1 --draws 1
heads GRAPH -m model -t DICTIONARY --save
paths GRAPH -m model -t DICTIONARY --heads
qk GRAPH -m model -t DICTIONARY --head 1.0 --query 1 --key 1
ablate GRAPH -m model -t DICTIONARY --top 3
supernodes GRAPH -m model -t DICTIONARY --causal
"""


@pytest.mark.parametrize(("dictionary", "budget"), [("dead", "9"), ("neurons", "0")])
def test_measuring_a_graph_without_features(dictionary: str, budget: str, run: Run) -> None:
    tiny_module("llama", n_layers=2).save_pretrained("model")
    tiny_tokenizer(24).save_pretrained("model")
    if dictionary == "dead":
        usual = random_dictionary(tiny_llama(n_layers=2), activation="relu", n_features=4)
        layers = tuple(replace(one, b_enc=one.b_enc - 1e4, k=None) for one in usual.layers)
        save_dictionary(replace(usual, layers=layers), Path("dead"))
    given = ["-m", "model", "-t", dictionary, "--max-feature-nodes", budget, "--slug", "given"]
    outcome = run("trace", "the banana", *given, "--no-trust", "--format", "svg")
    assert outcome.code == 0, outcome.err
    for line in MEASURING.strip().splitlines():
        words = line.replace("GRAPH", "outputs/given").replace("DICTIONARY", dictionary).split()
        outcome = run(*words)
        assert "unforeseen" not in outcome.err, (line, outcome.err)
        assert outcome.code in (0, 2), line
        assert "nan" not in (outcome.out + outcome.err).lower().replace("banana", ""), line
