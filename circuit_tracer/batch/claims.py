"""Claims: which process works on what, by locks that die with their process.

One file of the store, one byte of it for every thing that can be claimed (`fcntl` record locks).
The kernel drops a process's locks however it ends, kill -9 included, so nothing is ever stale, and
network file systems know them, too. Where a file system has no locks every claim is granted; then
only shards keep processes apart.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_TAKEN = (errno.EAGAIN, errno.EACCES)


class Claims:
    """The claims of this process. Open the file once a process: closing it drops them all."""

    def __init__(self, path: Path) -> None:
        self.work = fcntl is not None
        """False where the file system has no locks."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, thing: str) -> bool:
        """Claim a thing; False if another process has it."""
        if self.work:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _place(thing))
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
                self.work = False
        return True

    def drop(self, thing: str) -> None:
        """Let others have it."""
        if self.work:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _place(thing))

    def close(self) -> None:
        """Drop everything."""
        os.close(self._file)


def _place(thing: str) -> int:
    """A byte of the file; two things at one byte would merely wait for each other."""
    return int.from_bytes(hashlib.sha256(thing.encode()).digest()[:6])
