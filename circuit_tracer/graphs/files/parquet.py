"""Parquet files: opened with one sentence for what is wrong, read column by column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from circuit_tracer.errors import CircuitTracerError
from circuit_tracer.reading import readable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@contextmanager
def opened_parquet(
    path: Path, error: type[CircuitTracerError], advice: str, *, problem: str = "is damaged"
) -> Iterator[pq.ParquetFile]:
    """The file; `error` with the advice where it, or what is read of it, is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        readable(path, error, advice, problem=problem, also=(pa.ArrowException,)),
        pq.ParquetFile(path) as file,
    ):
        yield file


def column(
    table: pa.Table | pa.RecordBatch, name: str, dtype: type[np.generic] | None = None
) -> Any:
    """One column as its own array. KeyError if it is not there, TypeError if of another type."""
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"empty cells in column {name}")
    array = column.to_numpy()
    if dtype is None and not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"column {name} holds {array.dtype}, not numbers with a point")
    if dtype is not None and array.dtype != np.dtype(dtype):
        raise TypeError(f"column {name} holds {array.dtype}, not {np.dtype(dtype)}")
    return array
