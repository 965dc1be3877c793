"""Write a folder or a file whole or not at all.

The caller writes into a sibling whose name starts with a dot; on success everything is flushed to
disk and renamed into place, on failure it is removed. An old result is only replaced at the end.
(Dot-names also keep `pyarrow.dataset` from reading half-written files: formats.md.)
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuit_tracer.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_REASONS = {
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTEMPTY: "something else wrote there meanwhile",
    errno.EEXIST: "something else wrote there meanwhile",
}


@contextmanager
def new_folder(
    path: Path | str, overwrite: bool = False, *, marker: str = "trace.json"
) -> Iterator[Path]:
    """A fresh folder to write into; it becomes `path` when the block ends without an exception.

    An empty folder at `path` counts as free. With `overwrite`, a folder that holds a file named
    `marker` (so: an earlier result, not somebody's home) is replaced at the end. Raises
    OutputError when the place is taken or cannot be written to, also when the disk fills up
    inside the block.
    """
    final = Path(os.path.abspath(path)).resolve()
    partial = _sibling(final, "partial")
    with _translated(final):
        _check_free_folder(final, overwrite, marker)
        made = _make_parents(final)
    try:
        with _translated(final):
            partial.mkdir()
        with _translated(final, only=_FULL):
            yield partial
        with _translated(final):
            _sync_tree(partial)
            _check_free_folder(final, overwrite, marker)
            _swap(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def new_file(path: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """A path to write one file to; it becomes `path` when the block ends without an exception.

    Raises OutputError as `new_folder` does.
    """
    final = Path(os.path.abspath(path)).resolve()
    partial = _sibling(final, f"partial{final.suffix}")
    with _translated(final):
        _check_free_file(final, overwrite)
        made = _make_parents(final)
    try:
        with _translated(final):
            partial.touch()
        with _translated(final, only=_FULL):
            yield partial
        with _translated(final):
            _sync(partial)
            _check_free_file(final, overwrite)
            os.replace(partial, final)
            _sync(final.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _check_free_file(final: Path, overwrite: bool) -> None:
    if final.is_dir():
        raise OutputError(f"{final} is a folder: give the name of a file to write.")
    if final.exists() and not overwrite:
        raise OutputError(f"{final} exists already: choose another name or pass --overwrite.")


def _check_free_folder(final: Path, overwrite: bool, marker: str) -> None:
    if not os.path.lexists(final):
        return
    if not final.is_dir():
        raise OutputError(f"{final} is a file: choose another name for the output folder.")
    if not any(final.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{final} exists already: choose another folder or pass --overwrite.")
    if not (final / marker).is_file():
        raise OutputError(
            f"{final} holds no {marker}, so it is no earlier result and is left"
            " alone: choose another folder."
        )


@contextmanager
def _translated(final: Path, *, only: Container[int] | None = None) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence.

    In the caller's own block only those that must be ours: it may fail to read something else.
    """
    try:
        yield
    except OSError as e:
        number = e.errno or 0
        if only is not None and number not in only:
            raise
        reason = _REASONS.get(number, e.strerror or str(e))
        raise OutputError(f"Cannot write {final}: {reason}; choose another place.") from e


def _sibling(final: Path, ending: str) -> Path:
    return final.parent / f".{final.name[:100]}.{uuid.uuid4().hex[:8]}.{ending}"


def _make_parents(final: Path) -> list[Path]:
    """Create the missing parents; returns them innermost first, for undoing."""
    missing = []
    folder = final.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
    final.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _swap(partial: Path, final: Path) -> None:
    """Rename into place; the old folder steps aside first and comes back if that fails."""
    if not final.exists() or not any(final.iterdir()):
        os.replace(partial, final)
        _sync(final.parent)
        return
    old = _sibling(final, "old")
    os.replace(final, old)
    try:
        os.replace(partial, final)
    except OSError:
        os.replace(old, final)
        raise
    _sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            _sync(Path(place) / name)
        _sync(Path(place))


def _sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
