"""The rows that a prompt leaves in a run's tables (schemas.py), and a graph made of them again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.schemas import FAILURES, GRAPH_TABLES, RANGES, SCORES, schema
from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.edges.store import UnorderedGraph
from circuit_tracer.graphs.files.json_values import (
    info_from_plain,
    info_to_plain,
    to_json,
    whole_text,
)
from circuit_tracer.graphs.files.parquet import column
from circuit_tracer.graphs.files.storage import (
    check_graph,
    nodes_from_arrow,
    nodes_to_arrow,
    shares_in,
)
from circuit_tracer.graphs.graph import Edges, Graph, Ints, NodeKind, node_name
from circuit_tracer.graphs.head_loadings import LeadingHead
from circuit_tracer.graphs.influence import edge_flows, handed_down
from circuit_tracer.graphs.pruning import PrunedGraph, prune
from circuit_tracer.graphs.routes.paths import best_paths
from circuit_tracer.graphs.scores import Scores
from circuit_tracer.reading import readable

ROUTED_TARGETS = 3
"""Targets whose routes are stored; the others are far less likely."""
ARROW = " → "


@dataclass(frozen=True)
class PromptRows:
    """One prompt's rows, by table: Arrow tables where there are many, else plain records."""

    key: str
    nodes: pa.Table
    edges: pa.Table
    paths: list[dict[str, Any]]
    heads: list[dict[str, Any]]
    graph: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """What they hold in memory, about."""
        return int(self.nodes.nbytes) + int(self.edges.nbytes)


@dataclass(frozen=True)
class Traced:
    """A prompt's whole graph, from which its rows are made."""

    entry: Entry
    graph: UnorderedGraph | PrunedGraph
    """Pruned as the run asks for if that had to be done to know more of it."""
    sweeping: float
    """Seconds of the sweep alone."""
    heads: tuple[LeadingHead, ...] = ()

    @property
    def n_edges(self) -> int:
        """Edges of the whole graph."""
        graph = self.graph
        return len(graph.graph.edges) if isinstance(graph, PrunedGraph) else graph.n_edges

    def rows(self, run: RunInfo) -> PromptRows:
        """Prune and make rows, in this process."""
        pruned = self.graph
        if isinstance(pruned, UnorderedGraph):
            pruned = prune(
                pruned.ordered(),
                node_threshold=run.node_threshold,
                edge_threshold=run.edge_threshold,
            )
        return rows_of(self.entry, pruned, run, self.heads)


class Failed(NamedTuple):
    """A prompt that could not be traced, or a line that is no prompt."""

    entry: Entry
    kind: str
    """The exception's class."""
    message: str
    attempt: int = 1
    """How often it has been tried by now."""


def rows_of(
    entry: Entry, pruned: PrunedGraph, run: RunInfo, heads: Sequence[LeadingHead] = ()
) -> PromptRows:
    """A prompt's rows of all tables."""
    stored = pruned.kept_alone() if run.graphs == "kept" else pruned
    row_of = np.cumsum(pruned.node_kept) - 1 if run.graphs == "kept" else None
    nodes = nodes_to_arrow(stored)
    return PromptRows(
        key=entry.key,
        nodes=_with_key(nodes, entry.key, row=np.arange(len(nodes), dtype=np.int32)),
        edges=_with_key(_edges(stored, pruned, row_of), entry.key),
        paths=_paths(entry.key, pruned, row_of, run.routes),
        heads=[_head(entry.key, head) for head in heads],
        graph=_graph(entry, pruned, stored),
    )


def _with_key(table: pa.Table, key: str, **columns: Any) -> pa.Table:
    first = {"id": pa.repeat(key, len(table)), **{k: pa.array(v) for k, v in columns.items()}}
    return pa.table({**first, **dict(zip(table.column_names, table.columns, strict=True))})


def _edges(stored: PrunedGraph, whole: PrunedGraph, row_of: Ints | None) -> pa.Table:
    """The stored edges with the influence along each, which is that of the whole graph."""
    passed_on = handed_down(whole.graph, whole.influence)
    edges = whole.graph.edges if row_of is None else whole.kept_edges
    flows = edge_flows(edges, passed_on, slice(None)).astype(np.float32)
    return pa.table(
        {
            "source": stored.graph.edges.source,
            "target": stored.graph.edges.target,
            "weight": stored.graph.edges.weight,
            "influence": flows,
            "kept": stored.edge_kept,
        }
    )


def _paths(key: str, pruned: PrunedGraph, row_of: Ints | None, most: int) -> list[dict[str, Any]]:
    """The strongest routes through features to the first targets."""
    if most < 1:
        return []
    graph = pruned.graph
    targets = graph.target_rows[:ROUTED_TARGETS].tolist()
    rank, records = Counter[int](), []
    for path in best_paths(pruned, k=most, targets=targets, direct=False):
        end = path.rows[-1]
        rank[end] += 1
        records.append(
            {
                "id": key,
                "target": whole_text(graph.nodes.label[end]),
                "rank": rank[end],
                "strength": path.strength,
                "sign": path.sign,
                "share": path.share,
                "rows": path.rows if row_of is None else row_of[list(path.rows)].tolist(),
                "nodes": [whole_text(node_name(graph, row)) for row in path.rows],
                "labels": [whole_text(graph.nodes.label[row]) for row in path.rows],
                "route": _route(graph, path.rows),
            }
        )
    return records


