"""Rows of edges: all edges into a target, neighbours, their sources rising.

Rows that lie somewhere in some order are put into another by copying each whole, never by a sort of
all their edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from circuit_tracer.graphs.graph import Edges, IntColumn, Ints

_INT32_END = 1 << 31


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
    places: Ints = offsets + np.arange(len(offsets))
    return places


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
