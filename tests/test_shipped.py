"""Shipped prompts: the model is right about all; of a spread of them and of each kind, sums hold,
scores stand and exchange JSON is lossless.

One file, because one process shall trace them, once.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.prompts import prompts
from circuit_tracer.attribution import TraceSettings, trace
from circuit_tracer.graphs import PrunedGraph, from_exchange, prune
from circuit_tracer.workbench.folder_contents import open_cards
from circuit_tracer.workbench.folders import example_texts, write_texts
from circuit_tracer.workbench.opening import Opened, open_pair
from tests.graphs.compare import assert_same_pruned
from tests.graphs.validator import feature_complaints, graph_complaints
from tests.shipped import ONE_OF_A_KIND, Exported, exported, exports, places, rows

PROMPTS = [record["prompt"] for _, record in prompts()]
KINDS = len(ONE_OF_A_KIND)


@cache
def opened(transcoders: str, dtype: str = "float32") -> Opened:
    """The bundled model with a dictionary, opened once for all tests."""
    return open_pair("sprout", transcoders, dtype=dtype, device="cpu", threads=1)


def traced(
    prompt: str,
    transcoders: str = "plt",
    *,
    dtype: str = "float32",
    thresholds: tuple[float, float] = (0.8, 0.98),
    **settings: Any,
) -> PrunedGraph:
    """A prompt's graph as `trace` makes it."""
    pair = opened(transcoders, dtype)
    graph = trace(
        pair.model, pair.dictionary, prompt, TraceSettings(**settings), labels=pair.labels
    ).graph
    pruned = prune(graph, node_threshold=thresholds[0], edge_threshold=thresholds[1])
    return pruned if pair.relabel is None else pair.relabel(pruned)


def assert_valid_and_lossless(export: Exported) -> None:
    """Taken by the validator; read back equal to the last bit; written again the same text."""
    assert graph_complaints(export.text) == []
    read = from_exchange(json.loads(export.text))
    assert_same_pruned(read, _settled(export.kept))
    assert exported(read).text == export.text


def _settled(pruned: PrunedGraph) -> PrunedGraph:
    """With the settings as JSON holds them: lists, no tuples."""
    info = pruned.graph.info
    info = replace(info, settings=json.loads(json.dumps(info.settings)))
    return replace(pruned, graph=replace(pruned.graph, info=info))


@pytest.mark.parametrize("transcoders", ["plt", "clt"])
def test_shipped_prompts_are_valid_and_lossless(transcoders: str) -> None:
    found = exports(transcoders)
    assert [one.kept.graph.info.prompt for one in found] == [PROMPTS[i] for i in places()]
    assert len(found) > KINDS > 6
    for export in found[::2]:
        assert_valid_and_lossless(export)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"contrast": "yes,no"},
        {"why_not": "no"},
        {"targets": ("yes", "no")},
        {"position": 2, "desired_logit_prob": 1.0},
        {"transcoders": "clt"},
        {"transcoders": "neurons"},
        {"dtype": "float64", "thresholds": (1.0, 0.9)},
        {"thresholds": (0.05, 0.05)},
        {"max_feature_nodes": 10, "edge_floor": 1e-3, "thresholds": (1.0, 1.0)},
    ],
    ids=lambda asked: "-".join(asked) or "plain",
)
def test_graphs_of_every_kind_are_valid_and_lossless(asked: dict[str, Any]) -> None:
    assert_valid_and_lossless(exported(traced("is a lemon yellow ?", **asked)))


@pytest.mark.parametrize("i", range(KINDS))
def test_another_tools_file_is_written_as_it_was_read(i: int) -> None:
    record = json.loads(exports("plt")[i].text)
    del record["metadata"]["circuit_tracer_cli"]
    text = exported(from_exchange(record)).text
    assert graph_complaints(text) == []
    again = json.loads(text)
    for part in ("nodes", "links", "qParams"):
        assert again[part] == record[part]
    for name in ("slug", "prompt", "prompt_tokens", "generation_settings", "pruning_settings"):
        assert again["metadata"][name] == record["metadata"][name]


@pytest.mark.parametrize("transcoders", ["plt", "clt", "neurons"])
def test_every_feature_of_a_graph_has_its_examples(transcoders: str, tmp_path: Path) -> None:
    if transcoders == "neurons":  # which have no text that they were measured on
        found = [exported(traced("a lemon is", transcoders))]
    else:
        found = exports(transcoders)[:KINDS:3]
    for i, (pruned, text) in enumerate(found):
        folder, record = tmp_path / str(i), json.loads(text)
        nodes = [n for n in record["nodes"] if n["feature_type"] == "cross layer transcoder"]
        texts = example_texts(pruned, folder, open_cards(pruned, None), overwrite=False)
        write_texts(texts)
        files = {int(file.stem): file for file in folder.glob("features/*/*.json")}
        assert len(texts) == len(files)
        assert set(files) == {node["feature"] for node in nodes} != set()
        assert {file.parent.name for file in files.values()} == {record["metadata"]["scan"]}
        for index, file in files.items():
            written = file.read_text(encoding="utf-8")
            assert feature_complaints(written, index) == []
            if transcoders != "neurons":
                _assert_it_fires(json.loads(written))


def _assert_it_fires(card: dict[str, Any]) -> None:
    """A feature that is active here was active in the text its examples are from, too."""
    top = card["examples_quantiles"][0]
    assert top["quantile_name"] == "Top"
    peak = top["examples"][0]
    strongest = peak["tokens_acts_list"][peak["train_token_ind"]]
    assert strongest == pytest.approx(card["act_max"], abs=1e-4)
    assert len(card["top_logits"]) == len(card["bottom_logits"]) > 0


def test_there_are_enough_prompts_of_enough_kinds() -> None:
    assert len(prompts()) >= 40
    assert len({kind for kind, _ in prompts()}) >= 6
    assert len({record["id"] for _, record in prompts()}) == len(prompts())


def test_the_model_is_right_about_every_prompt() -> None:
    model = opened("plt").model
    for _, record in prompts():
        with torch.no_grad():
            logits = model.module(torch.tensor([model.tokenize(record["prompt"])])).logits[0, -1]
        said = model.token_text(int(logits.argmax()))
        assert said.strip() == record["answer"].strip(), record["prompt"]


@pytest.mark.parametrize("transcoders", ["plt", "clt"])
def test_conservation_holds(transcoders: str) -> None:
    found = rows(transcoders)
    assert all(row.right for row in found)
    assert max(row.residuals[0] for row in found) <= 1e-4
    both = found[:KINDS]
    assert {row.kind for row in both} == {kind for kind, _ in prompts()}
    assert max(row.residuals[1] for row in both) <= 1e-10


@pytest.mark.parametrize("transcoders", ["plt", "clt"])
def test_tokens_errors_and_constants_sum_to_every_value(transcoders: str) -> None:
    for export in exports(transcoders):
        graph = export.kept.graph
        values = graph.nodes.value[graph.target_rows]
        found = [totals.value for totals in graph.info.totals]
        assert found == pytest.approx(values, rel=1e-4, abs=1e-4)


def test_per_layer_graphs_are_mostly_explained() -> None:
    found = rows("plt")
    assert statistics.median(row.completeness for row in found) >= 0.93
    assert statistics.median(row.replacement for row in found) >= 0.85