def _route(graph: Graph, rows: Sequence[int]) -> str:
    """Layers and features of a route without positions and ends: the same in other prompts."""
    nodes = graph.nodes
    within = [row for row in rows if nodes.kind[row] == NodeKind.FEATURE]
    return ARROW.join(f"L{nodes.layer[row]}/{nodes.feature[row]}" for row in within)


def _head(key: str, head: LeadingHead) -> dict[str, Any]:
    key_at, query_at = (head.moves[0].key, head.moves[0].query) if head.moves else (-1, -1)
    row = {"id": key, "layer": head.layer, "head": head.head, "share": head.share}
    return {**row, "key": key_at, "query": query_at}


LISTED = ("line", "name", "tags", "roles")
"""Columns of `graphs` that a graph does not depend on: what the prompt file says beside it."""


def listed_as(entry: Entry) -> dict[str, Any]:
    """These of an entry."""
    roles = to_json(dict(entry.roles)) if entry.roles else None
    values = (entry.line, entry.name, list(entry.tags), roles)
    return dict(zip(LISTED, values, strict=True))


def _graph(entry: Entry, pruned: PrunedGraph, stored: PrunedGraph) -> dict[str, Any]:
    """The prompt's one row."""
    info, scores = pruned.graph.info, asdict(pruned.scores)
    first = info.targets[0]
    return {
        "id": entry.key,
        **listed_as(entry),
        "prompt": info.prompt,
        "tokens": [whole_text(token) for token in info.tokens],
        "targets": [whole_text(target.token) for target in info.targets],
        "answer": whole_text(first.token),
        "probability": first.probability,
        "logit": first.logit,
        "rank": first.rank,
        **{name: scores[name] for name in SCORES},
        **{name: list(scores[name]) for name in RANGES},
        "residual": info.conservation_residual,
        "tolerance": info.conservation_tolerance,
        "n_nodes": len(pruned.graph.nodes),
        "n_edges": len(pruned.graph.edges),
        "n_nodes_kept": int(pruned.node_kept.sum()),
        "n_edges_kept": int(pruned.edge_kept.sum()),
        "n_nodes_stored": len(stored.graph.nodes),
        "n_edges_stored": len(stored.graph.edges),
        "node_threshold": pruned.node_threshold,
        "edge_threshold": pruned.edge_threshold,
        "info": json.dumps(info_to_plain(info), ensure_ascii=False, allow_nan=False),
    }


def part_tables(rows: Sequence[PromptRows], *, heads: bool) -> dict[str, pa.Table]:
    """One part of each table, in the order in which they are to be written."""
    records = {
        "paths": [path for prompt in rows for path in prompt.paths],
        "heads": [head for prompt in rows for head in prompt.heads],
        "graphs": [prompt.graph for prompt in rows],
    }
    tables = {
        "nodes": pa.concat_tables([prompt.nodes for prompt in rows]).combine_chunks(),
        "edges": pa.concat_tables([prompt.edges for prompt in rows]).combine_chunks(),
        **{n: pa.Table.from_pylist(some, schema=schema(n)) for n, some in records.items()},
    }
    return {name: tables[name] for name in GRAPH_TABLES if heads or name != "heads"}


def failure_table(failures: Sequence[Failed]) -> pa.Table:
    """Failed prompts as rows."""
    records = [
        {
            "id": failed.entry.key,
            "line": failed.entry.line,
            "name": failed.entry.name,
            "prompt": whole_text(failed.entry.prompt),
            "tags": list(failed.entry.tags),
            "class": failed.kind,
            "message": whole_text(failed.message),
            "attempt": failed.attempt,
        }
        for failed in failures
    ]
    return pa.Table.from_pylist(records, schema=schema(FAILURES))


def graph_of(record: Mapping[str, Any], nodes: pa.Table, edges: pa.Table) -> PrunedGraph:
    """One prompt's graph from its rows: everything that was stored, bit for bit.

    `record` is its row of `graphs`, `nodes` and `edges` its rows there. Raises GraphFileError when
    they do not belong together.
    """
    place, advice = f"the stored graph {record.get('id')}", "trace its prompt again"
    with readable(place, GraphFileError, advice, problem="is damaged"):
        graph = Graph(
            info=info_from_plain(json.loads(record["info"])),
            nodes=nodes_from_arrow(nodes),
            edges=Edges(
                source=column(edges, "source", np.int32),
                target=column(edges, "target", np.int32),
                weight=column(edges, "weight"),
            ),
        )
        stored = (record["n_nodes_stored"], record["n_edges_stored"])
        if (len(graph.nodes), len(graph.edges)) != stored:
            raise ValueError("rows are missing, or there are too many")
        check_graph(graph)
        return PrunedGraph(
            graph=graph,
            node_threshold=record["node_threshold"],
            edge_threshold=record["edge_threshold"],
            node_kept=column(nodes, "kept", np.bool_),
            edge_kept=column(edges, "kept", np.bool_),
            influence=column(nodes, "influence", np.float64),
            scores=_scores(record),
            shares=shares_in(nodes),
        )


def _scores(record: Mapping[str, Any]) -> Scores:
    values: dict[str, Any] = {name: record[name] for name in SCORES}
    values |= {name: tuple(record[name]) for name in RANGES}
    return Scores(**values)
