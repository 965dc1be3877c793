"""A traced graph as a folder: trace.json, nodes.parquet and edges.parquet.

trace.json holds the facts of the run (what was traced, with which weights and settings, the
scores, the thresholds); the two zstd Parquet tables hold the whole graph with what was kept of it,
and are readable as they are by DuckDB, polars and pandas. Numbers come back bit for bit. Edges are
written and read a row group at a time; past a memory budget they are read into temporary files.
Nothing that could run code (pickle, .pt) is ever written or opened.

Version 1 of the schema had no `dropped...` columns (nothing was), no scores that follow from them
and no `logit_softcap`; its files are read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.edges.columns import MEMORY_BUDGET, edge_columns
from circuit_tracer.graphs.files.json_values import (
    info_from_plain,
    info_to_plain,
    scores_from_plain,
    to_json,
    whole_text,
)
from circuit_tracer.graphs.files.parquet import column, opened_parquet
from circuit_tracer.graphs.graph import (
    DROPPED,
    DROPPED_OF,
    Bools,
    Edges,
    Floats,
    Graph,
    NodeKind,
    Nodes,
    column_types,
)
from circuit_tracer.graphs.influence import chunks, edge_flows, handed_down
from circuit_tracer.graphs.pruning import PrunedGraph, check_pruned
from circuit_tracer.reading import read_json, readable

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "circuit-tracer-cli/trace"
SCHEMA_VERSION = 2
_READABLE = (1, SCHEMA_VERSION)
TRACE_FILE = "trace.json"
NODES_FILE = "nodes.parquet"
EDGES_FILE = "edges.parquet"

NODE_TYPES = column_types(Nodes)
_ROW_GROUP = 1 << 20
"""Edges in a row group: what a reader holds in memory at a time."""
_TRACE_AGAIN = "trace the prompt again, or give another file"


def save_graph(pruned: PrunedGraph, folder: Path | str) -> None:
    """Write the three files into an existing folder (see `atomic.new_folder` for a safe one).

    Raises UsageError for what is no pruned graph, or no path.
    """
    import pyarrow.parquet as pq

    check_pruned(pruned)
    folder = _place(folder)
    pq.write_table(nodes_to_arrow(pruned), folder / NODES_FILE, compression="zstd")
    _write_edges(pruned, folder / EDGES_FILE)
    record = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "n_nodes": len(pruned.graph.nodes),
        "n_edges": len(pruned.graph.edges),
        "n_nodes_kept": int(pruned.node_kept.sum()),
        "n_edges_kept": int(pruned.edge_kept.sum()),
        "node_threshold": pruned.node_threshold,
        "edge_threshold": pruned.edge_threshold,
        "scores": asdict(pruned.scores),
        "info": info_to_plain(pruned.graph.info),
    }
    (folder / TRACE_FILE).write_text(to_json(record, indent=2) + "\n", encoding="utf-8")


def load_graph(path: Path | str, *, memory_budget_bytes: int = MEMORY_BUDGET) -> PrunedGraph:
    """Read what `save_graph` wrote; `path` is as for `trace_folder`.

    Edges beyond the budget go to temporary files that are gone with the graph. Raises
    GraphFileError, with what to do, when anything is missing, damaged or too new.
    """
    folder = trace_folder(_place(path))
    record = _read_record(folder / TRACE_FILE)
    with opened_parquet(folder / NODES_FILE, GraphFileError, _TRACE_AGAIN) as file:
        node_table = file.read()
    with readable(folder, GraphFileError, _TRACE_AGAIN, problem="is damaged"):
        nodes = nodes_from_arrow(node_table, record["schema_version"])
        edges, edge_kept = _read_edges(folder / EDGES_FILE, memory_budget_bytes)
        pruned = PrunedGraph(
            graph=Graph(info_from_plain(record.get("info")), nodes, edges),
            node_threshold=_threshold(record, "node_threshold"),
            edge_threshold=_threshold(record, "edge_threshold"),
            node_kept=column(node_table, "kept", np.bool_),
            edge_kept=edge_kept,
            influence=column(node_table, "influence", np.float64),
            scores=scores_from_plain(record.get("scores")),
            shares=shares_in(node_table),
        )
        check_graph(pruned.graph)
        if (record.get("n_nodes"), record.get("n_edges")) != (len(nodes), len(edges)):
            raise ValueError("trace.json and the tables are from different traces")
    return pruned


def _place(given: Path | str) -> Path:
    if not isinstance(given, Path | str):
        raise GraphFileError(f"a {type(given).__name__} is no folder of a graph; give its path")
    return Path(given)


def stored_facts(folder: Path) -> dict[str, Any]:
    """What trace.json says of a graph, whose tables are there and whole as far as their ends say.

    Raises GraphFileError as `load_graph`.
    """
    record = _read_record(folder / TRACE_FILE)
    for name in (NODES_FILE, EDGES_FILE):
        with opened_parquet(folder / name, GraphFileError, _TRACE_AGAIN):
            pass
    return record


def nodes_to_arrow(pruned: PrunedGraph) -> pa.Table:
    """The node table of the whole graph, with `kept`, `influence` and `label`."""
    import pyarrow as pa

    nodes = pruned.graph.nodes
    columns: dict[str, Any] = {name: getattr(nodes, name) for name in NODE_TYPES}
    columns["influence"] = pruned.influence
    columns["kept"] = pruned.node_kept
    if pruned.shares is not None:  # of a graph that was cut from a larger one
        columns["cumulative"] = pruned.shares
    arrays = {name: pa.array(column) for name, column in columns.items()}
    arrays["label"] = pa.array([whole_text(label) for label in nodes.label], type=pa.string())
    return pa.table(arrays)


def _write_edges(pruned: PrunedGraph, path: Path) -> None:
    """The edge table of the whole graph, with `kept` and the influence along each edge."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    edges = pruned.graph.edges
    passed_on = handed_down(pruned.graph, pruned.influence)
    types = {
        "source": pa.int32(),
        "target": pa.int32(),
        "weight": pa.from_numpy_dtype(edges.weight.dtype),
        "influence": pa.float32(),
        "kept": pa.bool_(),
    }
    with pq.ParquetWriter(path, pa.schema(types.items()), compression="zstd") as writer:
        for start in range(0, len(edges), _ROW_GROUP):
            part = slice(start, start + _ROW_GROUP)
            some = edges.take(part)
            columns = {
                "source": some.source,
                "target": some.target,
                "weight": some.weight,
                "influence": edge_flows(edges, passed_on, part).astype(np.float32),
                "kept": pruned.edge_kept[part],
            }
            writer.write_table(pa.table(columns, schema=writer.schema), row_group_size=_ROW_GROUP)


