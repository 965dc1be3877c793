"""Edges while rows still come in: in memory up to a budget, past it in temporary files.

A row comes whole, in one batch, so that all edges in the order of (target, source) need no sort of
them all: rows are copied one behind the other, by target. Half of the budget is for what has come,
the other half for what is handed out.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from circuit_tracer.errors import OutputError
from circuit_tracer.graphs.folder import reason
from circuit_tracer.graphs.graph import Edges
from circuit_tracer.graphs.influence import Part

MEMORY_BUDGET = 4 << 30
"""Bytes that edges may take (12 each in float32) where nothing else is said."""

_BUFFER = 1 << 20
_TOGETHER = 1 << 15
"""Edges that are put in order at a time, of graphs with more than `_AT_ONCE`."""
_AT_ONCE = 1 << 18
_INT32_END = 1 << 31


class _Rows(NamedTuple):
    """Where the r targets' edges lie in a batch."""

    target: NDArray[np.int64]
    """(r,)"""
    start: NDArray[np.int64]
    """(r,)"""
    end: NDArray[np.int64]
    """(r,)"""

    def take(self, which: NDArray[np.int64]) -> _Rows:
        """Some of them."""
        return _Rows(self.target[which], self.start[which], self.end[which])

    @property
    def rise(self) -> bool:
        """Whether they lie in the order of their targets, each once."""
        return bool(np.all(self.target[1:] > self.target[:-1]))


class EdgeStore:
    """Collects batches of whole rows; `edges` gives them sorted, `unsorted` as they came.

    Past the memory budget everything moves to temporary files, in `folder` or where the system
    keeps such files (TMPDIR), which are gone with the store or the process. What `edges` has
    handed out outlives the store.
    """

    def __init__(
        self, memory_budget_bytes: int = MEMORY_BUDGET, folder: Path | str | None = None
    ) -> None:
        self.memory_budget_bytes = memory_budget_bytes
        self.folder = folder
        self._parts: list[Part] = []
        """The batches, as long as they are in memory; in no order until somebody wants them so."""
        self._rows: list[_Rows] = []
        """Where the rows of each batch lie in it."""
        self._seen: set[int] = set()
        self._ends: list[int] = []
        self._dtype: np.dtype[Any] | None = None
        self._disk: DiskColumns | None = None

    @property
    def count(self) -> int:
        """Edges so far. (No `len`, with which a store that is still empty would be falsy.)"""
        return self._ends[-1] if self._ends else 0

    @property
    def nbytes(self) -> int:
        """Bytes the edges so far take, in memory or on disk."""
        return self.count * _edge_bytes(self._dtype)

    @property
    def on_disk(self) -> bool:
        """Whether the budget was passed."""
        return self._disk is not None

    def add(
        self,
        source: NDArray[np.integer[Any]],
        target: NDArray[np.integer[Any]],
        weight: NDArray[np.floating[Any]],
    ) -> None:
        """Take a batch of edges, (m,) each, in any order; the arrays are copied.

        All edges of a target come in one batch, and every batch has weights of one dtype: raises
        ValueError otherwise, and OutputError when the disk is full.
        """
        part, rows = _whole_rows(source, target, weight)
        if self._dtype is not None and self._dtype != part.weight.dtype:
            raise ValueError(f"edges in {part.weight.dtype} after edges in {self._dtype}")
        self._dtype = part.weight.dtype
        targets = set(rows.target.tolist())
        if not self._seen.isdisjoint(targets):
            again = min(self._seen & targets)
            raise ValueError(f"the row of node {again} came in two batches")
        total = self.count + len(part.target)
        if self._disk is None and 2 * total * _edge_bytes(self._dtype) > self.memory_budget_bytes:
            self._disk = self._spill(self._dtype)
        if self._disk is None:
            self._parts.append(part)
        else:
            part, rows = _in_order(part, rows)
            self._disk.append(part)
        self._seen |= targets
        self._rows.append(rows)
        self._ends.append(total)

    def _spill(self, dtype: np.dtype[Any]) -> DiskColumns:
        disk = DiskColumns(dtype, self.folder)
        self._order()
        for part in self._parts:
            disk.append(part)
        self._parts.clear()
        return disk

    def _order(self) -> None:
        """Put what is in memory in order, batch by batch."""
        for i, part in enumerate(self._parts):
            self._parts[i], self._rows[i] = _in_order(part, self._rows[i])

    def unsorted(self) -> Iterator[Part]:
        """The batches in the order they came, each sorted by (target, source).

        For `influence.flow_in_parts(list(store.unsorted()), ...)`. Columns on disk are read-only
        maps; they show what was there when this was called.
        """
        if self._disk is None:
            self._order()
            return iter(list(self._parts))
        columns = self._disk.part()
        starts = [0, *self._ends[:-1]]
        return (
            columns.take(slice(start, end)) for start, end in zip(starts, self._ends, strict=True)
        )

    def edges(self, renumbered: NDArray[np.integer[Any]] | None = None) -> Edges:
        """All edges sorted by (target, source), in memory if they fit the budget, else mapped.

        `renumbered` (rows of the old node table,) gives each node its new row and must rise over
        the nodes that occur (raises ValueError if not): so a node table can be cut down to them.
        OutputError when the disk is full.
        """
        columns = edge_columns(
            self.count,
            np.float32 if self._dtype is None else self._dtype,
            memory_budget_bytes=self.memory_budget_bytes,
            folder=self.folder,
        )
        for together in self._together():
            columns.append(together if renumbered is None else _renumbered(together, renumbered))
        return columns.edges()

    def _together(self) -> Iterator[Part]:
        """All rows by target, many at a time: a copy of each alone would take its time."""
        if not self._rows:
            return
        rows = _Rows(*map(np.concatenate, zip(*self._rows, strict=True)))
        batch = np.repeat(np.arange(len(self._rows)), [len(some.target) for some in self._rows])
        order = np.argsort(rows.target, kind="stable")
        rows, batch = rows.take(order), batch[order]
        if self._disk is None and self.count <= _AT_ONCE:
            first = np.array([0, *self._ends[:-1]])[batch]
            whole = Part(*map(np.concatenate, zip(*self._parts, strict=True)))
            yield whole.take(_places(first + rows.start, first + rows.end))
            return
        parts = list(self.unsorted()) if self._disk is not None else self._parts
        for which in _some_at_a_time(rows):
            places = zip(batch[which], rows.start[which], rows.end[which], strict=True)
            some = [parts[i].take(slice(start, end)) for i, start, end in places]
            yield Part(*map(np.concatenate, zip(*some, strict=True)))

    def close(self) -> None:
        """Remove the temporary files; the store is empty afterwards."""
        if self._disk is not None:
            self._disk.close()
        self._disk = None
        self._parts, self._rows, self._ends = [], [], []
        self._seen = set()

    def __enter__(self) -> EdgeStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _edge_bytes(dtype: np.dtype[Any] | None) -> int:
    return 8 + (4 if dtype is None else dtype.itemsize)


