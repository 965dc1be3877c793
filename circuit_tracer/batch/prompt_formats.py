"""The lines of a prompt file of each format, as records that nobody has checked yet.

A `BadRecordError` stands in the place of what is no record, so that it is reported with its number
and stops nothing else. Content that has no lines at all raises UsageError.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.reading import readable

FIELDS = ("id", "prompt", "targets", "contrast", "roles", "tags")
_NOT_UTF8 = "is not UTF-8; save it as that"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
"""How text in UTF-16 begins."""
_MORE = "\0more"
"""Where a row keeps the fields that its first line does not name."""


class BadRecordError(Exception):
    """What is wrong with a line, without its number."""


Line = tuple[int, str, "Mapping[str, Any] | BadRecordError"]
"""(number from 1, how it begins, its fields or what is wrong)"""


def text_lines(content: bytes, name: str) -> Iterator[Line]:
    """Every line that is not blank is a prompt."""
    for line, text, wrong in _decoded(content, name):
        yield line, text, wrong or {"prompt": text}


def json_lines(content: bytes, name: str) -> Iterator[Line]:
    """Every line that is not blank is an object."""
    if content.lstrip()[:1] == b"[" and _is_json(content):
        raise UsageError(f"{name} is one JSON list; write its objects without it, one a line")
    for line, text, wrong in _decoded(content, name):
        yield line, text, wrong or _json(text)


def _is_json(content: bytes) -> bool:
    """Whether all of it is one list, and not a first line that is one."""
    try:
        return isinstance(json.loads(content), list) and b"{" in content
    except (ValueError, RecursionError):
        return False


def _decoded(content: bytes, name: str) -> Iterator[tuple[int, str, BadRecordError | None]]:
    _check_narrow(content, name)
    for line, raw in enumerate(content.split(b"\n"), start=1):
        raw = raw.removesuffix(b"\r")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            yield line, raw.decode("utf-8", "replace"), BadRecordError(_NOT_UTF8)
            continue
        if text.strip():
            yield line, text, None


def _check_narrow(content: bytes, name: str) -> None:
    if content.startswith(_WIDE):
        raise UsageError(f"{name} is text in UTF-16; save it as UTF-8")


def _json(text: str) -> Mapping[str, Any] | BadRecordError:
    try:
        record = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as e:
        return BadRecordError(f"is no JSON ({e.msg} at character {e.pos + 1}); fix it")
    except BadRecordError as e:
        return e
    except (ValueError, RecursionError):
        return BadRecordError("is no JSON that can be read (too deep, or too long a number)")
    if not isinstance(record, dict):
        return BadRecordError('is no object; write {"prompt": "..."}')
    return record


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ; of two values one would be lost without a word."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRecordError(f"has {twice!r:.60} twice; keep one")
    return record


def csv_rows(content: bytes, name: str) -> Iterator[Line]:
    """Quoted fields may hold line ends; a row has the number of its last line.

    Where a quote is not closed rightly, the lines up to the next one (or the end) are one field.
    What they were meant to be is unknown, so that each of them is a bad line.
    """
    _check_narrow(content, name)
    # Bytes that are no UTF-8 become halves of characters, which spoil their own row alone.
    text = content.decode("utf-8", "surrogateescape")
    lines = _Lines(text)
    with _long_fields(len(text)):
        reader = csv.DictReader(lines, strict=True, restkey=_MORE)
        try:
            _check_columns(reader.fieldnames or (), name)
        except csv.Error as e:
            raise UsageError(
                f"the first line of {name} is no CSV ({reason(e)}); fix its quotes"
            ) from e
        while True:
            lines.taken.clear()
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as e:
                yield from _swallowed(lines, e)
                continue
            if record := _row(row):
                yield lines.number, _shown(",".join(map(str, row.values()))), record


class _Lines(Iterator[str]):
    """The lines of a text, and those that the row at hand has taken."""

    def __init__(self, text: str) -> None:
        self.lines = io.StringIO(text, newline="")
        self.number = 0
        self.taken: list[str] = []

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        self.taken.append(line)
        return line


@contextmanager
def _long_fields(most: int) -> Iterator[None]:
    """Let fields be as long as the file: csv's own bound ends a field in its middle."""
    before = csv.field_size_limit(max(most, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _swallowed(lines: _Lines, error: csv.Error) -> Iterator[Line]:
    """A row that is no CSV, and every line that its quotes took along."""
    numbered = enumerate(lines.taken, start=lines.number - len(lines.taken) + 1)
    (first, begins), *others = [(number, line) for number, line in numbered if line.strip()]
    why = f"is no CSV ({reason(error)}); fix it"
    if "unexpected end" in str(error):
        why = "has a quote that is never closed; close it"
    elif "expected after" in str(error):
        why = "goes on after a closing quote; write a quote inside a field twice"
    yield first, _shown(begins.rstrip("\r\n")), BadRecordError(why)
    for number, line in others:
        wrong = BadRecordError(f"is inside the quote that line {first} opens; fix that one")
        yield number, _shown(line.rstrip("\r\n")), wrong


def _row(row: Mapping[str, Any]) -> Mapping[str, Any] | BadRecordError | None:
    """A row's cells; None where all of them are empty, as spreadsheets write them at the end."""
    text = "".join(part for cell in row.values() for part in cell or ())
    if not text:
        return None
    if _MORE in row:
        return BadRecordError("has more fields than the first line names; quote commas")
    if any("\ud800" <= character <= "\udfff" for character in text):
        return BadRecordError(_NOT_UTF8)
    return {key: _cell(key, cell) for key, cell in row.items() if cell}


def _shown(text: str) -> str:
    """With a mark for every byte that is no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _cell(column: str, text: str) -> Any:
    """Lists and roles of a CSV cell."""
    if column in ("targets", "tags") and not text.lstrip().startswith("["):
        return text.split("|")
    if column not in ("targets", "tags", "roles"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # of the wrong type, which is reported then


def _check_columns(columns: Sequence[str], name: str) -> None:
    if not columns:
        raise UsageError(f"{name} is empty; name the columns in its first line, prompt among them")
    if "prompt" not in columns:
        named = _shown(", ".join(f'"{column}"' for column in columns))
        raise UsageError(
            f"{name} has no column prompt; its columns are {named:.100}: call one of them so"
        )
    twice = next((field for field in FIELDS if list(columns).count(field) > 1), None)
    if twice is not None:
        raise UsageError(f"{name} has two columns {twice}; keep one")


def parquet_rows(content: bytes, name: str) -> Iterator[Line]:
    """Rows, of the columns that mean something."""
    problem, damage = "cannot be read as Parquet", (pa.ArrowException,)
    with readable(name, UsageError, "write it again", problem=problem, also=damage):
        file = pq.ParquetFile(pa.BufferReader(content))
        _check_columns(file.schema_arrow.names, name)
        columns = [field for field in FIELDS if field in file.schema_arrow.names]
        rows = file.read(columns=columns).to_pylist()
    for number, row in enumerate(rows, start=1):
        given = {key: value for key, value in row.items() if value is not None}
        if isinstance(given.get("roles"), list | dict):  # a struct column has every name everywhere
            roles = dict(given["roles"])
            given["roles"] = {role: place for role, place in roles.items() if place is not None}
        yield number, str(row.get("prompt")), given
