"""Prompt files: every line becomes a prompt or a bad line with its number; none stops the others.

| ending | what a line is |
| --- | --- |
| .txt | a prompt; empty lines are passed over |
| .jsonl, .ndjson | an object with `prompt`, and optionally `id, targets, contrast, roles, tags` |
| .csv | columns of those names; lists as JSON, or with | between their parts |
| .parquet | columns of those names |

Fields of other names are passed over, so that the prompt files that ship can be traced as they are.
Nothing here needs a model: a file is read and checked before one is opened.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from circuit_tracer.errors import UsageError

PromptFileFormat = Literal["txt", "jsonl", "csv", "parquet"]
FORMATS: tuple[PromptFileFormat, ...] = get_args(PromptFileFormat)
_ENDINGS: dict[str, PromptFileFormat] = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
LONGEST_NAME = 200
"""Characters of a prompt's own id."""


@dataclass(frozen=True)
class PromptLine:
    """One prompt and what its line says about it."""

    line: int
    """Number in the file, from 1; of a Parquet file the row, from 1."""
    prompt: str
    name: str = ""
    """The line's own `id`; "" without one."""
    targets: tuple[str, ...] = ()
    contrast: str | None = None
    roles: tuple[tuple[str, str | int], ...] = ()
    """(name, token or position) of each."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadLine:
    """A line that is no prompt, and why."""

    line: int
    text: str
    """How it begins."""
    message: str
    """One sentence that names the line."""


@dataclass(frozen=True)
class PromptFile:
    """All lines of a file, in its order."""

    prompts: tuple[PromptLine, ...]
    bad: tuple[BadLine, ...]


class _NoPromptError(Exception):
    """What is wrong with a line, without its number."""


def read_prompts(path: Path | str, *, format: PromptFileFormat | None = None) -> PromptFile:
    """Read a prompt file; its ending tells the format unless one is given.

    Raises UsageError when it cannot be read at all or holds no prompt.
    """
    path = Path(path)
    found = format or _ENDINGS.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            f"what {path} is does not follow from its name; call it .txt, .jsonl, .csv or "
            f".parquet, or give --file-format {', '.join(FORMATS)}"
        )
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UsageError(
            f"the prompt file {path} cannot be read ({e.strerror or e}); give another"
        ) from e
    return parse_prompts(content, found, str(path))


def parse_prompts(
    content: bytes, format: PromptFileFormat | None, name: str = "stdin"
) -> PromptFile:
    """The same of a file's content; without a format it is JSON lines or plain text."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if format is None:
        format = "jsonl" if content.lstrip()[:1] == b"{" else "txt"
    prompts: list[PromptLine] = []
    bad: list[BadLine] = []
    names: dict[str, int] = {}
    for line, text, found in _lines(content, format, name):
        try:
            if isinstance(found, _NoPromptError):
                raise found
            one = _checked(line, found)
            if one.name and one.name in names:
                raise _NoPromptError(f'has the id "{one.name}" of line {names[one.name]} again')
        except _NoPromptError as e:
            bad.append(BadLine(line, text[:LONGEST_NAME], f"line {line} of {name} {e}"))
            continue
        if one.name:
            names[one.name] = line
        prompts.append(one)
    if not prompts:
        why = f" ({bad[0].message})" if bad else ""
        raise UsageError(f"{name} holds no prompt{why}; write one a line")
    return PromptFile(tuple(prompts), tuple(bad))


_Line = tuple[int, str, "Mapping[str, Any] | _NoPromptError"]


def _lines(content: bytes, format: PromptFileFormat, name: str) -> Iterator[_Line]:
    """(number, how it begins, its fields or what is wrong) of every line that is not empty."""
    if format == "parquet":
        return _parquet_rows(content, name)
    if format == "csv":
        return _csv_rows(content, name)
    return (_text_line(i, raw, format) for i, raw in _split(content) if raw.strip())


def _split(content: bytes) -> Iterable[tuple[int, bytes]]:
    return enumerate((line.removesuffix(b"\r") for line in content.split(b"\n")), start=1)


def _text_line(line: int, raw: bytes, format: PromptFileFormat) -> _Line:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return line, raw.decode("utf-8", "replace"), _NoPromptError("is not UTF-8; save it as that")
    if format == "txt":
        return line, text, {"prompt": text}
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as e:
        return line, text, _NoPromptError(f"is no JSON ({e}); mend it")
    if not isinstance(record, dict):
        return line, text, _NoPromptError('is no object; write {"prompt": "..."}')
    return line, text, record


