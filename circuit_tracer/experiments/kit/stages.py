"""What an experiment keeps on disk: finished stages, so that a run that was killed goes on where it
was, and a table of every measurement.

A stage is one JSON file in `stages/`, written whole or not at all when the stage is done, under the
key of everything that it depends on: spec, model, dictionary, settings, version of the tool. Stages
under another key are of another experiment and are neither used nor mixed in.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_tracer.errors import OutputError
from circuit_tracer.experiments.kit.page import MEASUREMENTS_FILE
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.graphs.files.json_values import from_plain, number, to_json
from circuit_tracer.reading import UNREADABLE
from circuit_tracer.versions import versions

STAGES = "stages"
T = TypeVar("T")


def stage_key(**facts: Any) -> str:
    """The key of everything that a stage depends on; versions are added to what is given."""
    return hashlib.sha256(to_json({**facts, "versions": versions()}).encode()).hexdigest()[:16]


class StageStore:
    """The finished stages of one experiment."""

    def __init__(self, folder: Path, key: str, command: str) -> None:
        """`folder` is the report's of this command; nothing is read or written yet."""
        self.folder, self.key, self.command = folder / STAGES, key, command
        self.seconds: dict[str, float] = {}
        """Wall time by stage, of this run or of the one that measured it."""

    def stage(self, name: str, kind: type[T], measure: Callable[[], T]) -> T:
        """The stage's result: read if it is there, else measured and stored.

        `kind` is a dataclass of plain values and arrays. Raises OutputError where the stage cannot
        be written.
        """
        path = self.folder / f"{name}.json"
        record = _read(path)
        if record is not None and record.get("key") == self.key:
            try:
                found = from_plain(kind, record["result"])
                self._count(name, float(record["seconds"]))
            except UNREADABLE:
                pass  # damaged: rerun
            else:
                return found
        start = time.perf_counter()
        found = measure()
        seconds = time.perf_counter() - start
        self._count(name, seconds)
        whose = {"key": self.key, "command": self.command}
        text = to_json({**whose, "seconds": seconds, "result": found})
        with new_file(path, overwrite=True) as file:
            file.write_text(text, encoding="utf-8")
        return found

    def _count(self, name: str, seconds: float) -> None:
        stage = name.partition("/")[0]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def check(self) -> None:
        """Raise OutputError where the folder holds stages of another experiment."""
        for path in sorted(self.folder.rglob("*.json")):
            record = _read(path)
            if record is not None and record.get("key", self.key) != self.key:
                raise OutputError(
                    f"{self.folder.parent} holds another experiment (another spec, model, "
                    "dictionary or settings, or `quick`); add `overwrite` to replace it, or choose "
                    "another folder with `name`"
                )


def holds_stages(folder: Path, command: str) -> bool:
    """Whether a report folder has stages, and among them nothing that is not this command's.

    A damaged stage counts as its own, and so do one of a version that did not say whose it is, and
    the dot-files of a killed run.
    """
    stages = folder / STAGES
    files = [path for path in stages.rglob("*") if path.is_file() and path.name[0] != "."]
    return stages.is_dir() and all(
        path.suffix == ".json" and _is_of(_read(path), command) for path in files
    )


def _is_of(record: dict[str, Any] | None, command: str) -> bool:
    return not record or ("key" in record and record.get("command", command) == command)


def _read(path: Path) -> dict[str, Any] | None:
    """The record of a stage; None for none, and for what cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except UNREADABLE:
        return None
    return record if isinstance(record, dict) else None


Row = dict[str, Any]
"""By column; what a row does not have is null."""
_KINDS = {"layer": pa.int32(), "head": pa.int32(), "half": pa.int32(), "feature": pa.int32()}


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], folder: Path) -> None:
    """The table, in the report folder: `value` as float64, layers and the like whole, else text."""
    kinds = {**_KINDS, "value": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    table: dict[str, list[Any]] = {name: [] for name in columns}
    for row in rows:
        for name, column in table.items():
            column.append(row.get(name))
    table["value"] = [number(value) for value in table["value"]]  # as JSON, null is NaN
    with new_file(folder / MEASUREMENTS_FILE, overwrite=True) as file:
        pq.write_table(pa.table(table, schema=schema), file, compression="zstd")