def _whole_rows(source: Any, target: Any, weight: Any) -> tuple[Part, _Rows]:
    """A copy in which the edges of a target lie together, their sources rising."""
    source, target, weight = np.asarray(source), np.asarray(target), np.asarray(weight)
    if not len(source) == len(target) == len(weight):
        raise ValueError("a source, a target and a weight are needed for every edge")
    if len(source) and (min(source.min(), target.min()) < 0 or target.max() >= _INT32_END):
        raise ValueError("rows of nodes must be from 0 to 2,147,483,647")
    part = Part(source.astype(np.int32), target.astype(np.int32), weight.copy())
    rows = _rows(part)
    if rows is None:
        part = part.take(np.lexsort((part.source, part.target)))
        rows = _rows(part)
    if rows is None:
        raise ValueError("two edges between the same nodes")
    return part, rows


def _rows(part: Part) -> _Rows | None:
    """Where the rows lie; None if they are not whole or their sources do not rise."""
    changes = part.target[1:] != part.target[:-1]
    if not np.all(changes | (part.source[1:] > part.source[:-1])):
        return None
    start = np.concatenate(
        [np.zeros(min(1, len(part.target)), np.int64), np.flatnonzero(changes) + 1]
    )
    target = part.target[start].astype(np.int64)
    if len(np.unique(target)) < len(target):
        return None
    return _Rows(target, start, np.append(start, len(part.target))[1:])


def _in_order(part: Part, rows: _Rows) -> tuple[Part, _Rows]:
    """The same by target."""
    if rows.rise:
        return part, rows
    rows = rows.take(np.argsort(rows.target, kind="stable"))
    end = np.cumsum(rows.end - rows.start)
    start = end - (rows.end - rows.start)
    return part.take(_places(rows.start, rows.end)), _Rows(rows.target, start, end)