def _csv_rows(content: bytes, name: str) -> Iterator[_Line]:
    """Quoted fields may hold line ends; a row has the number of its last line."""
    text = content.decode("utf-8", "replace")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="\0more")
    if "prompt" not in (reader.fieldnames or ()):
        raise UsageError(f"{name} has no column prompt; name the columns in its first line")
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as e:
            # Not counted yet; a quote that is never closed takes all lines behind it along.
            yield reader.line_num + 1, "", _NoPromptError(f"is no CSV ({e}); mend its quotes")
            continue
        begins = ",".join(str(value) for value in row.values())
        if "\0more" in row:
            wrong = _NoPromptError("has more fields than the first line names; quote commas")
            yield reader.line_num, begins, wrong
        elif "\ufffd" in begins:
            yield reader.line_num, begins, _NoPromptError("is not UTF-8; save it as that")
        else:
            yield reader.line_num, begins, {key: _cell(key, row[key]) for key in row if row[key]}


def _cell(column: str, text: str) -> Any:
    """Lists and roles of a CSV cell."""
    if column in ("targets", "tags") and not text.lstrip().startswith("["):
        return text.split("|")
    if column in ("targets", "tags", "roles"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text  # of the wrong type, which is said then
    return text


def _parquet_rows(content: bytes, name: str) -> Iterator[_Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        columns = [field for field in _FIELDS if field in file.schema_arrow.names]
        if "prompt" not in columns:
            raise UsageError(f"{name} has no column prompt; name one of its columns so")
        rows = file.read(columns=columns).to_pylist()
    except (OSError, pa.ArrowException) as e:
        first = (str(e).splitlines() or [""])[0]
        raise UsageError(f"{name} cannot be read as Parquet ({first}); write it again") from e
    for number, row in enumerate(rows, start=1):
        given = {key: value for key, value in row.items() if value is not None}
        if isinstance(given.get("roles"), list):  # a map column
            given["roles"] = dict(given["roles"])
        elif isinstance(given.get("roles"), dict):  # a struct column has every name in every row
            given["roles"] = {k: v for k, v in given["roles"].items() if v is not None}
        yield number, str(row.get("prompt")), given


_FIELDS = ("id", "prompt", "targets", "contrast", "roles", "tags")


def _checked(line: int, record: Mapping[str, Any]) -> PromptLine:
    """The line's fields, each of its type. Raises _NoPromptError."""
    if "prompt" not in record:
        raise _NoPromptError("has no prompt; add the field")
    targets = _texts(record, "targets")
    contrast = None if record.get("contrast") is None else _text(record, "contrast")
    if targets and contrast:
        raise _NoPromptError("has both targets and contrast; give one of them")
    return PromptLine(
        line=line,
        prompt=_text(record, "prompt"),
        name=_name(record),
        targets=targets,
        contrast=contrast,
        roles=_roles(record),
        tags=_texts(record, "tags"),
    )


def _text(record: Mapping[str, Any], field: str) -> str:
    value = record[field]
    if not isinstance(value, str):
        raise _NoPromptError(f"has a {field} that is no text; put it in quotes")
    if not value.strip():
        raise _NoPromptError(f"has an empty {field}; fill it in or leave the line out")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _NoPromptError(f"has a {field} with half a character; type it again") from None
    return value


def _name(record: Mapping[str, Any]) -> str:
    value = record.get("id")
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    name = _text(record, "id")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise _NoPromptError(f"has an id that is none: at most {LONGEST_NAME} printable characters")
    return name


def _texts(record: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = record.get(field)
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        raise _NoPromptError(f"has {field} that are no list of texts; write them so")
    return tuple(dict.fromkeys(_text({field: one}, field) for one in values))


def _roles(record: Mapping[str, Any]) -> tuple[tuple[str, str | int], ...]:
    value = record.get("roles")
    if value is None:
        return ()
    right = isinstance(value, Mapping) and all(
        isinstance(place, (str, int)) and not isinstance(place, bool) for place in value.values()
    )
    if not right:
        raise _NoPromptError(
            'has roles that are none; give each name a token or a position: {"object": "banana"}'
        )
    return tuple((_text({"role": name}, "role"), place) for name, place in value.items())
