"""Which share a process works on, as schedulers say it."""

from __future__ import annotations

import pytest

from circuit_tracer.batch.shards import Shard, parse_shard, shard_here
from circuit_tracer.errors import UsageError

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost"}
ARRAY = {
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "14",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_STEP": "2",
    "SLURM_ARRAY_TASK_COUNT": "5",
}
STEP = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, Shard(0, 1)),
        (TORCHRUN, Shard(2, 4)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, Shard(0, 1)),  # some other program's
        (ARRAY, Shard(2, 5)),
        ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Shard(0, 1)),
        ({"SLURM_JOB_ID": "7", **STEP}, Shard(1, 3)),
        ({**ARRAY, **STEP}, Shard(7, 15)),
        ({**ARRAY, **TORCHRUN}, Shard(2, 5)),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "8"}, Shard(3, 8)),
    ],
)
def test_the_environment_tells(environment: dict[str, str], shard: Shard) -> None:
    assert shard_here(environment) == shard


@pytest.mark.parametrize(
    "environment",
    [
        {"JOB_COMPLETION_INDEX": "3"},
        {"JOB_COMPLETION_INDEX": "8", "JOB_COMPLETIONS": "8"},
        {**TORCHRUN, "RANK": "x"},
        {"SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"},
    ],
)
def test_half_of_what_is_needed_is_an_error(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        shard_here(environment)


@pytest.mark.parametrize("text", ["", "1", "8/8", "-1/8", "0/0", "a/b", "1/2/3"])
def test_shards_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError):
        parse_shard(text)


def test_shards_are_disjoint_and_whole() -> None:
    shards = [parse_shard(f"{i}/3") for i in range(3)]
    for group in range(20):
        assert sum(shard.has(group) for shard in shards) == 1
