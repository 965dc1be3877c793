"""Three columns of edges that are filled from the front, in memory or on disk."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from circuit_tracer.errors import OutputError
from circuit_tracer.graphs.files.atomic import why_not_written
from circuit_tracer.graphs.graph import Edges

MEMORY_BUDGET = 4 << 30
"""Bytes that edges may take (12 each in float32) by default."""

_BUFFER = 1 << 20


def edge_bytes(dtype: np.dtype[Any] | None) -> int:
    """Bytes of one edge with weights of a dtype, float32 if it is not known yet."""
    return 8 + (4 if dtype is None else dtype.itemsize)


def edge_columns(
    count: int,
    dtype: DTypeLike,
    *,
    memory_budget_bytes: int = MEMORY_BUDGET,
) -> MemoryColumns | DiskColumns:
    """Room for `count` edges with weights of the dtype: in memory if the budget allows."""
    if count * edge_bytes(np.dtype(dtype)) > memory_budget_bytes:
        return DiskColumns(dtype)
    return MemoryColumns(count, dtype)


class MemoryColumns:
    """Three columns of edges that are filled from the front."""

    def __init__(self, count: int, dtype: DTypeLike) -> None:
        self._columns = Edges(
            source=np.empty(count, dtype=np.int32),
            target=np.empty(count, dtype=np.int32),
            weight=np.empty(count, dtype=dtype),
        )
        self._end = 0

    def append(self, part: Edges) -> None:
        """Add edges after those that are there."""
        start, self._end = self._end, self._end + len(part)
        for column, values in zip(self._columns.columns, part.columns, strict=True):
            column[start : self._end] = values

    def edges(self) -> Edges:
        """All that was added; nothing can be added afterwards."""
        return self._columns.take(slice(self._end))


class DiskColumns:
    """`MemoryColumns` in temporary files without a name, which no crash can leave on the disk.

    They are written through the file, never through the map: on a full disk a write says so,
    where a map would end the process.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtypes = (np.dtype(np.int32), np.dtype(np.int32), np.dtype(dtype))
        self._count = 0
        with _on_disk(), ExitStack() as opened:
            self._files = tuple(opened.enter_context(_temporary()) for _ in self._dtypes)
            self._close = weakref.finalize(self, _close_all, opened.pop_all())

    def append(self, part: Edges) -> None:
        """Add edges after those that are there. OutputError when the disk is full."""
        with _on_disk():
            for file, dtype, values in zip(self._files, self._dtypes, part.columns, strict=True):
                file.write(np.ascontiguousarray(values, dtype=dtype).data)
        self._count += len(part)

    def part(self) -> Edges:
        """What was added so far, as read-only maps."""
        with _on_disk():
            for file in self._files:
                file.flush()
        return Edges(self._map(0), self._map(1), self._map(2))

    def _map(self, column: int) -> NDArray[Any]:
        if not self._count:  # nothing cannot be mapped
            return np.empty(0, dtype=self._dtypes[column])
        return np.memmap(
            self._files[column], dtype=self._dtypes[column], mode="r", shape=(self._count,)
        )

    def edges(self) -> Edges:
        """All that was added, as read-only maps; nothing can be added afterwards."""
        edges = self.part()
        self.close()  # the maps keep what they need
        return edges

    def close(self) -> None:
        """Let go of the files."""
        self._close()


def _temporary() -> IO[bytes]:
    return tempfile.TemporaryFile(buffering=_BUFFER, prefix="circuit-tracer-")


def _close_all(files: ExitStack) -> None:
    """Close without a last flush that may fail again on a full disk."""
    with suppress(OSError):
        files.close()


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise OutputError(
            f"cannot write edges past the memory budget to {tempfile.gettempdir()}: "
            f"{why_not_written(e)}; free some room there or point TMPDIR to a larger disk"
        ) from e