def _places(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start to its end, one range behind the other."""
    lengths = ends - starts
    behind = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    places: NDArray[np.int64] = behind + np.arange(len(behind))
    return places


def _some_at_a_time(rows: _Rows) -> Iterator[slice]:
    """Neighbouring rows of about `_TOGETHER` edges."""
    ends = np.cumsum(rows.end - rows.start)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = int(np.searchsorted(ends, before + _TOGETHER)) + 1
        yield slice(start, end)
        start = end


def _renumbered(part: Part, renumbered: NDArray[np.integer[Any]]) -> Part:
    """Whole rows with the new rows of their nodes."""
    source, target = renumbered[part.source], renumbered[part.target]
    within = part.target[1:] == part.target[:-1]
    rises = (source[1:] > source[:-1]) | ~within
    if not (np.all(rises) and np.all(source < target)):
        raise ValueError("new rows must rise with the old ones")
    return Part(source.astype(np.int32), target.astype(np.int32), part.weight)


def edge_columns(
    count: int,
    dtype: DTypeLike,
    *,
    memory_budget_bytes: int = MEMORY_BUDGET,
    folder: Path | str | None = None,
) -> MemoryColumns | DiskColumns:
    """Room for `count` edges with weights of the dtype: in memory if the budget allows."""
    if count * _edge_bytes(np.dtype(dtype)) > memory_budget_bytes:
        return DiskColumns(dtype, folder)
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

    def append(self, part: Part) -> None:
        """Add edges behind those that are there."""
        start, self._end = self._end, self._end + len(part.source)
        self._columns.source[start : self._end] = part.source
        self._columns.target[start : self._end] = part.target
        self._columns.weight[start : self._end] = part.weight

    def edges(self) -> Edges:
        """All that was added; nothing more can be."""
        return self._columns.take(slice(self._end))


class DiskColumns:
    """The same in temporary files without a name, which no crash can leave behind.

    They are written through the file, never through the map: on a full disk a write says so,
    where a map would end the process.
    """

    def __init__(self, dtype: DTypeLike, folder: Path | str | None) -> None:
        self._dtypes = (np.dtype(np.int32), np.dtype(np.int32), np.dtype(dtype))
        self._folder = folder
        self._count = 0
        with _on_disk(folder), ExitStack() as opened:
            self._files = tuple(opened.enter_context(_temporary(folder)) for _ in self._dtypes)
            self._close = weakref.finalize(self, _close_all, opened.pop_all())

    def append(self, part: Part) -> None:
        """Add edges behind those that are there. OutputError when the disk is full."""
        with _on_disk(self._folder):
            for file, dtype, values in zip(self._files, self._dtypes, part, strict=True):
                file.write(np.ascontiguousarray(values, dtype=dtype).data)
        self._count += len(part.source)

    def part(self) -> Part:
        """What is there by now, as read-only maps."""
        self._flush()
        return Part(self._map(0), self._map(1), self._map(2))

    def _flush(self) -> None:
        with _on_disk(self._folder):
            for file in self._files:
                file.flush()

    def _map(self, column: int) -> NDArray[Any]:
        if not self._count:  # nothing cannot be mapped
            return np.empty(0, dtype=self._dtypes[column])
        return np.memmap(
            self._files[column], dtype=self._dtypes[column], mode="r", shape=(self._count,)
        )

    def edges(self) -> Edges:
        """All that was added, as read-only maps; nothing more can be."""
        self._flush()
        edges = Edges(self._map(0), self._map(1), self._map(2))
        self.close()  # the maps keep what they need
        return edges

    def close(self) -> None:
        """Let go of the files."""
        self._close()


def _temporary(folder: Path | str | None) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=folder, buffering=_BUFFER, prefix="circuit-tracer-")


def _close_all(files: ExitStack) -> None:
    """Close without a last flush that may fail again on a full disk."""
    with suppress(OSError):
        files.close()


@contextmanager
def _on_disk(folder: Path | str | None) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        place = folder if folder is not None else tempfile.gettempdir()
        raise OutputError(
            f"cannot write edges past the memory budget to {place}: {reason(e)}; free some room "
            "there or point TMPDIR to a larger disk"
        ) from e
