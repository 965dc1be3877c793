"""Read an exchanged graph JSON back into a `PrunedGraph`; exchange.py writes the form.

A file of ours carries its extras and comes back whole. Of another tool's file everything the form
holds is read: weights, node identities, activations, labels, thresholds. The rest is NaN, target
weights are the tokens' probabilities, and plain influence and scores are those of the (already
pruned) graph in the file. A file is somebody else's text: every field is checked before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.clerps import EXTRAS, NOTES, name_in, names_in, notes_in
from circuit_tracer.graphs.files.exchange_node import (
    QUOTED,
    SLACK,
    ExchangedNode,
    node_id,
    parse_node,
    quoted,
    share_of_one,
)
from circuit_tracer.graphs.files.json_values import (
    info_from_plain,
    number,
    scores_from_plain,
    whole_text,
)
from circuit_tracer.graphs.files.storage import NODE_TYPES, check_graph
from circuit_tracer.graphs.graph import (
    DROPPED,
    Edges,
    Floats,
    Graph,
    GraphInfo,
    Identity,
    NodeKind,
    Nodes,
    Target,
)
from circuit_tracer.graphs.influence import influence
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.scores import scores
from circuit_tracer.reading import readable


def from_exchange(record: Any) -> PrunedGraph:
    """The graph in an exchanged JSON (an object); every node and edge in it counts as kept.

    Error nodes are known by their `feature_type`, so both forms of their ids are read. Raises
    GraphFileError that names what is wrong with the file.
    """
    with readable("This graph JSON", GraphFileError, "export it again", problem="is damaged"):
        return _read(record)


def _read(record: Any) -> PrunedGraph:
    if not isinstance(record, Mapping) or not {"metadata", "nodes", "links"} <= set(record):
        raise GraphFileError(
            "This JSON holds no metadata, nodes and links, so it is no attribution graph: give a"
            " graph JSON of circuit-tracer or Neuronpedia."
        )
    metadata = record["metadata"]
    parsed = [parse_node(one) for one in record["nodes"]]
    parsed.sort(key=lambda one: (_level(one), one.kind))  # stable: keeps the file's order
    row_of = {one.name: row for row, one in enumerate(parsed)}
    if len(row_of) != len(parsed):
        raise GraphFileError(
            "Two nodes of this graph JSON have the same node_id (older files give an error node"
            " the id of a layer-0 feature): export it again with a newer tool."
        )
    extras = metadata.get(EXTRAS) or {}
    at = {name: i for i, name in enumerate(extras.get("ids", ()))}
    ours = bool(at) and all(one.name in at for one in parsed)
    order = [at[one.name] for one in parsed] if ours else []
    edges = _edges(record["links"], row_of, extras["weight_dtype"] if ours else "float64")
    nodes = _foreign_nodes(parsed, edges)
    info = _foreign_info(record, parsed)
    if ours:
        nodes = _with_extras(nodes, extras, order)
        stored = info_from_plain(extras["info"])
        if len(stored.targets) == len(info.targets):
            info = _with_pins(stored, record)
    nodes = _with_names(nodes, parsed, record)
    graph = Graph(info, nodes, edges)
    check_graph(graph)
    if ours and len(order) == len(at):
        node_influence = _numbers(extras["influence"])[order]
        if not np.all(np.isfinite(node_influence) & (node_influence >= 0)):
            raise ValueError("an influence that is no share")
        graph_scores = scores_from_plain(extras["scores"])
    else:
        node_influence = influence(graph)
        graph_scores = scores(graph, node_influence)
    pruning = metadata.get("pruning_settings") or {}
    return PrunedGraph.of_kept(
        graph,
        node_threshold=_threshold(pruning.get("node_threshold", metadata.get("node_threshold"))),
        edge_threshold=_threshold(pruning.get("edge_threshold")),
        influence=node_influence,
        scores=graph_scores,
        shares=_shares(parsed),
    )


def _shares(parsed: list[ExchangedNode]) -> Floats | None:
    """(n,) the file's cumulative shares, which count the nodes that were pruned away, too.

    None if one is missing or is no share: then they are those of the graph in the file.
    """
    shares = np.array([one.share for one in parsed], dtype=np.float64)
    if not np.all((shares >= -SLACK) & (shares <= 1 + SLACK)):
        return None
    return np.clip(shares, 0.0, 1.0)


def _threshold(given: Any) -> float:
    return 1.0 if given is None else share_of_one(float(given), "threshold")


def _level(node: ExchangedNode) -> float:
    """Targets come last, whatever layer the file gives them."""
    return math.inf if node.kind is NodeKind.LOGIT else float(node.layer)


def _edges(links: Any, row_of: Mapping[str, int], dtype: str) -> Edges:
    if dtype not in ("float16", "float32", "float64"):
        raise ValueError(f"weight_dtype {quoted(dtype)}")
    ends = [tuple(_end(one[key], row_of) for key in ("source", "target")) for one in links]
    source = np.array([start for start, _ in ends], dtype=np.int32)
    target = np.array([end for _, end in ends], dtype=np.int32)
    with np.errstate(over="ignore"):  # what is too large for the dtype is refused as infinite
        weight = np.array([_weight(one) for one in links], dtype=dtype)
    order = np.lexsort((source, target))
    source, target, weight = source[order], target[order], weight[order]
    twice = np.flatnonzero((np.diff(source) == 0) & (np.diff(target) == 0))
    if len(twice):  # parts of one edge, or one edge repeated? The file does not say.
        names = {row: name for name, row in row_of.items()}
        at = int(twice[0])
        raise ValueError(
            f"two links between the same nodes, {names[int(source[at])]} and"
            f" {names[int(target[at])]}"
        )
    return Edges(source, target, weight)


def _end(given: Any, row_of: Mapping[str, int]) -> int:
    """The row that a link starts or ends at."""
    name = node_id(given)
    if name not in row_of:
        raise GraphFileError(
            f"A link of this graph JSON leads to {name[:QUOTED]}, which is no node: export it"
            " again."
        )
    return row_of[name]


def _weight(link: Mapping[str, Any]) -> float:
    given = link.get("weight")
    if given is None:  # what JSON makes of NaN
        ends = f"{quoted(link['source'])} to {quoted(link['target'])}"
        raise ValueError(f"the link from {ends} has no weight")
    return float(given)


def _foreign_nodes(parsed: list[ExchangedNode], edges: Edges) -> Nodes:
    n = len(parsed)
    columns: dict[str, Any] = {
        name: np.array([getattr(one, name) for one in parsed], dtype=NODE_TYPES[name])
        for name in ("kind", "layer", "position", "feature", "activation")
    }
    is_target = columns["kind"] == NodeKind.LOGIT
    if not is_target.any():
        raise GraphFileError("This graph JSON has no logit node, so it explains nothing.")
    columns["layer"][is_target] = _n_layers(parsed)
    probability = np.where(is_target, np.array([one.probability for one in parsed]), 0.0)
    weight = probability if probability.sum() > 0 else is_target.astype(np.float64)
    has_row = np.zeros(n, dtype=np.bool_)
    has_row[edges.target] = True
    return Nodes(
        **columns,
        value=np.full(n, np.nan),
        constant=np.full(n, np.nan),
        expanded=has_row | is_target,
        weight=weight / weight.sum(),
        label=tuple(one.label for one in parsed),
    )


def _n_layers(parsed: list[ExchangedNode]) -> int:
    """The form writes targets at layer L + 1."""
    below = max((one.layer for one in parsed if one.kind is not NodeKind.LOGIT), default=-1)
    above = min(one.layer for one in parsed if one.kind is NodeKind.LOGIT)
    return max(above - 1, below + 1)


def _foreign_info(record: Mapping[str, Any], parsed: list[ExchangedNode]) -> GraphInfo:
    metadata = record["metadata"]
    tokens = tuple(whole_text(str(token)) for token in metadata["prompt_tokens"])
    token_ids = [-1] * len(tokens)
    for one in parsed:
        if one.kind is NodeKind.EMBEDDING and 0 <= one.position < len(tokens):
            token_ids[one.position] = one.feature
    targets = tuple(
        Target(one.label, (one.feature,), one.position, one.probability, math.nan, rank)
        for rank, one in enumerate(one for one in parsed if one.kind is NodeKind.LOGIT)
    )
    scan = whole_text(str(metadata.get("scan") or "unknown"))
    info = GraphInfo(
        prompt=whole_text(str(metadata.get("prompt") or "".join(tokens))),
        tokens=tokens,
        token_ids=tuple(token_ids),
        n_layers=_n_layers(parsed),
        targets=targets,
        model=Identity(scan, "graph JSON", ""),
        dictionary=Identity(scan, "graph JSON", ""),
        dtype="unknown",
        conservation_residual=math.nan,
        conservation_tolerance=math.nan,
        settings=dict(metadata.get("generation_settings") or {}),
    )
    return _with_pins(info, record)


def _with_pins(info: GraphInfo, record: Mapping[str, Any]) -> GraphInfo:
    """Keep the viewer's pins, supernodes, names and notes in the settings, if there are any."""
    given, notes = record.get("qParams") or {}, notes_in(record)
    settings = dict(info.settings)
    if any(given.get(key) for key in ("pinnedIds", "supernodes", "clerps")):
        settings["qParams"] = dict(given)
    if notes:
        settings[NOTES] = notes
    return replace(info, settings=settings)


