"""Folders that are whole or not there: written under a dot-name, then moved into place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circuit_tracer.errors import OutputError


@contextmanager
def whole_folder(target: Path, *, marker: str) -> Iterator[Path]:
    """A new folder that takes `target`'s place when the block ends without an exception.

    An older folder of ours (one that holds the file `marker`) is replaced; anything else that is
    not empty is left alone and raises OutputError, as does a disk that is full or read-only.
    """
    if target.is_file() or (
        target.is_dir() and any(target.iterdir()) and not (target / marker).is_file()
    ):
        raise OutputError(
            f"{target} already holds something that is not ours (it has no {marker}); "
            "give another place"
        )
    fresh = target.parent / f".{target.name}.{os.getpid()}.partial"
    old = target.parent / f".{target.name}.{os.getpid()}.old"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        for file in fresh.iterdir():
            _flush(file)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error.strerror or error}; free some space or give "
            "another place"
        ) from error
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
