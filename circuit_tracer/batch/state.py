"""What of a run is done and what has failed, followed while other processes write, too."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.parts import LAST, part_name, part_path, parts_of, read_part, write_part
from circuit_tracer.batch.schemas import FAILURES

if TYPE_CHECKING:
    import pyarrow as pa

_SETTLING = "failures"
_COARSE = 2_000_000_000
"""Nanoseconds within which two changes of a folder may bear the same time."""


class RunState:
    """The ids of a run that have graphs, and the attempts at those that have failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[str] = set()
        self.attempts: dict[str, int] = {}
        """Failed attempts by id; also of prompts that are done by now."""
        self._seen: dict[str, set[str]] = {LAST: set(), FAILURES: set()}
        self._changed: dict[str, int] = {}
        self.look()

    def look(self) -> None:
        """Take in what has come since the last look. Raises GraphFileError for a damaged part."""
        for table in self._new(LAST):
            self.done.update(table.column("id").to_pylist())
        for table in self._new(FAILURES):
            rows = zip(
                table.column("id").to_pylist(), table.column("attempt").to_pylist(), strict=True
            )
            for key, attempt in rows:
                self.attempts[key] = max(attempt, self.attempts.get(key, 0))

    def _new(self, table: str) -> list[pa.Table]:
        """The ids (and attempts) in the parts of a table that have not been read."""
        try:
            changed = os.stat(self.folder / table).st_mtime_ns
        except FileNotFoundError:
            return []
        if self._changed.get(table) == changed and time.time_ns() - changed > _COARSE:
            return []
        self._changed[table] = changed
        columns = ["id"] if table == LAST else ["id", "attempt"]
        found = []
        for name in parts_of(self.folder, table):
            if name in self._seen[table]:
                continue
            self._seen[table].add(name)
            try:
                found.append(read_part(part_path(self.folder, table, name), columns))
            except FileNotFoundError:  # failures are put together now and then
                continue
        return found

    @property
    def failed(self) -> set[str]:
        """Ids that have failed and have no graph."""
        return self.attempts.keys() - self.done


def settle_failures(
    folder: Path, keys: Collection[str], done: Collection[str], claims: Claims
) -> None:
    """Leave one row, the last, of every prompt that failed, and none of those that have a graph.

    `keys` are the ids of the manifest; rows of others (lines mended since) go. `done` are ids with
    a graph. Does nothing while another process does the same.
    """
    if not claims.take(_SETTLING):
        return
    try:
        names = parts_of(folder, FAILURES)
        if not names:
            return
        whole = merged_failures(folder, names)
        rows = whole.column("id").to_pylist()
        attempts = whole.column("attempt").to_pylist()
        last: dict[str, int] = {}
        for row, key in enumerate(rows):
            known = key in keys and key not in done
            if known and (key not in last or attempts[row] > attempts[last[key]]):
                last[key] = row
        kept = sorted(last.values())
        if len(kept) == len(rows) and len(names) == 1:
            return
        name = None
        if kept:
            name = part_name([f"{rows[row]} {attempts[row]}" for row in kept])
            write_part(folder, name, {FAILURES: whole.take(kept)}, claims)
        for old in names:
            if old != name:
                part_path(folder, FAILURES, old).unlink(missing_ok=True)
    finally:
        claims.drop(_SETTLING)


def merged_failures(folder: Path, names: list[str]) -> pa.Table:
    """The rows of several parts of failures, by line."""
    import pyarrow as pa

    tables = [read_part(part_path(folder, FAILURES, name)) for name in names]
    return pa.concat_tables(tables).sort_by([("line", "ascending"), ("attempt", "ascending")])
