"""The store of a `monitor` run: a row a transcript, in the run store that `batch` has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from circuit_tracer.batch.kinds import Kind, Made, Rows
from circuit_tracer.batch.manifest import Entry
from circuit_tracer.batch.parts import part_path, parts_of, read_part
from circuit_tracer.batch.run_file import RunFacts
from circuit_tracer.batch.schemas import schema_of
from circuit_tracer.batch.tables import Failed
from circuit_tracer.batch.tracing import Group, Plan, or_failed, plan
from circuit_tracer.errors import GraphFileError
from circuit_tracer.experiments.steps.monitor.measure import Measures, Written
from circuit_tracer.experiments.steps.monitor.results import COLUMNS, Measured
from circuit_tracer.models.chat import turns_text

TABLE = "transcripts"
_OPENED, _CLOSED = re.compile(r"\s*<think>\s*$"), re.compile(r"^\s*</think>\s*")


@dataclass(frozen=True, kw_only=True)
class MonitorRun(RunFacts):
    """What all transcripts of a run share; `settings` are those of `Measures`."""

    command = "monitor"
    plain = ()


@dataclass(frozen=True)
class _Row:
    """One run's row of the store."""

    entry: Entry
    record: dict[str, Any]
    n_edges: int = 0
    sweeping: float = 0.0

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def nbytes(self) -> int:
        return len(self.record["report"])


class Transcripts(Kind):
    """A row a transcript."""

    tables = (TABLE,)

    def __init__(self, measures: Measures) -> None:
        self.measures = measures

    def plan(self, entries: Sequence[Entry]) -> Plan:
        """Groups as those of prompts, though each run has a pass of its own."""
        return plan(entries, lambda entry: self.measures.read(self._written(entry))[0].n_tokens)

    def made(self, group: Group[Entry], wanted: set[str]) -> Iterator[Made | Failed]:
        """One after the other."""
        for entry in group.members:
            if entry.key in wanted:
                yield or_failed(entry, partial(self._row, entry))

    def rows(self, made: Made) -> Rows:
        """As it is."""
        assert isinstance(made, _Row)
        return made

    def part(self, rows: Sequence[Rows]) -> dict[str, pa.Table]:
        """The one table."""
        records = [one.record for one in rows if isinstance(one, _Row)]
        return {TABLE: pa.Table.from_pylist(records, schema=schema_of(COLUMNS))}

    def _row(self, entry: Entry) -> _Row:
        facts = {"id": entry.key} | {
            name: getattr(entry, name) for name in ("line", "name", "label", "prompt", "reasoning")
        }
        return _Row(entry, facts | self.measures(self._written(entry)))

    def _written(self, entry: Entry) -> Written:
        """Its texts as the model read them: without a chat template there are no marks around
        reasoning either."""
        turns, prompt, answer = list(entry.messages), entry.prompt, entry.answer
        tokenizer = self.measures.model.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            prompt, answer = _OPENED.sub("", prompt), _CLOSED.sub("", answer)
        elif turns:
            begun = turns.pop()[1] if turns[-1][0] == "assistant" else ""
            asked = [{"role": role, "content": text} for role, text in turns]
            prompt = turns_text(tokenizer, asked) + begun
        return Written(prompt, entry.reasoning, answer, dict(entry.watch), bool(entry.label))


def rows_of(folder: Path, entries: Sequence[Entry]) -> list[Measured]:
    """All rows of these by line, which may have moved since they were written; each once.

    Raises GraphFileError for rows with other columns.
    """
    lines = {entry.key: entry.line for entry in entries}
    columns = [name for name in schema_of(COLUMNS).names if name != "report"]
    parts = [read_part(part_path(folder, TABLE, one), columns) for one in parts_of(folder, TABLE)]
    if any(part.num_columns < len(columns) for part in parts):
        raise GraphFileError(
            f"{folder} has rows of another version of this program, which lack what is measured "
            "now; give `--overwrite`, or another `--name`"
        )
    records = {row["id"]: row for part in parts for row in part.to_pylist()}
    lists = ("direct", "chained", "quoted")
    found = [
        Measured(**{**row, **{name: tuple(row[name]) for name in lists}, "line": lines[key]})
        for key, row in records.items()
        if key in lines
    ]
    return sorted(found, key=lambda one: one.line)
