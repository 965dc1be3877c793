"""Edges while rows still come in: in memory up to a budget, past it in temporary files.

A row comes whole, in one batch, so that all edges in the order of (target, source) need no sort of
them all: rows are copied one after the other, by target. Half of the budget is for what has come,
the other half for what is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from circuit_tracer.graphs.edges.columns import MEMORY_BUDGET, DiskColumns, edge_bytes, edge_columns
from circuit_tracer.graphs.graph import Edges, Graph, GraphInfo, IntColumn, Ints, Nodes

_INT32_END = 1 << 31
_TOGETHER = 1 << 15
"""Edges that are put in order at a time, of graphs with more than `_AT_ONCE`."""
_AT_ONCE = 1 << 18


class Rows(NamedTuple):
    """Where the r targets' edges lie in a batch."""

    target: Ints
    """(r,)"""
    start: Ints
    """(r,)"""
    end: Ints
    """(r,)"""

    def take(self, which: Ints) -> Rows:
        """Some of the rows."""
        return Rows(self.target[which], self.start[which], self.end[which])

    @property
    def rise(self) -> bool:
        """Whether they lie in the order of their targets, each once."""
        return bool(np.all(self.target[1:] > self.target[:-1]))


def whole_rows(source: Any, target: Any, weight: Any) -> tuple[Edges, Rows]:
    """A copy of edges, (m,) each in any order, in which those into a target lie together.

    Raises ValueError for columns of different lengths, numbers that are no rows, and two edges
    between the same nodes.
    """
    source, target, weight = np.asarray(source), np.asarray(target), np.asarray(weight)
    if not len(source) == len(target) == len(weight):
        raise ValueError("a source, a target and a weight are needed for every edge")
    if len(source) and (min(source.min(), target.min()) < 0 or target.max() >= _INT32_END):
        raise ValueError("rows of nodes must be from 0 to 2,147,483,647")
    part = Edges(source.astype(np.int32), target.astype(np.int32), weight.copy())
    rows = _rows(part)
    if rows is None:
        part = part.take(np.lexsort((part.source, part.target)))
        rows = _rows(part)
    if rows is None:
        raise ValueError("two edges between the same nodes")
    return part, rows


def _rows(part: Edges) -> Rows | None:
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
    return Rows(target, start, np.append(start, len(part.target))[1:])


def in_order(part: Edges, rows: Rows) -> tuple[Edges, Rows]:
    """The same edges and rows, both in the order of the rows' targets."""
    if rows.rise:
        return part, rows
    rows = rows.take(np.argsort(rows.target, kind="stable"))
    end = np.cumsum(rows.end - rows.start)
    start = end - (rows.end - rows.start)
    return part.take(places_of(rows.start, rows.end)), Rows(rows.target, start, end)


def places_of(starts: Ints, ends: Ints) -> Ints:
    """The numbers from each start to its end, one range after the other."""
    lengths = ends - starts
    offsets = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return offsets + np.arange(len(offsets))


def neighbours(rows: Rows, n_edges: int) -> Iterator[slice]:
    """Neighbouring rows of about so many edges."""
    ends = np.cumsum(rows.end - rows.start)
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        end = int(np.searchsorted(ends, before + n_edges)) + 1
        yield slice(start, end)
        start = end


def renumbered_rows(part: Edges, renumbered: IntColumn) -> Edges:
    """Whole rows with the new rows of their nodes; ValueError unless those rise with the old."""
    source, target = renumbered[part.source], renumbered[part.target]
    within = part.target[1:] == part.target[:-1]
    rises = (source[1:] > source[:-1]) | ~within
    if not (np.all(rises) and np.all(source < target)):
        raise ValueError("new rows must rise with the old ones")
    return Edges(source.astype(np.int32), target.astype(np.int32), part.weight)


