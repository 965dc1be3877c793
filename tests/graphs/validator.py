"""A validator of exchanged graphs and feature files, written from what is published.

published/*.json say what single values are. Here is what ties them together, as the two pages that
read the form take it for granted: ids that are unique and say what the node says, links and pins
that resolve, numbers that are numbers. Nothing is shared with circuit_tracer.graphs.files.exchange.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.validators import extend

UPLOAD_LIMIT_BYTES = 100 * 1024 * 1024
"""Of Neuronpedia (apps/webapp/app/[modelId]/graph/utils.ts)."""
_ID_FORMS = {
    "cross layer transcoder": r"(?P<layer>\d+)_(?P<index>\d+)_(?P<position>\d+)",
    "mlp reconstruction error": r"(?P<layer>\d+)_(?:-1|error_mlp)_(?P<position>\d+)",
    "embedding": r"(?P<layer>E)_(?P<index>\d+)_(?P<position>\d+)",
    "logit": r"(?P<layer>\d+)_(?P<index>\d+)(?:-\d+)?_(?P<position>\d+)",
}
"""circuit-tracer's; an error without "-1" is ours, a logit of two vocabulary ids a contrast."""
_PROBABILITY = re.compile(r"\(p=(?P<number>[^)]*)\)")


def graph_complaints(text: str) -> list[str]:
    """Everything that is wrong with a graph JSON; empty if nothing is."""
    found = list(_complaints(text, "graph"))
    return found or list(_ties(json.loads(text)))


def feature_complaints(text: str, index: int) -> list[str]:
    """Everything that is wrong with the file of feature number `index`."""
    found = list(_complaints(text, "feature"))
    return found or list(_feature_ties(json.loads(text), index))


def _complaints(text: str, form: str) -> Iterator[str]:
    """Of the file as a whole and of its single values."""
    if len(text.encode()) > UPLOAD_LIMIT_BYTES:
        yield f"more than {UPLOAD_LIMIT_BYTES} bytes"
    try:
        record = json.loads(text, parse_constant=_refused, object_pairs_hook=_once)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    for error in _schema(form).iter_errors(record):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
    yield from (f"{path} is not finite" for path in _endless(record))


@cache
def _schema(form: str) -> Any:
    """Whole numbers are those written as such: a page uses them as indices."""
    schema = json.loads(Path(__file__).with_name("published").joinpath(f"{form}.json").read_text())
    Draft7Validator.check_schema(schema)
    kinds = Draft7Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return extend(Draft7Validator, type_checker=kinds)(schema)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"key {twice[0]} twice")
    return dict(pairs)


def _endless(value: Any, path: str = "") -> Iterator[str]:
    """Numbers such as 1e999, which readers turn into infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _endless(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from _endless(one, f"{path}.{i}")


def _ties(record: dict[str, Any]) -> Iterator[str]:
    nodes, n_tokens = record["nodes"], len(record["metadata"]["prompt_tokens"])
    ids = Counter(node["node_id"] for node in nodes)
    yield from (f"{name}: node_id twice" for name, count in ids.items() if count > 1)
    yield from _one_name_a_feature(nodes)
    for node in nodes:
        yield from (f"{node['node_id']}: {what}" for what in _node(node, n_tokens))
    yield from _targets(nodes)
    yield from _links(record["links"], {node["node_id"]: node for node in nodes})
    yield from _viewer_state(record["qParams"], set(ids))


def _one_name_a_feature(nodes: list[dict[str, Any]]) -> Iterator[str]:
    """A jsNodeId leaves out a feature's position, so only the same feature may share one."""
    owner: dict[str, tuple[Any, ...]] = {}
    for node in nodes:
        is_feature = node["feature_type"] == "cross layer transcoder"
        key = (node["feature_type"], node["layer"], node["feature"])
        key = key if is_feature else (*key, node["node_id"])
        if owner.setdefault(node["jsNodeId"], key) != key:
            yield f"{node['node_id']}: jsNodeId {node['jsNodeId']} names another feature, too"


