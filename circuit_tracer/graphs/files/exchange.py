"""The graph JSON that Anthropic's viewer, upstream circuit-tracer and Neuronpedia exchange.

Only kept nodes and edges are exported. What the form has no place for (constants, pre-activations,
target weights, plain influence, the facts of the run) goes under `metadata.circuit_tracer_cli`, so
that our own files come back whole; other readers ignore that key. A node's `influence` in this
form is the cumulative share: lower is more important.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.clerps import (
    EXTRAS,
    NOTES,
    cleaned_notes,
    name_in,
    names_in,
    node_key,
)
from circuit_tracer.graphs.files.exchange_reader import from_exchange
from circuit_tracer.graphs.files.json_values import info_to_plain, plain
from circuit_tracer.graphs.files.storage import TRACE_FILE, load_graph
from circuit_tracer.graphs.graph import DROPPED, Graph, GraphInfo, NodeKind, Target
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.reading import read_json

GENERATOR = "circuit-tracer-cli"
_FEATURE_TYPES = {
    NodeKind.EMBEDDING: "embedding",
    NodeKind.FEATURE: "cross layer transcoder",  # the form's word for per-layer ones too
    NodeKind.ERROR: "mlp reconstruction error",
    NodeKind.LOGIT: "logit",
}
_GENERATION_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "max_n_logits": int,
    "desired_logit_prob": (int, float),
    "batch_size": int,
    "max_feature_nodes": int,
}


def cantor(layer: int, feature: int) -> int:
    """The one number the form gives a transcoder feature: (l+f)(l+f+1)/2 + f. Fits an int64."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def to_exchange(
    pruned: PrunedGraph,
    *,
    slug: str,
    scan: str | None = None,
    supernodes: Sequence[tuple[str, Sequence[int]]] | None = None,
) -> dict[str, Any]:
    """The kept graph as a JSON-ready dict.

    `scan` is the model id for Neuronpedia and the dictionary's repository for circuit-tracer's own
    page (default: the dictionary's name). `supernodes` are names with rows of kept nodes; without
    them those of an imported graph are passed on. Raises GraphFileError if two nodes had the same
    id.
    """
    graph = pruned.graph
    rows, cumulative = pruned.kept_rows.tolist(), pruned.cumulative
    ids = [exchange_id(graph, row) for row in rows]
    if len(set(ids)) != len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise GraphFileError(
            f"Two nodes of this graph have the exchange id {twice}, so it cannot be exported:"
            " trace the prompt again with each target given once."
        )
    record = {
        "metadata": _metadata(pruned, ids, slug, scan),
        "qParams": _q_params(graph, ids, supernodes) | _clerps(graph, rows),
        "nodes": [
            _node(pruned, row, name, cumulative[row]) for row, name in zip(rows, ids, strict=True)
        ],
    }
    exported: dict[str, Any] = plain(record)
    return exported | {"links": _links(pruned, ids)}  # the bulk, and plain as it is


