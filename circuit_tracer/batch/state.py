"""What of a run is done and what has failed, followed while other processes write, too."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.parts import LAST, part_name, part_path, parts_of, read_part, write_part
from circuit_tracer.batch.schemas import FAILURES, schema

_SETTLING = "failures"
_COARSE = 2_000_000_000
"""Nanoseconds within which two changes of a folder may bear the same time."""


class RunState:
    """The ids of a run that are done, and the attempts at those that have failed."""

    def __init__(self, folder: Path, last: str = LAST) -> None:
        """What has a row of the table `last` is done."""
        self.folder, self.last = folder, last
        self.done: set[str] = set()
        self.attempts: dict[str, int] = {}
        """Failed attempts by id; also of prompts that are done by now."""
        self._seen: dict[str, set[str]] = {last: set(), FAILURES: set()}
        self._changed: dict[str, int] = {}
        self.look()

    def look(self) -> None:
        """Take in what has come since the last look. Raises GraphFileError for a damaged part."""
        for part in self._new(self.last, ["id"]):
            self.done.update(part["id"])
        for part in self._new(FAILURES, ["id", "attempt"]):
            for key, attempt in zip(part["id"], part["attempt"], strict=True):
                self.attempts[key] = max(attempt, self.attempts.get(key, 0))

    def _new(self, table: str, columns: list[str]) -> list[dict[str, list[Any]]]:
        """Columns of the parts of a table that have not been read."""
        try:
            changed = os.stat(self.folder / table).st_mtime_ns
        except FileNotFoundError:
            return []
        if self._changed.get(table) == changed and time.time_ns() - changed > _COARSE:
            return []
        self._changed[table] = changed
        read = []
        for name in parts_of(self.folder, table):
            if name not in self._seen[table]:
                self._seen[table].add(name)
                with suppress(FileNotFoundError):  # failures are put together now and then
                    part = read_part(part_path(self.folder, table, name), columns)
                    read.append(part.to_pydict())
        return read

    @property
    def failed(self) -> set[str]:
        """Ids that have failed and are not done."""
        return self.attempts.keys() - self.done


def settle_failures(
    folder: Path, keys: Collection[str], done: Collection[str], claims: Claims
) -> None:
    """Leave one row, the last, of every prompt that failed, and none of those that have a graph.

    `keys` are the ids of the manifest; rows of others (lines fixed since) go. `done` are ids with
    a graph. Does nothing while another process does the same.
    """
    if not claims.take(_SETTLING):
        return
    try:
        names = parts_of(folder, FAILURES)
        whole = _all_failures(folder, names)
        last = _last_attempts(whole, keys, done)
        if len(last) == len(whole) and len(names) <= 1:
            return
        name = None
        if len(last):
            columns = last.select(["id", "attempt"]).to_pydict()
            rows = zip(columns["id"], columns["attempt"], strict=True)
            name = part_name([f"{key} {attempt}" for key, attempt in rows])
            write_part(folder, name, {FAILURES: last}, claims)
        for old in names:
            if old != name:
                part_path(folder, FAILURES, old).unlink(missing_ok=True)
    finally:
        claims.drop(_SETTLING)


def failures_of(folder: Path, keys: Collection[str], done: Collection[str]) -> pa.Table:
    """The last attempt at every prompt of the manifest (`keys`) that has no graph, by line."""
    return _last_attempts(_all_failures(folder, parts_of(folder, FAILURES)), keys, done)


def _all_failures(folder: Path, names: list[str]) -> pa.Table:
    """The rows of several parts, by line."""
    parts = [read_part(part_path(folder, FAILURES, name)) for name in names]
    whole = pa.concat_tables([schema(FAILURES).empty_table(), *parts])
    return whole.sort_by([("line", "ascending"), ("attempt", "ascending")])


def _last_attempts(failures: pa.Table, keys: Collection[str], done: Collection[str]) -> pa.Table:
    last: dict[str, int] = {}
    attempts = failures.column("attempt").to_pylist()
    for row, key in enumerate(failures.column("id").to_pylist()):
        open_still = key in keys and key not in done
        if open_still and (key not in last or attempts[row] > attempts[last[key]]):
            last[key] = row
    return failures.take(pa.array(sorted(last.values()), pa.int64()))
