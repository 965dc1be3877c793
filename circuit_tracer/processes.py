"""How many processes run this command together, as `torchrun` tells them. Imports nothing heavy.

All of them compute; only the first prints results and writes files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """This process among those that `torchrun` started."""

    rank: int
    """0 is the one that prints and writes."""
    count: int


def processes() -> Processes:
    """What `torchrun` says; one process where it did not start this one."""
    values = [os.environ.get(name, "") for name in _TORCHRUN]
    if not all(values) or not all(value.isdecimal() for value in values[:3]):
        return Processes(rank=0, count=1)
    return Processes(rank=int(values[0]), count=int(values[1]))


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return processes().rank == 0