def _read_edges(path: Path, memory_budget_bytes: int) -> tuple[Edges, Bools]:
    """The edges and which were kept, read in row groups."""
    with opened_parquet(path, GraphFileError, _TRACE_AGAIN) as file:
        count = int(file.metadata.num_rows)
        kept = np.empty(count, dtype=np.bool_)
        columns, start = None, 0
        for group in range(file.num_row_groups):  # iter_batches would hold them all
            table = file.read_row_group(group, columns=["source", "target", "weight", "kept"])
            part = Edges(
                source=column(table, "source", np.int32),
                target=column(table, "target", np.int32),
                weight=column(table, "weight"),
            )
            if columns is None:
                budget = memory_budget_bytes
                columns = edge_columns(count, part.weight.dtype, memory_budget_bytes=budget)
            columns.append(part)
            kept[start : start + len(part)] = column(table, "kept", np.bool_)
            start += len(part)
        if columns is None:
            columns = edge_columns(0, column(file.read(), "weight").dtype)
        return columns.edges(), kept


def check_graph(graph: Graph) -> None:
    """Raise ValueError unless the columns are what `Graph` promises."""
    nodes, edges = graph.nodes, graph.edges
    n, kinds = len(nodes), tuple(int(kind) for kind in NodeKind)
    if not np.isin(nodes.kind, kinds).all():
        raise ValueError("a node of an unknown kind")
    before = 0
    for part in chunks(0, len(edges)):
        _check_edges(nodes, edges.take(part), before)
        before = int(edges.target[part.stop - 1])
    sums = np.stack([getattr(nodes, name) for name in DROPPED_OF.values()])
    if not (np.isfinite(nodes.dropped).all() and np.all(np.isfinite(sums) & (sums >= 0))):
        raise ValueError("a sum of dropped edges that is no sum")
    if len(graph.info.targets) != len(graph.target_rows):
        raise ValueError("as many targets as target nodes are needed")
    if n and not 0 <= nodes.position.min() <= nodes.position.max() < len(graph.info.tokens):
        raise ValueError("a node at a position outside the prompt")


