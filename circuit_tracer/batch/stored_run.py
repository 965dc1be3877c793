"""Read a run: its graphs as a table, any one of them as a graph. Imports neither torch nor models.

    run = open_run("outputs/capitals")
    run.graphs.select(["id", "prompt", "answer", "completeness"])
    pruned = run.graph("capitals-01")

What a run is made of: docs/batch.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from circuit_tracer.batch.manifest import Entry, read_manifest
from circuit_tracer.batch.parts import LAST, opened_part, part_path, parts_of, read_part
from circuit_tracer.batch.run_file import RUN_FILE, RunInfo, read_run
from circuit_tracer.batch.schemas import schema
from circuit_tracer.batch.state import failures_of
from circuit_tracer.batch.tables import LISTED, graph_of, listed_as
from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.graphs.pruning import PrunedGraph

_PART = "part"
_SHORT = [name for name in schema(LAST).names if name != "info"]
"""What a table of many prompts needs; `info` is a page of JSON a prompt."""


def is_run(path: Path | str) -> bool:
    """Whether a folder is a run."""
    return (Path(path) / RUN_FILE).is_file()


def open_run(path: Path | str) -> Run:
    """A run by its folder. Raises GraphFileError when it is none, or is damaged."""
    folder = Path(path)
    return Run(folder, read_run(folder, RunInfo))


class Run:
    """A stored run, as far as it has come. Tables are read when they are first asked for."""

    def __init__(self, folder: Path, info: RunInfo) -> None:
        self.folder = folder
        self.info = info
        self._has_doubles = False

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @cached_property
    def entries(self) -> list[Entry]:
        """What the run consists of, by line, bad lines included."""
        return read_manifest(self.folder)

    @cached_property
    def graphs(self) -> pa.Table:
        """One row a traced prompt, by line: id, line, name, prompt, tags, roles, tokens, targets,
        answer, probability, scores, sizes (docs/batch.md)."""
        return self._graphs.drop_columns([_PART])

    @cached_property
    def failures(self) -> pa.Table:
        """One row a prompt without a graph, by line: its last attempt."""
        keys = {entry.key for entry in self.entries}
        found = failures_of(self.folder, keys, set(self.graphs.column("id").to_pylist()))
        return self._as_listed(found).sort_by([("line", "ascending")])

    @cached_property
    def _graphs(self) -> pa.Table:
        """All columns but the long one, and the part that each row is in; a prompt once, however
        often it is there (only file systems without locks let two processes trace the same)."""
        tables = []
        for name in parts_of(self.folder, LAST):
            part = read_part(part_path(self.folder, LAST, name), _SHORT)
            part = part.replace_schema_metadata(None)
            tables.append(part.append_column(_PART, pa.repeat(name, len(part))))
        if not tables:
            return schema(LAST).append(pa.field(_PART, pa.string())).empty_table().drop(["info"])
        whole = pa.concat_tables(tables)
        first: dict[str, int] = {}
        for row, key in enumerate(whole.column("id").to_pylist()):
            first.setdefault(key, row)
        self._has_doubles = len(whole) > len(first)
        return self._as_listed(whole.take(list(first.values()))).sort_by([("line", "ascending")])

    def _as_listed(self, rows: pa.Table) -> pa.Table:
        """With what the manifest says of each prompt now: a line may have come before it, or a tag
        have been added, since its row was written."""
        known = {entry.key: listed_as(entry) for entry in self.entries}
        keys = rows.column("id").to_pylist()
        for name in (one for one in LISTED if one in rows.column_names):
            own, field = rows.column(name).to_pylist(), rows.field(name)
            pairs = zip(keys, own, strict=True)
            values = [known[key][name] if key in known else one for key, one in pairs]
            if values != own:
                at = rows.column_names.index(name)
                rows = rows.set_column(at, field, pa.array(values, field.type))
        return rows

    def own_name(self, key: str) -> str | None:
        """What the prompt file calls a prompt, if it does."""
        rows = self._graphs.select(["id", "name"]).to_pylist()
        name: str | None = {row["id"]: row["name"] for row in rows}[key]
        return name

    def find(self, which: str) -> str:
        """The id of a prompt by its id (or how it begins), its own name, line or text.

        Raises UsageError when there is none, or more than one.
        """
        table = self._graphs.select(["id", "name", "line", "prompt"]).to_pylist()
        for matches in (
            lambda row: which in (row["id"], row["name"]) and which != "",
            lambda row: which in (str(row["line"]), row["prompt"].strip()),
            lambda row: len(which) >= 4 and row["id"].startswith(which),
        ):
            keys = [str(row["id"]) for row in table if matches(row)]
            if len(keys) == 1:
                return keys[0]
            if keys:
                raise UsageError(f'"{which}" is {len(keys)} prompts of {self.name}; give an id')
        raise UsageError(
            f'{self.name} has no graph of "{which}"; give an id, a name, a line number or a prompt '
            "(circuit-tracer runs show lists them)"
        )

    def graph(self, which: str) -> PrunedGraph:
        """One prompt's graph, everything that was stored of it, by what `find` takes."""
        key = self.find(which)
        row = self._graphs.column("id").to_pylist().index(key)
        name = self._graphs.column(_PART)[row].as_py()
        parts = (read_part(self._part(table, name)) for table in (LAST, "nodes", "edges"))
        record, nodes, edges = (part.filter(pc.equal(part.column("id"), key)) for part in parts)
        return graph_of(record.to_pylist()[0], nodes, edges)

    def rows(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of `nodes`, `edges`, `paths` or `heads` that belong to a traced prompt."""
        tables = []
        names = {} if table == "heads" and not self.info.heads else self._keys_by_part
        for name, keys in names.items():
            part = read_part(self._part(table, name), columns)
            if self._has_doubles:
                part = part.filter(pc.is_in(part.column("id"), pa.array(keys)))
            tables.append(part)
        if tables:
            return pa.concat_tables(tables)
        wanted = columns or ["id"] if table in ("nodes", "edges") else schema(table).names
        empty = pa.table({name: [] for name in wanted})
        return empty if columns is None else empty.select(list(columns))

    def _part(self, table: str, name: str) -> Path:
        """A part of a table that belongs to one of `graphs`. GraphFileError if it is gone."""
        path = part_path(self.folder, table, name)
        if not path.is_file():
            raise GraphFileError(
                f"{path} is missing; remove the part of that name from {self.folder / LAST} and "
                "start the same batch command again"
            )
        return path

    @cached_property
    def _keys_by_part(self) -> dict[str, list[str]]:
        keys: dict[str, list[str]] = {}
        rows = self._graphs.select([_PART, "id"]).to_pydict()
        for name, key in zip(rows[_PART], rows["id"], strict=True):
            keys.setdefault(name, []).append(key)
        return keys

    def made(self) -> list[dict[str, Any]]:
        """When each part was begun and written, where, and how many prompts it holds."""
        records = []
        for name in parts_of(self.folder, LAST):
            with opened_part(part_path(self.folder, LAST, name)) as file:
                about = file.schema_arrow.metadata or {}
                record = {k.decode(): v.decode() for k, v in about.items() if k != b"ARROW:schema"}
                records.append({**record, "prompts": file.metadata.num_rows})
        return records
