"""Which part of a run a process works on, shard i of N, given or found in the environment; and how
far it came.

| where | variables |
| --- | --- |
| a SLURM array | SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP |
| srun | SLURM_PROCID, SLURM_STEP_NUM_TASKS |
| torchrun | RANK, WORLD_SIZE |
| a Kubernetes indexed job | JOB_COMPLETION_INDEX, and JOB_COMPLETIONS, which the job has to set |

Shards are disjoint, so processes that share a store need not know of each other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from circuit_tracer.errors import UsageError

PART_PROMPTS = 256
"""Prompts of a part, by default."""


class Shard(NamedTuple):
    """Share `number` of `of`, from 0."""

    number: int
    of: int

    def has(self, group: int) -> bool:
        """Whether the group of this number is its."""
        return group % self.of == self.number

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Shard(0, 1)


@dataclass(frozen=True)
class Work:
    """Which part of a run a process does."""

    shard: Shard = WHOLE
    limit: int | None = None
    """Only the first so many entries."""
    retry_failed: bool = False
    groups: frozenset[int] | None = None
    """Only these groups, by number, in place of the shard's."""
    part_prompts: int = PART_PROMPTS
    """Prompts after which what is done goes to disk."""
    bad_lines: bool = True
    """Whether lines that are no prompts are its, too."""

    def has(self, group: int) -> bool:
        """Whether the group of this number is its."""
        return self.shard.has(group) if self.groups is None else group in self.groups


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


def parse_shard(text: str) -> Shard:
    """ "3/8": the fourth of eight. Raises UsageError."""
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if match is None:
        raise UsageError(f'`shard` "{text}" is none; give a number and how many, as in 0/8')
    index, count = int(match[1]), int(match[2])
    if not index < count:
        raise UsageError(f"`shard` {text} does not exist: {count} shards go from 0 to {count - 1}")
    return Shard(index, count)


def shard_here(environment: Mapping[str, str] | None = None) -> Shard:
    """The shard that the scheduler gave this process; the whole where there is none.

    Raises UsageError where a variable is there without the others that it needs.
    """
    env = os.environ if environment is None else environment
    if "SLURM_JOB_ID" in env:
        return _slurm(env)
    if "RANK" in env and "WORLD_SIZE" in env and "MASTER_ADDR" in env:
        return _shard(env, "RANK", "WORLD_SIZE")
    if "JOB_COMPLETION_INDEX" in env:
        if "JOB_COMPLETIONS" not in env:
            raise UsageError(
                "this is a Kubernetes indexed job (JOB_COMPLETION_INDEX is set), but not of how "
                "many; set JOB_COMPLETIONS in the job, too, or give `shard`"
            )
        return _shard(env, "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS")
    return WHOLE


def _slurm(env: Mapping[str, str]) -> Shard:
    """Tasks of an array, times the tasks that srun started in each."""
    shard = WHOLE
    if "SLURM_ARRAY_TASK_ID" in env:
        step = _number(env, "SLURM_ARRAY_TASK_STEP", "1")
        first = _number(env, "SLURM_ARRAY_TASK_MIN", "0")
        shard = _shard(env, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", first, step)
    if "SLURM_STEP_NUM_TASKS" in env:  # set by srun alone: a batch script is one process
        inner = _shard(env, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
        shard = Shard(shard.number * inner.of + inner.number, shard.of * inner.of)
    return shard


def _shard(
    env: Mapping[str, str], index_name: str, count_name: str, first: int = 0, step: int = 1
) -> Shard:
    index, count = (_number(env, index_name) - first) // step, _number(env, count_name)
    if not 0 <= index < count:
        raise UsageError(
            f"{index_name} is {env[index_name]}, which is none of {count} shards; give `shard` "
            "instead"
        )
    return Shard(index, count)


def _number(env: Mapping[str, str], name: str, default: str = "") -> int:
    text = env.get(name, default)
    if not text.isdecimal():
        raise UsageError(f'{name} is "{text}" where a number is needed; give `shard` instead')
    return int(text)