def _check_edges(nodes: Nodes, edges: Edges, before: int) -> None:
    """Check neighbouring edges; `before` is the target of the edge before them."""
    source, target = edges.source, edges.target
    if source.min() < 0 or target.max() >= len(nodes):
        raise ValueError("an edge from or to a node that is not there")
    if np.any(nodes.layer[source] >= nodes.layer[target]):
        raise ValueError("an edge that does not go up in layers")
    if np.any(source >= target) or target[0] < before or np.any(np.diff(target) < 0):
        raise ValueError("edges out of order")
    if not np.isfinite(edges.weight).all():
        raise ValueError("an edge weight that is not a finite number")


def _threshold(record: Mapping[str, Any], name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} is no number from 0 to 1")
    return float(value)


def trace_folder(path: Path) -> Path:
    """The folder of a stored trace: given itself, by the trace.json in it, or by a folder that
    holds this one and no other, such as a circuit's. Raises GraphFileError for what is none."""
    if path.suffix in (".pt", ".pth", ".pkl", ".pickle"):
        raise GraphFileError(
            f"{path} is a pickle, which can run code and is never opened: export it as graph JSON"
            " with the tool that made it and give that file."
        )
    folder = path.parent if path.name == TRACE_FILE else path
    if not folder.exists():
        raise GraphFileError(f"There is no {folder}: give the folder of an earlier trace.")
    if not folder.is_dir() or not (folder / TRACE_FILE).is_file():
        inside = sorted(one.parent for one in folder.glob(f"*/{TRACE_FILE}"))
        if len(inside) == 1:
            return inside[0]
        if inside:
            some = ", ".join(map(str, inside[:3])) + (" ..." if inside[3:] else "")
            raise GraphFileError(
                f"{path} is not itself a stored trace, it holds: {some}. Give one."
            )
        raise GraphFileError(
            f"{path} is no stored trace (a folder with {TRACE_FILE}): give the folder that"
            " circuit-tracer trace wrote; runs of circuit-tracer batch are opened by runs show,"
            " runs export and view."
        )
    return folder


def _read_record(path: Path) -> dict[str, Any]:
    record = read_json(path, GraphFileError, _TRACE_AGAIN)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise GraphFileError(
            f"{path} was not written by circuit-tracer trace: give the folder of a trace."
        )
    if record.get("schema_version") not in _READABLE:
        raise GraphFileError(
            f"{path} has schema version {record.get('schema_version')}, and this circuit-tracer"
            f" reads version {' or '.join(map(str, _READABLE))}: install the version that wrote it"
            " or trace again."
        )
    return record


def nodes_from_arrow(table: pa.Table, version: int = SCHEMA_VERSION) -> Nodes:
    """The node table back. KeyError, TypeError or ValueError for one of another form."""
    names = [name for name in NODE_TYPES if version > 1 or name not in DROPPED]
    columns = {name: column(table, name, NODE_TYPES[name]) for name in names}
    return Nodes(**columns, label=tuple(table.column("label").to_pylist()))


def shares_in(table: pa.Table) -> Floats | None:
    """The cumulative shares in a node table; None in that of a whole graph, which has none."""
    if "cumulative" not in table.column_names:
        return None
    shares: Floats = column(table, "cumulative", np.float64)
    return shares