def _node(node: dict[str, Any], n_tokens: int) -> Iterator[str]:
    kind, number = node["feature_type"], node["feature"]
    if node["ctx_idx"] >= n_tokens:
        yield f"ctx_idx {node['ctx_idx']} of {n_tokens} tokens"
    form = re.fullmatch(_ID_FORMS[kind], node["node_id"])
    if form is None:
        yield f"no id of a node of type {kind}"
        return
    if (form["layer"], int(form["position"])) != (node["layer"], node["ctx_idx"]):
        yield "the id says another layer or position than the node"
    elif kind == "cross layer transcoder":
        layer, index = int(form["layer"]), int(form["index"])
        diagonal = layer + index
        if number != diagonal * (diagonal + 1) // 2 + index:
            yield f"feature {number} is not the Cantor pair of {layer} and {index}"
    elif kind == "logit" and number != int(form["index"]):
        yield f"feature {number} is not the vocabulary id {form['index']}"
    elif kind == "embedding" and number != node["ctx_idx"]:
        yield f"feature {number} is not the position"
    elif kind == "mlp reconstruction error" and number != -1:
        yield f"feature {number} of an error is not -1"


def _targets(nodes: list[dict[str, Any]]) -> Iterator[str]:
    logits = [node for node in nodes if node["feature_type"] == "logit"]
    inner = [int(n["layer"]) for n in nodes if n not in logits and n["layer"] != "E"]
    if sum(node.get("is_target_logit", False) for node in logits) != 1:
        yield "not exactly one target logit"
    if any(node.get("is_target_logit") for node in nodes if node not in logits):
        yield "a target logit that is no logit"
    for node in logits:
        if inner and int(node["layer"]) <= max(inner):
            yield f"{node['node_id']}: a logit below layer {max(inner)}"
        written = _PROBABILITY.findall(node["clerp"])
        try:  # pages cut the number out of the label
            is_right = abs(float(written[-1]) - node.get("token_prob", 0.0)) <= 0.0005001
        except (IndexError, ValueError):
            is_right = False
        if not is_right:
            yield f"{node['node_id']}: its label does not tell token_prob"


def _links(links: list[dict[str, Any]], node_of: dict[str, dict[str, Any]]) -> Iterator[str]:
    seen = set()
    for link in links:
        ends = (link["source"], link["target"])
        name = " -> ".join(ends)
        lost = [end for end in ends if end not in node_of]
        if lost:
            yield f"{name}: {lost[0]} is no node"
        elif ends[0] == ends[1]:
            yield f"{name}: a link to itself"
        elif ends in seen:
            yield f"{name}: twice"
        elif _height(node_of[ends[0]]) >= _height(node_of[ends[1]]):
            yield f"{name}: does not go up in layers"
        seen.add(ends)


def _height(node: dict[str, Any]) -> int:
    return -1 if node["layer"] == "E" else int(node["layer"])


def _viewer_state(state: dict[str, Any], ids: set[str]) -> Iterator[str]:
    pinned = set(state["pinnedIds"])
    yield from (f"pinnedIds: {one} is no node" for one in sorted(pinned - ids))
    if state["clickedId"] and state["clickedId"] not in ids:
        yield f"clickedId: {state['clickedId']} is no node"
    for label, *members in state["supernodes"]:
        for one in members:
            if one not in ids:
                yield f"supernode {label}: {one} is no node"
            elif one not in pinned:  # a page looks for members among the pinned nodes alone
                yield f"supernode {label}: {one} is not pinned"


def _feature_ties(record: dict[str, Any], index: int) -> Iterator[str]:
    if record["index"] != index:
        yield f"index {record['index']} in the file of {index}"
    if record["act_min"] > record["act_max"]:
        yield "act_min above act_max"
    for quantile in record["examples_quantiles"]:
        for i, example in enumerate(quantile["examples"]):
            place, n = f"{quantile['quantile_name']}, example {i}", len(example["tokens"])
            if len(example["tokens_acts_list"]) != n:
                yield f"{place}: {n} tokens and {len(example['tokens_acts_list'])} activations"
            if example["train_token_ind"] >= n:
                yield f"{place}: train_token_ind outside the tokens"
            if max(example["tokens_acts_list"], default=0) > record["act_max"] + 1e-3:
                yield f"{place}: an activation above act_max"
