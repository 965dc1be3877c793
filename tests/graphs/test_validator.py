"""The validator of exchanged graphs: it takes a graph as published and says what is broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.graphs import validator
from tests.graphs.validator import feature_complaints, graph_complaints

Record = dict[str, Any]


def _node(name: str, kind: str, layer: str, position: int, feature: int, **more: Any) -> Record:
    first = {"node_id": name, "feature_type": kind, "layer": layer, "ctx_idx": position}
    return {**first, "feature": feature, "jsNodeId": name, "clerp": "", **more}


GRAPH: Record = {
    "metadata": {
        "slug": "a-graph",
        "scan": "gemma-2-2b",
        "transcoder_list": ["org/dictionary"],
        "prompt_tokens": ["<bos>", "a", " banana"],
        "prompt": "a banana",
        "schema_version": 1,
    },
    "qParams": {
        "pinnedIds": ["0_3_1", "0_3_2"],
        "supernodes": [["fruit", "0_3_1", "0_3_2"]],
        "linkType": "both",
        "clickedId": "0_3_2",
        "sg_pos": "",
    },
    "nodes": [
        _node("E_7_2", "embedding", "E", 2, 2),
        _node("0_3_1", "cross layer transcoder", "0", 1, 9, jsNodeId="0_3-0", influence=0.5),
        _node("0_3_2", "cross layer transcoder", "0", 2, 9, jsNodeId="0_3-0", activation=1.5),
        _node("1_-1_2", "mlp reconstruction error", "1", 2, -1, influence=None),
        _node("3_42_2", "logit", "3", 2, 42, clerp='Output " x" (p=0.412)')
        | {"token_prob": 0.4123, "is_target_logit": True},
    ],
    "links": [
        {"source": "E_7_2", "target": "0_3_2", "weight": 1},
        {"source": "0_3_2", "target": "3_42_2", "weight": -0.25},
    ],
}
"""By hand, as upstream's own constructors name nodes; the Cantor pair of 0 and 3 is 9."""

FEATURE: Record = {
    "index": 9,
    "transcoder_id": "org/dictionary",
    "examples_quantiles": [
        {
            "quantile_name": "Top",
            "examples": [
                {
                    "tokens": ["a", " banana"],
                    "tokens_acts_list": [0, 1.5],
                    "train_token_ind": 1,
                    "is_repeated_datapoint": False,
                }
            ],
        }
    ],
    "top_logits": ["yellow"],
    "bottom_logits": [],
    "act_min": 0,
    "act_max": 1.5,
    "activation_frequency": 0.01,
}


def _changed(record: Record, path: str, value: Any) -> Record:
    """A copy with the value at a path; `...` takes the key away."""
    at = changed = copy.deepcopy(record)
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return changed


