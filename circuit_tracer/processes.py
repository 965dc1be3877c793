"""How many processes run this command together, as `torchrun` numbers them. Imports nothing heavy.

All of them compute; only the first prints results and writes files.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
"""glibc's names for what `mallopt` sets."""
_LARGEST_IN_HEAP = 32 << 20
"""Bytes of the largest block that glibc ever puts into its heap by itself."""


@dataclass(frozen=True)
class Processes:
    """This process among those that `torchrun` started."""

    rank: int
    """0 is the one that prints and writes."""
    count: int


def processes() -> Processes:
    """What `torchrun` set; one process where it did not start this one."""
    values = [os.environ.get(name, "") for name in _TORCHRUN]
    if not all(values) or not all(value.isdecimal() for value in values[:3]):
        return Processes(rank=0, count=1)
    return Processes(rank=int(values[0]), count=int(values[1]))


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return processes().rank == 0


def reuse_memory(*, at_most: int | None = None) -> None:
    """Let large blocks that are freed be taken again instead of going back to the system.

    glibc maps and unmaps every block of some megabytes; a sweep makes thousands of them and would
    spend a fifth of its time on pages being zeroed. With `at_most` so many bytes stay at the heap's
    end, and the largest blocks go back as before: for work of hours, which would fill a heap of
    whatever size. Does nothing where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    if at_most is None:
        library.mallopt(_M_MMAP_MAX, 0)
    else:
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1 if at_most is None else at_most)
