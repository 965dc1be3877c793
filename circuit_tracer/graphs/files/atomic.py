"""Write a folder or a file whole or not at all.

The caller writes into a sibling whose name starts with a dot; on success everything is flushed to
disk and renamed into place, on failure it is removed. An old result is only replaced at the end.
(Dot-names also keep `pyarrow.dataset` from reading half-written files.)
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuit_tracer.errors import OutputError, reason

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
    errno.ELOOP: "its links lead in a circle",
}
_TOGETHER = ("trace.json", "nodes.parquet", "edges.parquet")
"""What a traced folder is made of: never replaced one by one."""
_STALE = 24 * 3600
"""Seconds after which a half-written sibling is left over from a killed process."""


@contextmanager
def new_folder(
    path: Path | str,
    overwrite: bool = False,
    *,
    marker: str = "trace.json",
    ours: Collection[str] = (),
) -> Iterator[Path]:
    """A fresh folder to write into; it becomes `path` when the block ends without an exception.

    An empty folder at `path` counts as free. With `overwrite`, a folder that holds a file named
    `marker` (so: an earlier result, not somebody's home) is replaced at the end. `ours` names
    what an earlier result may hold: everything else at the top of the old folder was put there by
    the user and is carried over; without `ours` nothing is. What `bring_back` finds is there first.
    Raises OutputError when the place is taken or cannot be written to, also when the disk fills up
    inside the block.
    """
    final = resolved(path)
    partial = _sibling(final, "partial")
    with _translated(final):
        bring_back(final, ours)
        _remove_stale(final)
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
            _swap(partial, final, ours)
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
    final = resolved(path)
    partial = _sibling(final, f"partial{final.suffix}")
    with _translated(final):
        _remove_stale(final)
        _check_free_file(final, overwrite)
        made = _make_parents(final)
    try:
        with _translated(final):
            partial.touch()
        with _translated(final, only=_FULL):
            yield partial
        with _translated(final):
            sync(partial)
            _check_free_file(final, overwrite)
            os.replace(partial, final)
            sync(final.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def resolved(path: Path | str) -> Path:
    """The absolute path, all links resolved; raises OutputError for one that can be none."""
    absolute = Path(os.path.abspath(path))
    with _translated(absolute):
        try:
            final = absolute.resolve()
            final.exists()  # a name may be too long
        except RuntimeError as e:  # what Python 3.12 and before says of a circle of links
            raise OSError(errno.ELOOP, "links lead in a circle") from e
        # later ones resolve as far as they can
        if any(place.is_symlink() for place in (final, *final.parents)):
            raise OSError(errno.ELOOP, "links lead in a circle")
    return final


def _taken(final: Path) -> str:
    return f"{final} is there already; add `overwrite` to replace it, or choose another name"


def _check_free_file(final: Path, overwrite: bool) -> None:
    if final.is_dir():
        raise OutputError(f"{final} is a folder; give the name of a file to write")
    if os.path.lexists(final) and not final.is_file():
        raise OutputError(f"{final} is no regular file, so it is left alone; choose another name")
    if final.name in _TOGETHER and (final.parent / _TOGETHER[0]).is_file():
        raise OutputError(
            f"{final} is a part of the graph in that folder, which would be lost; choose another "
            "name"
        )
    if final.exists() and not overwrite:
        raise OutputError(_taken(final))


def _check_free_folder(final: Path, overwrite: bool, marker: str) -> None:
    if not os.path.lexists(final):
        return
    if not final.is_dir():
        raise OutputError(f"{final} is a file; choose another name for the output folder")
    if not any(final.iterdir()):
        return
    if not overwrite:
        raise OutputError(_taken(final))
    if not (final / marker).is_file():
        raise OutputError(
            f"{final} holds no {marker}, so it is no earlier result and is left alone; choose "
            "another folder"
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
        raise OutputError(
            f"cannot write {final}: {why_not_written(e)}; choose another place"
        ) from e


def why_not_written(error: OSError) -> str:
    """Why the operating system refused, in a few words."""
    return _REASONS.get(error.errno or 0, reason(error))


def _sibling(final: Path, ending: str) -> Path:
    return final.parent / f".{final.name[:100]}.{uuid.uuid4().hex[:8]}.{ending}"


def _remove_stale(final: Path) -> None:
    """Remove what is left over from a process that was killed while writing to the same name."""
    pattern = re.compile(re.escape(f".{final.name[:100]}.") + r"[0-9a-f]{8}\.partial(\..*)?")
    with suppress(OSError):
        for entry in list(os.scandir(final.parent)):
            if not pattern.fullmatch(entry.name):
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < _STALE:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


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


def bring_back(final: Path, ours: Collection[str] = ()) -> None:
    """Finish what a process that was killed while replacing a folder had begun: the name is free,
    but the new folder lies whole beside it, the old one, too. `ours` as for `new_folder`."""
    if os.path.lexists(final) or (ready := _left_over(final, "ready")) is None:
        return
    old = _left_over(final, "old")
    if old is not None and ours:
        for name in _others(old, ready, ours):
            os.rename(old / name, ready / name)
    os.replace(ready, final)
    sync(final.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _left_over(final: Path, ending: str) -> Path | None:
    """The latest such sibling."""
    found = final.parent.glob(f".{glob.escape(final.name[:100])}.{'[0-9a-f]' * 8}.{ending}")
    return max(found, key=lambda one: one.stat().st_mtime, default=None)


def _swap(partial: Path, final: Path, ours: Collection[str]) -> None:
    """Rename into place; the old folder steps aside first and comes back if that fails.

    The user's own entries move over in between, and back again if need be. While they do, the new
    folder has a name that `_remove_stale` leaves alone, should the process be killed; `bring_back`
    goes on from there.
    """
    if not final.exists() or not any(final.iterdir()):
        os.replace(partial, final)
        sync(final.parent)
        return
    others = _others(final, partial, ours) if ours else []
    old, ready = _sibling(final, "old"), _sibling(final, "ready")
    os.replace(partial, ready)
    try:
        os.replace(final, old)
        try:
            for name in others:
                os.rename(old / name, ready / name)
            os.replace(ready, final)
        except BaseException:
            for name in others:
                if os.path.lexists(ready / name):
                    os.rename(ready / name, old / name)
            os.replace(old, final)
            raise
    except BaseException:
        os.replace(ready, partial)
        raise
    sync(final.parent)
    os.replace(old, partial)  # stale from here on, should the process be killed
    shutil.rmtree(partial, ignore_errors=True)


def _others(old: Path, fresh: Path, ours: Collection[str]) -> list[str]:
    """What lies in the old folder and is neither the tool's nor in the new one."""
    return [n for n in os.listdir(old) if n not in ours and not os.path.lexists(fresh / n)]


def _sync_tree(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place) / name)
        sync(Path(place))


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