class EdgeStore:
    """Collects batches of whole rows; `edges` gives them sorted, `unsorted` as they came.

    Past the memory budget everything moves to temporary files, where the system keeps such files
    (TMPDIR), which are gone with the store or the process. What `edges` has handed out outlives
    the store.
    """

    def __init__(self, memory_budget_bytes: int = MEMORY_BUDGET) -> None:
        self.memory_budget_bytes = memory_budget_bytes
        self._parts: list[Edges] = []
        """The batches, as long as they are in memory; in no order until somebody wants them so."""
        self._rows: list[Rows] = []
        """Where the rows of each batch lie in it."""
        self._seen: set[int] = set()
        self._ends: list[int] = []
        self._dtype: np.dtype[Any] | None = None
        self._disk: DiskColumns | None = None

    @property
    def count(self) -> int:
        """Edges so far. (No `len`, with which a store that is still empty would be falsy.)"""
        return self._ends[-1] if self._ends else 0

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
        part, rows = whole_rows(source, target, weight)
        if self._dtype is not None and self._dtype != part.weight.dtype:
            raise ValueError(f"edges in {part.weight.dtype} after edges in {self._dtype}")
        self._dtype = part.weight.dtype
        targets = set(rows.target.tolist())
        if not self._seen.isdisjoint(targets):
            again = min(self._seen & targets)
            raise ValueError(f"the row of node {again} came in two batches")
        total = self.count + len(part.target)
        if self._disk is None and 2 * total * edge_bytes(self._dtype) > self.memory_budget_bytes:
            self._disk = self._spill(self._dtype)
        if self._disk is None:
            self._parts.append(part)
        else:
            part, rows = in_order(part, rows)
            self._disk.append(part)
        self._seen |= targets
        self._rows.append(rows)
        self._ends.append(total)

    def _spill(self, dtype: np.dtype[Any]) -> DiskColumns:
        disk = DiskColumns(dtype)
        self._order()
        for part in self._parts:
            disk.append(part)
        self._parts.clear()
        return disk

    def _order(self) -> None:
        """Put what is in memory in order, batch by batch."""
        for i, part in enumerate(self._parts):
            self._parts[i], self._rows[i] = in_order(part, self._rows[i])

    def unsorted(self) -> Iterator[Edges]:
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
        )
        for together in self._together():
            columns.append(
                together if renumbered is None else renumbered_rows(together, renumbered)
            )
        return columns.edges()

    def _together(self) -> Iterator[Edges]:
        """All rows by target, many at a time: a copy of each alone would take its time."""
        if not self._rows:
            return
        rows = Rows(*map(np.concatenate, zip(*self._rows, strict=True)))
        batch = np.repeat(np.arange(len(self._rows)), [len(some.target) for some in self._rows])
        order = np.argsort(rows.target, kind="stable")
        rows, batch = rows.take(order), batch[order]
        if self._disk is None and self.count <= _AT_ONCE:
            first = np.array([0, *self._ends[:-1]])[batch]
            whole = Edges.joined(self._parts)
            yield whole.take(places_of(first + rows.start, first + rows.end))
            return
        parts = list(self.unsorted()) if self._disk is not None else self._parts
        for which in neighbours(rows, _TOGETHER):
            places = zip(batch[which], rows.start[which], rows.end[which], strict=True)
            some = [parts[i].take(slice(start, end)) for i, start, end in places]
            yield Edges.joined(some)

    def close(self) -> None:
        """Remove the temporary files; the store is empty afterwards."""
        if self._disk is not None:
            self._disk.close()
        self._disk = None
        self._parts, self._rows, self._ends = [], [], []
        self._seen = set()


@dataclass(frozen=True)
class UnorderedGraph:
    """A whole `Graph` but for the order of its edges, which lie as its rows came.

    To order them takes a twentieth of the time that a small graph's rows took. It is done by
    whoever needs the graph itself, in whatever process that is.
    """

    info: GraphInfo
    nodes: Nodes
    store: EdgeStore
    renumbered: NDArray[np.int32] | None = None
    """Row of each node that the store numbers in its own way; None where those are rows."""

    @property
    def n_edges(self) -> int:
        """Edges of the graph."""
        return self.store.count

    def ordered(self) -> Graph:
        """The graph; raises OutputError when its edges do not fit the disk they go to."""
        return Graph(self.info, self.nodes, self.store.edges(self.renumbered))
