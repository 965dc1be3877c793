"""Which share of a run this process works on: i of N, told or found in the environment.

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
from typing import NamedTuple

from circuit_tracer.errors import UsageError


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


def parse_shard(text: str) -> Shard:
    """ "3/8": the fourth of eight. Raises UsageError."""
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if match is None:
        raise UsageError(f'--shard "{text}" is none; give a number and how many, as in 0/8')
    index, count = int(match[1]), int(match[2])
    if not index < count:
        raise UsageError(f"--shard {text} does not exist: {count} shards go from 0 to {count - 1}")
    return Shard(index, count)


def shard_here(environment: Mapping[str, str] | None = None) -> Shard:
    """The shard that the scheduler gave this process; the whole where there is none.

    Raises UsageError where a variable is there without the others that it needs.
    """
    env = os.environ if environment is None else environment
    if "SLURM_JOB_ID" in env:
        return _slurm(env)
    if "RANK" in env and "WORLD_SIZE" in env and "MASTER_ADDR" in env:
        return _checked(env, "RANK", _number(env, "RANK"), _number(env, "WORLD_SIZE"))
    if "JOB_COMPLETION_INDEX" in env:
        if "JOB_COMPLETIONS" not in env:
            raise UsageError(
                "this is a Kubernetes indexed job (JOB_COMPLETION_INDEX is set), but not of how "
                "many; set JOB_COMPLETIONS in the job, too, or give --shard"
            )
        index, count = _number(env, "JOB_COMPLETION_INDEX"), _number(env, "JOB_COMPLETIONS")
        return _checked(env, "JOB_COMPLETION_INDEX", index, count)
    return WHOLE


def _slurm(env: Mapping[str, str]) -> Shard:
    """Tasks of an array, times the tasks that srun started in each."""
    shard = WHOLE
    if "SLURM_ARRAY_TASK_ID" in env:
        step = _number(env, "SLURM_ARRAY_TASK_STEP", 1)
        first = _number(env, "SLURM_ARRAY_TASK_MIN", 0)
        index = (_number(env, "SLURM_ARRAY_TASK_ID") - first) // step
        shard = _checked(env, "SLURM_ARRAY_TASK_ID", index, _number(env, "SLURM_ARRAY_TASK_COUNT"))
    if "SLURM_STEP_NUM_TASKS" in env:  # set by srun alone: a batch script is one process
        count = _number(env, "SLURM_STEP_NUM_TASKS")
        inner = _checked(env, "SLURM_PROCID", _number(env, "SLURM_PROCID"), count)
        shard = Shard(shard.number * count + inner.number, shard.of * count)
    return shard


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UsageError(f'{name} is "{text}" where a number is needed; give --shard instead')
    return int(text)


def _checked(env: Mapping[str, str], name: str, index: int, count: int) -> Shard:
    if not 0 <= index < count:
        raise UsageError(
            f"{name} is {env.get(name)}, which is none of {count} shards; give --shard instead"
        )
    return Shard(index, count)