def test_a_graph_and_a_feature_as_published_are_taken() -> None:
    assert graph_complaints(json.dumps(GRAPH)) == []
    assert feature_complaints(json.dumps(FEATURE), 9) == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("links", ..., "'links' is a required property"),
        ("metadata.prompt_tokens", ..., "'prompt_tokens' is a required property"),
        ("metadata.slug", "a graph", "metadata.slug: 'a graph' does not match"),
        ("metadata.scan", "org/model", "metadata.scan: 'org/model' does not match"),
        ("metadata.schema_version", 0, "1 was expected"),
        ("qParams.sg_pos", ..., "'sg_pos' is a required property"),
        ("nodes.1.jsNodeId", ..., "'jsNodeId' is a required property"),
        ("nodes.1.layer", 0, "nodes.1.layer: 0 is not of type 'string'"),
        ("nodes.1.feature", 9.0, "nodes.1.feature: 9.0 is not of type 'integer'"),
        ("nodes.1.feature", 2**63, "is greater than the maximum"),
        ("nodes.1.feature", 10, "0_3_1: feature 10 is not the Cantor pair of 0 and 3"),
        ("nodes.1.feature_type", "transcoder", "'transcoder' is not one of"),
        ("nodes.1.node_id", "0_3_2", "0_3_2: node_id twice"),
        ("nodes.1.node_id", "0_4_1", "0_4_1: feature 9 is not the Cantor pair"),
        ("nodes.1.ctx_idx", 2, "the id says another layer or position"),
        ("nodes.2.ctx_idx", 3, "0_3_2: ctx_idx 3 of 3 tokens"),
        ("nodes.1.influence", -0.5, "-0.5 is less than the minimum"),
        ("nodes.0.jsNodeId", "0_3-0", "jsNodeId 0_3-0 names another feature"),
        ("nodes.3.node_id", "error", "error: no id of a node of type mlp reconstruction error"),
        ("nodes.3.feature", 5, "feature 5 of an error is not -1"),
        ("nodes.4.feature", 43, "feature 43 is not the vocabulary id 42"),
        ("nodes.4.clerp", "x", "3_42_2: its label does not tell token_prob"),
        ("nodes.4.token_prob", 0.9, "3_42_2: its label does not tell token_prob"),
        ("nodes.4.is_target_logit", False, "not exactly one target logit"),
        ("nodes.0.is_target_logit", True, "a target logit that is no logit"),
        ("links.0.weight", "1", "links.0.weight: '1' is not of type 'number'"),
        ("links.0.source", "E_8_2", "E_8_2 -> 0_3_2: E_8_2 is no node"),
        ("links.0.source", "0_3_2", "0_3_2 -> 0_3_2: a link to itself"),
        ("links.0.source", "0_3_1", "0_3_1 -> 0_3_2: does not go up in layers"),
        ("links.1", GRAPH["links"][0], "E_7_2 -> 0_3_2: twice"),
        ("qParams.pinnedIds.0", "5_5_5", "pinnedIds: 5_5_5 is no node"),
        ("qParams.pinnedIds", ["0_3_2"], "supernode fruit: 0_3_1 is not pinned"),
        ("qParams.supernodes.0.1", "5_5_5", "supernode fruit: 5_5_5 is no node"),
        ("qParams.supernodes.0", ["fruit"], "qParams.supernodes.0: ['fruit'] is too short"),
        ("qParams.clickedId", "5_5_5", "clickedId: 5_5_5 is no node"),
    ],
)
def test_what_is_broken_in_a_graph_is_named(path: str, value: Any, complaint: str) -> None:
    found = graph_complaints(json.dumps(_changed(GRAPH, path, value)))
    assert any(complaint in one for one in found), found


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (lambda text: text.replace("-0.25", "NaN"), "NaN is no JSON number"),
        (lambda text: text.replace("-0.25", "1e999"), "links.1.weight is not finite"),
        (lambda text: text[:-1] + ', "links": []}', "key links twice"),
        (lambda text: text[:-9], "no JSON"),
    ],
)
def test_what_is_broken_in_the_text_is_named(broken: Callable[[str], str], complaint: str) -> None:
    found = graph_complaints(broken(json.dumps(GRAPH)))
    assert any(complaint in one for one in found), found


def test_a_file_too_large_to_upload_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validator, "UPLOAD_LIMIT_BYTES", len(json.dumps(GRAPH)))
    assert graph_complaints(json.dumps(GRAPH)) == []
    assert graph_complaints(json.dumps(GRAPH) + " ")[0].startswith("more than ")


_EXAMPLE = "examples_quantiles.0.examples.0"


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("examples_quantiles", ..., "'examples_quantiles' is a required property"),
        ("act_min", ..., "'act_min' is a required property"),
        ("top_logits", [["yellow", 1]], "is not of type 'string'"),
        ("index", 8, "index 8 in the file of 9"),
        ("act_min", 2, "act_min above act_max"),
        (f"{_EXAMPLE}.tokens_acts_list", [0], "Top, example 0: 2 tokens and 1 activations"),
        (f"{_EXAMPLE}.tokens_acts_list.0", None, "None is not of type 'number'"),
        (f"{_EXAMPLE}.train_token_ind", 2, "train_token_ind outside the tokens"),
        (f"{_EXAMPLE}.tokens_acts_list.0", 3, "an activation above act_max"),
        ("examples_quantiles.0.quantile_name", ..., "'quantile_name' is a required property"),
    ],
)
def test_what_is_broken_in_a_feature_is_named(path: str, value: Any, complaint: str) -> None:
    found = feature_complaints(json.dumps(_changed(FEATURE, path, value)), 9)
    assert any(complaint in one for one in found), found
