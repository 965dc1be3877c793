"""Every measurement of an experiment as one row of a Parquet table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_tracer.experiments.kit.page import MEASUREMENTS_FILE
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.graphs.files.json_values import number

Row = dict[str, Any]
"""By column; what a row does not have is null."""
_KINDS = {"layer": pa.int32(), "head": pa.int32(), "half": pa.int32(), "feature": pa.int32()}


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], folder: Path) -> None:
    """The table, in the report folder: `value` as float64, layers and the like whole, else text."""
    kinds = {**_KINDS, "value": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    table: dict[str, list[Any]] = {name: [] for name in columns}
    for row in rows:
        for name, column in table.items():
            column.append(row.get(name))
    table["value"] = [number(value) for value in table["value"]]  # as JSON, null is NaN
    with new_file(folder / MEASUREMENTS_FILE, overwrite=True) as file:
        pq.write_table(pa.table(table, schema=schema), file, compression="zstd")
