"""A graph as plain rows: what `show` prints, `--json` dumps and the table forms export.

Every value is a Python scalar or None, so a row can go into JSON as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from circuit_tracer.graphs.files.json_values import plain
from circuit_tracer.graphs.files.q_params import notes_of
from circuit_tracer.graphs.graph import Floats, GraphInfo, NodeKind, node_names
from circuit_tracer.graphs.influence import edge_influence, totals
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.head_paths import HeadPath
from circuit_tracer.graphs.routes.paths import Path, signed_mass
from circuit_tracer.graphs.target_effects import target_effects


def counts(pruned: PrunedGraph) -> dict[str, int]:
    """How many nodes of each kind and edges there are, and how many were kept."""
    nodes = pruned.graph.nodes
    summary = {
        "nodes": len(nodes),
        "nodes_kept": int(pruned.node_kept.sum()),
        "edges": len(pruned.graph.edges),
        "edges_kept": int(pruned.edge_kept.sum()),
        "features_unexpanded": int(np.sum((nodes.kind == NodeKind.FEATURE) & ~nodes.expanded)),
    }
    for kind in NodeKind:
        summary[f"{kind.word}s"] = int(np.sum(nodes.kind == kind))
        summary[f"{kind.word}s_kept"] = int(np.sum((nodes.kind == kind) & pruned.node_kept))
    return summary


def node_table(
    pruned: PrunedGraph, limit: int | None = 20, *, kinds: Sequence[NodeKind] = tuple(NodeKind)
) -> list[dict[str, Any]]:
    """The strongest kept nodes of these kinds, strongest first; targets, which have no influence
    on themselves, first of all. `limit` None gives all. `influence` is the plain influence, the two
    effects are on the first target's logit (target_effects.py), `note` is what somebody wrote on a
    node in a viewer (in graphs that have such notes)."""
    graph, nodes = pruned.graph, pruned.graph.nodes
    names, notes, effects = node_names(graph), notes_of(graph), target_effects(graph)
    rows = np.flatnonzero(pruned.node_kept & np.isin(nodes.kind, [int(kind) for kind in kinds]))
    importance = np.where(nodes.kind == NodeKind.LOGIT, np.inf, pruned.influence)[rows]
    rows = rows[np.argsort(-importance, kind="stable")][:limit]
    return [
        {
            "row": row,
            "name": names[row],
            "kind": NodeKind(int(nodes.kind[row])).word,
            "layer": int(nodes.layer[row]),
            "position": int(nodes.position[row]),
            "token": graph.token_of(row),
            "feature": int(nodes.feature[row]) if nodes.feature[row] >= 0 else None,
            "activation": plain(nodes.activation[row]),
            "influence": float(pruned.influence[row]),
            "direct_effect": _effect(effects.direct, nodes.kind[row], row),
            "total_effect": _effect(effects.total, nodes.kind[row], row),
            "label": nodes.label[row],
            **({"note": notes.get(row, "")} if notes else {}),
        }
        for row in rows.tolist()
    ]


def _effect(effects: Floats, kind: int, row: int) -> float | None:
    return None if kind == NodeKind.LOGIT else float(effects[row, 0])


def edge_table(pruned: PrunedGraph, limit: int | None = 20) -> list[dict[str, Any]]:
    """The kept edges that carry most influence, strongest first; `limit` None gives all.

    `share` is |weight| over the absolute sum of the target's whole row (edges the trace did not
    keep included), `influence` what flows along the edge in the whole graph.
    """
    graph, edges = pruned.graph, pruned.graph.edges
    names = node_names(graph)
    which = np.flatnonzero(pruned.edge_kept)
    flows = edge_influence(graph, pruned.influence, which)
    whole = totals(graph)
    order = np.argsort(-flows, kind="stable")[:limit]
    table = []
    for i, flow in zip(which[order].tolist(), flows[order].tolist(), strict=True):
        weight, target = float(edges.weight[i]), int(edges.target[i])
        table.append(
            {
                "source": names[int(edges.source[i])],
                "target": names[target],
                "weight": weight,
                "sign": (weight > 0) - (weight < 0),
                "share": abs(weight) / float(whole[target]) if whole[target] > 0 else 0.0,
                "influence": flow,
            }
        )
    return table


def graph_record(pruned: PrunedGraph, n_nodes: int, n_edges: int) -> dict[str, Any]:
    """A graph with its scores, and so many of its strongest nodes and edges, as JSON values."""
    info = pruned.graph.info
    return {
        "prompt": info.prompt,
        "tokens": info.tokens,
        "targets": info.targets,
        "scores": pruned.scores,
        "counts": counts(pruned),
        "nodes": node_table(pruned, n_nodes),
        "edges": edge_table(pruned, n_edges),
    }


def totals_table(info: GraphInfo) -> list[dict[str, Any]]:
    """What every token does to each target, and what else makes its value; empty where that is not
    known. `total` is along all paths, `direct` the token's own edge, `share` of all |totals|."""
    return [
        {
            "target": target.token,
            "position": target.position,
            "value": totals.value,
            "error": totals.error,
            "constant": totals.constant,
            "tokens": [
                {"position": i, "token": info.tokens[i], "direct": direct, "total": total}
                | {"share": share}
                for i, (direct, total, share) in enumerate(
                    zip(totals.direct, totals.total, totals.shares, strict=True)
                )
            ],
        }
        for target, totals in zip(info.targets, info.totals, strict=False)
    ]


def route_table(pruned: PrunedGraph, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Routes by the names and labels of their nodes; those through heads with the heads."""
    names, labels = node_names(pruned.graph), pruned.graph.nodes.label
    table = []
    for path in paths:
        record: dict[str, Any] = {
            "nodes": [names[row] for row in path.rows],
            "labels": [labels[row] for row in path.rows],
            "strength": path.strength,
            "sign": path.sign,
            "share": path.share,
        }
        if isinstance(path, HeadPath):
            ways = [[hop._asdict() | {"name": hop.name} for hop in way] for way in path.ways]
            record |= {"heads": ways, "path_share": path.path_share}
        table.append(record)
    return table


def mass_table(
    pruned: PrunedGraph, targets: Sequence[int], sources: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """The summed strength of all paths from the sources (all tokens) into each target, by sign."""
    graph = pruned.graph
    if sources is None:
        sources = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    names, mass = node_names(graph), signed_mass(graph, sources=sources)
    return [
        {"target": names[row], **{sign: float(getattr(mass, sign)[row]) for sign in mass._fields}}
        for row in targets
    ]
