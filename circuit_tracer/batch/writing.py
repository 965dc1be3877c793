"""The other half of a run: graphs are pruned, made into rows and written while the next is traced.

One thread of its own, which never touches the model's forward pass (nnsight is not thread-safe).
Rows wait until there are enough for a part, or until some seconds have gone by, so that little is
lost when the process is killed; what is being traced may run ahead by a few graphs alone, so that
memory stays the same however slow the disk is.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.kinds import Kind, Made, Rows
from circuit_tracer.batch.parts import part_name, write_part
from circuit_tracer.batch.schemas import FAILURES
from circuit_tracer.batch.shards import PART_PROMPTS
from circuit_tracer.batch.tables import Failed, failure_table
from circuit_tracer.batch.tracing import or_failed

PART_BYTES = 64 << 20
"""Bytes of rows, before compression, from which a part is written early."""
PART_SECONDS = 60.0
"""A part is not kept waiting for longer than that: so much work a kill can cost."""
AHEAD_EDGES = 4_000_000
"""Edges of graphs that may wait for the writer (48 MB), beside the first."""
TOGETHER_EDGES = AHEAD_EDGES // 4
"""Graphs are handed over a group at a time, so that the sweep is seldom interrupted, but with at
most so many edges together."""
TOGETHER_SECONDS = 1.0
"""None waits longer than this to be handed over."""


class GroupDone(str):
    """The claim of a group all of whose outcomes have been handed over."""


class Flush:
    """Asks for everything to go to disk."""


Item = Made | Failed | GroupDone | Flush


class Writer:
    """Takes outcomes, writes parts, and drops the claims of what is safely on disk."""

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        claims: Claims,
        attempts: dict[str, int],
        *,
        part_prompts: int = PART_PROMPTS,
    ) -> None:
        self.folder, self.kind, self.claims = folder, kind, claims
        self.traced, self.sweeping = 0, 0.0
        """Prompts whose rows are on disk, and seconds of sweeps."""
        self._attempts, self._part_prompts = attempts, part_prompts
        self._rows: list[Rows] = []
        self._bytes = 0
        """Of the rows that wait: counted as they come, Arrow takes its time over it."""
        self._failures: list[Failed] = []
        self._groups: list[str] = []
        self._oldest = time.monotonic()
        self._part_began = time.time()
        self._error: BaseException | None = None
        self._waiting_edges, self._lock = 0, threading.Lock()
        self._together: list[Item] = []
        self._together_edges = 0
        self._handed_over = time.monotonic()
        self._queue: queue.Queue[list[Item] | None] = queue.Queue(2)
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def take(self, item: Item) -> None:
        """Hand over; waits while too much is waiting. Raises what the writer met (a full disk)."""
        self.check()
        edges = _edges(item)
        if self._waiting_edges + edges > AHEAD_EDGES:
            self._hand_over()
        while self._waiting_edges and self._waiting_edges + edges > AHEAD_EDGES:
            self.check()
            time.sleep(0.01)
        self._wait_for(edges)
        self._together.append(item)
        self._together_edges += edges
        enough = self._together_edges >= TOGETHER_EDGES
        enough |= time.monotonic() - self._handed_over >= TOGETHER_SECONDS
        if enough or isinstance(item, GroupDone | Flush):
            self._hand_over()

    def _hand_over(self) -> None:
        together, self._together, self._together_edges = self._together, [], 0
        self._handed_over = time.monotonic()
        if together:
            self._put(together)

    def _put(self, items: list[Item] | None) -> None:
        """Into the queue, unless the writer has ended, which is why there is no room."""
        while self._thread.is_alive():
            try:
                self._queue.put(items, timeout=0.5)
                return
            except queue.Full:
                continue
        self.check()

    def _wait_for(self, edges: int) -> None:
        with self._lock:
            self._waiting_edges += edges

    def check(self) -> None:
        """Raise what the writer met, if anything."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write what has been handed over and end. Raises what the writer met."""
        self._hand_over()
        self._put(None)
        self._thread.join()
        self.check()

    def _work(self) -> None:
        try:
            while True:
                try:
                    items = self._queue.get(timeout=1.0)
                except queue.Empty:
                    self._flush_if_due()
                    continue
                if items is None:
                    self._flush()
                    return
                self._digest_all(items)
        except BaseException as error:  # the main thread raises it
            self._error = error

    def _digest_all(self, items: list[Item]) -> None:
        waiting = [item for item in items if not isinstance(item, Failed | GroupDone | Flush)]
        keys = [item.entry.key for item in waiting]
        made = dict(zip(keys, self.kind.rows_beside(waiting), strict=True))
        for item in items:
            if isinstance(item, Flush):
                self._flush()
                continue
            self._digest(item, None if isinstance(item, GroupDone) else made.get(item.entry.key))
            self._wait_for(-_edges(item))
            self._flush_if_due()

    def _digest(self, item: Made | Failed | GroupDone, rows: Rows | None) -> None:
        """Keep what is to be written of an outcome; rows that are not there yet are made here."""
        if not self._rows and not self._failures:
            self._oldest = time.monotonic()
        if isinstance(item, GroupDone):
            self._groups.append(item)
            return
        outcome: Rows | Failed
        if isinstance(item, Failed):
            outcome = item
        else:
            self.sweeping += item.sweeping
            make = partial(self.kind.rows, item)
            outcome = rows if rows is not None else or_failed(item.entry, make)
        if isinstance(outcome, Failed):
            attempt = self._attempts.get(item.entry.key, 0) + 1
            self._failures.append(outcome._replace(attempt=attempt))
        else:
            self._rows.append(outcome)
            self._bytes += outcome.nbytes

    def _flush_if_due(self) -> None:
        waiting = len(self._rows) + len(self._failures)
        if waiting and (
            waiting >= self._part_prompts
            or self._bytes >= PART_BYTES
            or time.monotonic() - self._oldest >= PART_SECONDS
        ):
            self._flush()

    def _flush(self) -> None:
        """Failures first: a prompt must not look undone when its group's claim is dropped."""
        if self._failures:
            name = part_name([f"{failed.entry.key} {failed.attempt}" for failed in self._failures])
            table = {FAILURES: failure_table(self._failures)}
            write_part(self.folder, name, table, self.claims)
        if self._rows:
            name = part_name([prompt.key for prompt in self._rows])
            tables = self.kind.part(self._rows)
            write_part(self.folder, name, tables, self.claims, about=self._about())
        self.traced += len(self._rows)
        self._rows, self._failures, self._bytes = [], [], 0
        for group in self._groups:
            self.claims.drop(group)
        self._groups = []

    def _about(self) -> dict[str, str]:
        """When a part was made and where, for `runs show`; no part of its rows."""
        began, self._part_began = self._part_began, time.time()
        times = {"began": _when(began), "written": _when(self._part_began)}
        return {**times, "writer": f"{socket.gethostname()}:{os.getpid()}"}


def _edges(item: Item) -> int:
    return 0 if isinstance(item, Failed | GroupDone | Flush) else item.n_edges


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
