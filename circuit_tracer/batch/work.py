"""What a process is asked to do of a run, and what it answers. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from circuit_tracer.batch.shards import WHOLE, Shard

PART_PROMPTS = 256
"""Prompts of a part, unless told otherwise."""

OnProgress = Callable[[str, int, int], None]
"""(stage, done, total)"""


class Outcome(NamedTuple):
    """What a process has done, and how the run stands."""

    traced: int
    """Prompts traced by this process."""
    done: int
    """Prompts of its share that have a graph."""
    failed: int
    """Prompts of its share that have failed, now or earlier."""
    total: int
    """Prompts and bad lines of its share."""
    sweeping: float
    """Seconds that this process spent in sweeps."""
    seconds: float
    """Seconds from the first group to the last row on disk."""


@dataclass(frozen=True)
class Work:
    """Which part of a run a process does."""

    shard: Shard = WHOLE
    limit: int | None = None
    """Only the first so many entries."""
    retry_failed: bool = False
    groups: frozenset[int] | None = None
    """Only these groups, by number; for a scheduler that deals them out."""
    part_prompts: int = PART_PROMPTS
    """Prompts after which what is done goes to disk."""
    bad_lines: bool = True
    """Whether lines that are no prompts are its, too."""

    def has(self, group: int) -> bool:
        """Whether the group of this number is its."""
        return self.shard.has(group) if self.groups is None else group in self.groups
