"""The files of a run's tables: written whole or not at all, and in an order that a crash respects.

A part is one Parquet file in each table's folder, all of one name. Each is written to a dot-name,
flushed to disk and renamed; the part of the last table (`graphs`) comes when the others are on
disk. So a prompt whose row of it is there has all its rows, and parts without one there are what a
killed process left: readers ignore them, and the next run removes them. A process claims a
part's name before it writes (claims.py), so that nobody removes what is being written.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_tracer.batch.claims import Claims
from circuit_tracer.batch.schemas import FAILURES, GRAPH_TABLES
from circuit_tracer.errors import GraphFileError, OutputError, reason
from circuit_tracer.graphs.files.atomic import sync, why_not_written

LAST = GRAPH_TABLES[-1]
_NAME = re.compile(r"part-([0-9a-f]{16})\.parquet")
_PARTIAL = re.compile(r"\.part-([0-9a-f]{16})\.[0-9a-f]{8}\.partial")
_STALE = 24 * 3600
"""Seconds after which, without locks, a file that is not finished never will be."""


def part_name(keys: Sequence[str]) -> str:
    """The name of the part that holds these prompts."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


def part_path(run: Path, table: str, name: str) -> Path:
    """One of its files."""
    return run / table / f"part-{name}.parquet"


def parts_of(run: Path, table: str) -> list[str]:
    """The names of a table's parts, sorted; [] if it has no folder yet."""
    try:
        files = os.listdir(run / table)
    except FileNotFoundError:
        return []
    return sorted(match[1] for match in map(_NAME.fullmatch, files) if match)


def write_part(
    run: Path,
    name: str,
    tables: Mapping[str, pa.Table],
    claims: Claims,
    *,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write one part of several tables, in their order. Raises OutputError (a full disk, ...).

    `about` goes into the metadata of the last table's file.
    """
    if not claims.take(_claim(name)):
        return  # another process holds the very same prompts and is writing them
    try:
        with writable(run, "what is done is safe, and the same command goes on once there is room"):
            *others, last = tables
            for table in others:
                _write(part_path(run, table, name), tables[table])
            for table in others:
                sync(run / table)
            metadata = dict(about) if about else tables[last].schema.metadata
            _write(part_path(run, last, name), tables[last].replace_schema_metadata(metadata))
            sync(run / last)
    finally:
        claims.drop(_claim(name))


def _write(path: Path, table: pa.Table) -> None:
    """Through Python's own file, whose errors have numbers."""
    partial = path.with_name(f".{path.stem}.{uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def writable(run: Path, remedy: str = "make room there or choose another place") -> Iterator[None]:
    """The operating system's refusals as an OutputError with a remedy."""
    try:
        yield
    except OSError as e:
        raise OutputError(f"cannot write to {run}: {why_not_written(e)}; {remedy}") from e


def remove_unfinished(run: Path, claims: Claims, tables: Sequence[str] = GRAPH_TABLES) -> None:
    """Remove the files of parts that were never finished and that nobody is writing.

    `tables` are the run's in the order in which they are written.
    """
    last = tables[-1]
    for table in (*tables, FAILURES):
        finished = None if table in (last, FAILURES) else set(parts_of(run, last))
        with suppress(FileNotFoundError):
            for file in list(os.scandir(run / table)):
                part = _NAME.fullmatch(file.name)
                orphan = part is not None and finished is not None and part[1] not in finished
                unfinished = part if orphan else _PARTIAL.fullmatch(file.name)
                if unfinished:
                    done = part_path(run, last, unfinished[1]) if orphan else None
                    _remove(Path(file.path), unfinished[1], claims, done)


def _remove(path: Path, name: str, claims: Claims, done: Path | None) -> None:
    if not claims.take(_claim(name)):
        return
    try:
        if done is not None and done.exists():
            return  # finished in between
        with suppress(FileNotFoundError):
            if claims.work or time.time() - path.stat().st_mtime > _STALE:
                path.unlink()
    finally:
        claims.drop(_claim(name))


def _claim(name: str) -> str:
    return f"part {name}"


@contextmanager
def opened_part(path: Path) -> Iterator[pq.ParquetFile]:
    """A part to read from. Raises GraphFileError, with what to do, for a damaged one."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError) as e:
        raise GraphFileError(
            f"{path} is damaged ({reason(e)}); remove it and start the command again that "
            "wrote the folder, which does what was in it again"
        ) from e


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a part, of some columns."""
    with opened_part(path) as file:
        return file.read(columns=None if columns is None else list(columns))