def write_exchange(record: Mapping[str, Any], path: Path) -> None:
    """Write what `to_exchange` made as UTF-8 JSON. Raises ValueError if NaN was put in since."""
    text = json.dumps(record, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_exchange(path: Path | str) -> PrunedGraph:
    """Read a graph JSON file, ours or another tool's. Raises GraphFileError."""
    return from_exchange(read_json(Path(path), GraphFileError, "export it again"))


def open_graph(path: Path | str) -> PrunedGraph:
    """Open either form: a stored trace (folder or trace.json) or an exchanged graph JSON."""
    path = Path(path)
    is_exchange = path.suffix == ".json" and path.name != TRACE_FILE and path.is_file()
    return read_exchange(path) if is_exchange else load_graph(path)


def exchange_id(graph: Graph, row: int) -> str:
    """The `node_id` of a node in this form."""
    return f"{_id_stem(graph, row)}_{graph.nodes.position[row]}"


def _id_stem(graph: Graph, row: int) -> str:
    """What stands before the position in a node's id."""
    nodes = graph.nodes
    kind, layer, feature = NodeKind(int(nodes.kind[row])), nodes.layer[row], nodes.feature[row]
    if kind is NodeKind.EMBEDDING:
        return f"E_{feature}"
    if kind is NodeKind.FEATURE:
        return f"{layer}_{feature}"
    return (
        f"{layer}_error_mlp" if kind is NodeKind.ERROR else f"{layer + 1}_{_target_id(graph, row)}"
    )


def _target_id(graph: Graph, row: int) -> str:
    """The vocabulary id, both joined by "-" for a contrast, "direction" for one."""
    return "-".join(str(one) for one in _target(graph, row).vocabulary_ids) or "direction"


def _target(graph: Graph, row: int) -> Target:
    return graph.info.targets[row - (len(graph.nodes) - len(graph.info.targets))]


def _node(pruned: PrunedGraph, row: int, name: str, cumulative: float) -> dict[str, Any]:
    graph, nodes = pruned.graph, pruned.graph.nodes
    kind, layer = NodeKind(int(nodes.kind[row])), int(nodes.layer[row])
    feature, position = int(nodes.feature[row]), int(nodes.position[row])
    record: dict[str, Any] = {
        "node_id": name,
        "feature": feature,
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": _FEATURE_TYPES[kind],
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{_id_stem(graph, row)}-{position}",
        "clerp": nodes.label[row],
        "influence": cumulative,
        "activation": nodes.activation[row],
    }
    if kind is NodeKind.FEATURE:
        record |= {"feature": cantor(layer, feature), "jsNodeId": f"{layer}_{feature}-0"}
    elif kind is NodeKind.EMBEDDING:
        record |= {"layer": "E", "feature": position}
    elif kind is NodeKind.LOGIT:
        target = _target(graph, row)
        record |= {
            "layer": str(layer + 1),
            "feature": next(iter(target.vocabulary_ids), -1),
            "token_prob": target.probability,
            "is_target_logit": row == int(graph.target_rows[0]),
            "jsNodeId": f"L_{_target_id(graph, row)}-{position}",
            "clerp": target.token
            if target.direction
            else f'Output "{target.token}" (p={target.probability:.3f})',
            "influence": None,
        }
    return record


def _links(pruned: PrunedGraph, ids: list[str]) -> list[dict[str, Any]]:
    name_of = dict(zip(pruned.kept_rows.tolist(), ids, strict=True))
    edges = pruned.kept_edges
    rows = zip(*(column.tolist() for column in edges.columns), strict=True)
    return [
        {"source": name_of[source], "target": name_of[target], "weight": weight}
        for source, target, weight in rows
    ]


def _metadata(pruned: PrunedGraph, ids: list[str], slug: str, scan: str | None) -> dict[str, Any]:
    info = pruned.graph.info
    version = str(info.versions.get(GENERATOR, ""))
    description = f"Attribution graph of {info.model.name} with {info.dictionary.name}"
    if pruned.scores.dropped_share > 0:
        description += (
            f"; {pruned.scores.dropped_share:.2%} of the influence goes into edges that were too"
            " small to keep"
        )
    known = {
        key: info.settings[key]
        for key, kind in _GENERATION_SETTINGS.items()
        if isinstance(info.settings.get(key), kind)
    }
    return {
        "slug": slug,
        "scan": scan or info.dictionary.name,
        "transcoder_list": [info.dictionary.name],
        "prompt_tokens": info.tokens,
        "prompt": info.prompt,
        "node_threshold": pruned.node_threshold,
        "schema_version": 1,
        "info": {
            "description": description,
            "creator_name": GENERATOR,
            "generator": {"name": GENERATOR, "version": version},
        },
        "generation_settings": known,
        "pruning_settings": {
            "node_threshold": pruned.node_threshold,
            "edge_threshold": pruned.edge_threshold,
        },
        EXTRAS: _extras(pruned, ids) | _notes(info.settings, ids),
    }


def _notes(settings: Mapping[str, Any], ids: list[str]) -> dict[str, Any]:
    """What people wrote on nodes, where there is something."""
    notes, known = cleaned_notes(settings.get(NOTES)), set(ids)
    found = {name: note for name, note in notes.items() if name in known}
    return {NOTES: found} if found else {}


def _extras(pruned: PrunedGraph, ids: list[str]) -> dict[str, Any]:
    """What the form has no place for; columns run along `ids`."""
    nodes = pruned.graph.nodes.take(pruned.kept_rows)
    sparse = bool(nodes.dropped_total.any())
    return {
        "version": 1,
        "info": info_to_plain(_without_viewer_state(pruned.graph.info), with_places=False),
        "scores": asdict(pruned.scores),
        "weight_dtype": str(pruned.graph.edges.weight.dtype),
        "ids": ids,
        "feature": nodes.feature,
        "value": nodes.value,
        "constant": nodes.constant,
        "expanded": nodes.expanded,
        "weight": nodes.weight,
        "label": nodes.label,
        "influence": pruned.influence[pruned.kept_rows],
        **({name: getattr(nodes, name) for name in DROPPED} if sparse else {}),
    }


def _without_viewer_state(info: GraphInfo) -> GraphInfo:
    """Pins, names and notes have places of their own, where viewers change them."""
    settings = {key: one for key, one in info.settings.items() if key not in ("qParams", NOTES)}
    return replace(info, settings=settings)


def _q_params(
    graph: Graph, ids: list[str], supernodes: Sequence[tuple[str, Sequence[int]]] | None
) -> dict[str, Any]:
    """The viewer's own state; pins and supernodes of an imported graph are passed on.

    What names no node of `ids`, or is no pin, is left out: another tool's file can hold anything.
    """
    state: dict[str, Any] = {"pinnedIds": [], "supernodes": []}
    state |= {"linkType": "both", "clickedId": "", "sg_pos": ""}
    for key, value in graph.info.settings.get("qParams", {}).items():
        if key != "clerps" and isinstance(value, type(state.get(key, value))):
            state[key] = value
    groups = state["supernodes"]
    if supernodes is not None:
        groups = [[name, *(exchange_id(graph, row) for row in rows)] for name, rows in supernodes]
    known = set(ids)
    named = [(one[0], _known(one[1:], known)) for one in groups if isinstance(one, list) and one]
    state["supernodes"] = [[str(name), *members] for name, members in named if members]
    # A viewer's subgraph is made of pinned nodes, supernodes or not.
    members = [one for group in state["supernodes"] for one in group[1:]]
    state["pinnedIds"] = list(dict.fromkeys([*_known(state["pinnedIds"], known), *members]))
    state["clickedId"] = next(iter(_known([state["clickedId"]], known)), "")
    given = graph.info.settings.get("qParams", {})
    if any(state[key] != given.get(key) for key in ("pinnedIds", "supernodes")):
        state["sg_pos"] = ""  # where other boxes stand
    return state


def named_rows(graph: Graph, rows: Sequence[int]) -> list[int]:
    """Those of the given rows whose labels are names that people gave them in a viewer."""
    names, nodes = names_in(graph.info.settings.get("qParams")), graph.nodes
    return [
        row
        for row in rows
        if names and nodes.kind[row] == NodeKind.FEATURE and name_in(names, *_place(graph, row))
    ]


def with_names(pruned: PrunedGraph, params: Any) -> PrunedGraph:
    """The names in a `qParams` object in place of its features' labels."""
    graph, names = pruned.graph, names_in(params)
    rows = graph.nodes.of_kind(NodeKind.FEATURE) if names else np.zeros(0, dtype=np.int64)
    given = {row: name_in(names, *_place(graph, row)) for row in rows.tolist()}
    found = {row: name for row, name in given.items() if name}
    return pruned.with_labels(np.array([*found], dtype=np.int64), [*found.values()])


def _clerps(graph: Graph, rows: Sequence[int]) -> dict[str, Any]:
    """Names as Neuronpedia's page has them; nothing for none (circuit-tracer's reads a text)."""
    labels = graph.nodes.label
    named = [
        [node_key(*_place(graph, row)), labels[row]]
        for row in named_rows(graph, rows)
        if labels[row]
    ]
    return {"clerps": named} if named else {}


def _place(graph: Graph, row: int) -> tuple[int, int, int]:
    """A feature's layer, number in this form, and position."""
    nodes = graph.nodes
    layer, feature = int(nodes.layer[row]), int(nodes.feature[row])
    return layer, cantor(layer, feature), int(nodes.position[row])


def _known(names: Sequence[Any], ids: set[str]) -> list[str]:
    return [name for name in names if isinstance(name, str) and name in ids]
