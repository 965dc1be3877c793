"""The columns of a run's tables, in their order; what a row of each is: docs/batch.md.

`nodes` and `edges` have `id` and the columns of a traced folder's tables (graphs/files/storage.py).
"""

from __future__ import annotations

from functools import cache

import pyarrow as pa

GRAPH_TABLES = ("nodes", "edges", "paths", "heads", "graphs")
"""In the order in which they are written: a prompt is done when its row of the last is there."""
FAILURES = "failures"
SCORES = (
    "replacement",
    "completeness",
    "error_share",
    "constant_share",
    "unexpanded_share",
    "embedding_share",
    "dropped_share",
)
"""The fields of `graphs.Scores` that are one number."""
RANGES = ("replacement_range", "completeness_range")
"""Those that are two."""

_COLUMNS = {
    "graphs": (
        "id:text line:int64 name:text prompt:text tags:texts roles:text tokens:texts targets:texts "
        "answer:text probability:float64 logit:float64 rank:int64 "
        + " ".join(f"{name}:float64" for name in SCORES)
        + " "
        + " ".join(f"{name}:numbers" for name in RANGES)
        + " residual:float64 tolerance:float64 n_nodes:int64 n_edges:int64 n_nodes_kept:int64 "
        "n_edges_kept:int64 n_nodes_stored:int64 n_edges_stored:int64 node_threshold:float64 "
        "edge_threshold:float64 info:text"
    ),
    "paths": (
        "id:text target:text rank:int32 strength:float64 sign:int8 share:float64 rows:rows "
        "nodes:texts labels:texts route:text"
    ),
    "heads": "id:text layer:int16 head:int16 share:float64 key:int32 query:int32",
    FAILURES: (
        "id:text line:int64 name:text prompt:text tags:texts class:text message:text attempt:int32"
    ),
}


def schema_of(columns: str) -> pa.Schema:
    """From "name:type name:type ...", in Arrow's names for types or in those of `_TYPES`."""
    pairs = [column.split(":") for column in columns.split()]
    return pa.schema([(name, _TYPES.get(kind, kind)) for name, kind in pairs])


_TYPES = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "numbers": pa.list_(pa.float64()),
    "rows": pa.list_(pa.int32()),
}
"""What is no type of Arrow by its own name."""


@cache
def schema(table: str) -> pa.Schema:
    """Of a table that is written from plain records (not `nodes` and `edges`)."""
    return schema_of(_COLUMNS[table])