def _with_names(nodes: Nodes, parsed: list[ExchangedNode], record: Mapping[str, Any]) -> Nodes:
    """The names that people gave to features in a viewer, in place of their labels."""
    names = names_in(record.get("qParams"))
    if not names:
        return nodes
    labels = list(nodes.label)
    for row, one in enumerate(parsed):
        if one.kind is NodeKind.FEATURE:
            labels[row] = name_in(names, one.layer, one.number, one.position) or labels[row]
    return replace(nodes, label=tuple(labels))


def _with_extras(nodes: Nodes, extras: Mapping[str, Any], order: list[int]) -> Nodes:
    names = ["value", "constant", "weight", "expanded"]
    names += [name for name in DROPPED if name in extras]  # only where edges were dropped
    columns = {name: _numbers(extras[name])[order] for name in names}
    if not np.all(np.isfinite(columns["weight"]) & (columns["weight"] >= 0)):
        raise ValueError("a target's weight that is no share")
    labels, features = extras["label"], extras["feature"]
    if not isinstance(labels, list) or not isinstance(features, list):
        raise ValueError("label and feature need lists")
    expanded = columns.pop("expanded") > 0
    return replace(
        nodes,
        **columns,
        feature=np.array([features[i] for i in order], dtype=np.int64),
        expanded=expanded,
        label=tuple(str(labels[i]) for i in order),
    )


def _numbers(column: Any) -> Any:
    """A JSON column as float64, null as NaN."""
    return np.array([number(value) for value in column], dtype=np.float64)
