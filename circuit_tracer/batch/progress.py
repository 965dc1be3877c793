"""How far a run is: what is done, what failed, what is left, and how fast it goes."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from circuit_tracer.batch.store import Run


class Progress(NamedTuple):
    """Of all lines of a run's prompt file."""

    total: int
    """Prompts (each once) and bad lines."""
    done: int
    failed: int
    repeats: int
    """Lines that repeat an earlier one."""
    seconds: float
    """Time that processes spent on it, summed over processes."""
    writers: int
    """Processes that have written a part."""
    last: str
    """When the last part was written; "" without one."""

    @property
    def left(self) -> int:
        """Prompts that have neither a graph nor failed."""
        return self.total - self.done - self.failed

    @property
    def rate(self) -> float:
        """Graphs a second of one process; NaN before the first."""
        return self.done / self.seconds if self.seconds > 0 else float("nan")


def progress(run: Run) -> Progress:
    """How far a run is."""
    listed = {entry.key: entry for entry in run.entries}
    done = [key for key in run.graphs.column("id").to_pylist() if key in listed]
    parts = [part for part in run.made() if "began" in part]
    times = [
        datetime.fromisoformat(p["written"]) - datetime.fromisoformat(p["began"]) for p in parts
    ]
    return Progress(
        total=len(listed),
        done=len(done),
        failed=len(run.failures),
        repeats=sum(entry.repeats for entry in listed.values()),
        seconds=sum(time.total_seconds() for time in times),
        writers=len({part["writer"] for part in parts}),
        last=max((part["written"] for part in parts), default=""),
    )
