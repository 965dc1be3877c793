"""Prompt files: every line becomes a prompt or a bad line with its number; none stops the others.

The formats: docs/batch.md. Fields of other names are ignored, so that the prompt files that ship
can be traced as they are; a name that is nearly a field's is noted. A file is read and checked
before a model is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from circuit_tracer.batch.prompt_formats import (
    FIELDS,
    BadRecordError,
    Line,
    csv_rows,
    json_lines,
    parquet_rows,
    text_lines,
)
from circuit_tracer.errors import UsageError, reason

PromptFileFormat = Literal["txt", "jsonl", "csv", "parquet"]
FORMATS: tuple[PromptFileFormat, ...] = get_args(PromptFileFormat)
_ENDINGS: dict[str, PromptFileFormat] = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
logger = logging.getLogger(__name__)

NEAR = 0.8
"""How like a field (of 1) a name must be that is taken for a slip: "target", "tag", "labels"."""
LONGEST_NAME = 200
"""Characters of a prompt's own id."""
LARGEST = 1 << 63
"""Numbers of this size fit into no table."""


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
    messages: tuple[tuple[str, str], ...] = ()
    """(role, text) of a transcript's turns before its notes; `prompt` is their texts in one."""
    reasoning: str = ""
    """A transcript's notes (transcript_file.py); "" of a mere prompt."""
    answer: str = ""
    watch: tuple[tuple[str, str], ...] = ()
    """(name, expression) of each span of the prompt that is watched."""
    label: str = ""


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


def joined(messages: Iterable[tuple[str, str]]) -> str:
    """The texts of (role, text) in one, as a model without a chat template reads them."""
    return " ".join(text for _, text in messages if text)


def read_prompts(path: Path | str, *, format: PromptFileFormat | None = None) -> PromptFile:
    """Read a prompt file; its ending tells the format unless one is given.

    Raises UsageError when it cannot be read at all or holds no prompt.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a prompt file in it, such as {path / 'x.txt'}")
    format = format or _ENDINGS.get(path.suffix.lower())
    if format is None:
        raise UsageError(
            f"what {path} is does not follow from its name; call it .txt, .jsonl, .csv or "
            f".parquet, or give `file_format` {', '.join(FORMATS)}"
        )
    try:
        content = path.read_bytes()
    except OSError as e:
        raise UsageError(
            f"the prompt file {path} cannot be read ({reason(e)}); give another"
        ) from e
    return parse_prompts(content, format, str(path))


def read_roles(path: Path | str) -> dict[str, dict[str, str | int]]:
    """Prompt -> its roles, of a file in JSON lines. Raises UsageError that names a wrong line."""
    file = read_prompts(path, format="jsonl")
    if file.bad:
        raise UsageError(file.bad[0].message)
    roles = {line.prompt.strip(): dict(line.roles) for line in file.prompts if line.roles}
    if not roles:
        raise UsageError(
            f"{path} gives no roles; write lines such as "
            '{"prompt": "a banana is", "roles": {"object": "banana"}}'
        )
    return roles


def parse_prompts(
    content: bytes, format: PromptFileFormat | None, name: str = "stdin"
) -> PromptFile:
    """The prompts in a file's content; without a format it is what it begins like."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    format = format or _format_of(content)
    return checked_lines(_READERS[format](content, name), _checked, name, FIELDS)


def checked_lines(
    lines: Iterable[Line],
    checked: Callable[[int, Mapping[str, Any]], PromptLine],
    name: str,
    fields: Sequence[str],
) -> PromptFile:
    """Lines by what `checked` makes of each record, of which `fields` mean something; what it
    refuses is a bad line."""
    prompts: list[PromptLine] = []
    bad: list[BadLine] = []
    names: dict[str, int] = {}
    seen = set(fields)
    for line, text, record in lines:
        try:
            if isinstance(record, BadRecordError):
                raise record
            for field in record.keys() - seen:
                seen.add(field)
                if near := get_close_matches(field, fields, n=1, cutoff=NEAR):
                    logger.info(f'line {line} of {name}: "{field}" is ignored; is it "{near[0]}"?')
            prompt = checked(line, record)
            if prompt.name and names.setdefault(prompt.name, line) != line:
                first = names[prompt.name]
                raise BadRecordError(f'has the id "{prompt.name}" of line {first} again')
            prompts.append(prompt)
        except BadRecordError as e:
            bad.append(BadLine(line, text[:LONGEST_NAME], f"line {line} of {name} {e}"))
    if not prompts:
        why = f" ({bad[0].message})" if bad else ""
        raise UsageError(f"{name} holds no prompt{why}; write one a line")
    return PromptFile(tuple(prompts), tuple(bad))


_READERS = {"txt": text_lines, "jsonl": json_lines, "csv": csv_rows, "parquet": parquet_rows}


def _format_of(content: bytes) -> PromptFileFormat:
    if content.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if content.lstrip()[:1] == b"{" else "txt"


def _checked(line: int, record: Mapping[str, Any]) -> PromptLine:
    """The line's fields, each of its type. Raises BadRecordError."""
    if "prompt" not in record:
        raise BadRecordError("has no prompt; add the field")
    targets = texts_of(record, "targets")
    given = record.get("contrast") is not None
    contrast = text_of(record, "contrast", may_be_blank=True) if given else None
    if targets and contrast:
        raise BadRecordError("has both targets and contrast; give one of them")
    return PromptLine(
        line=line,
        prompt=text_of(record, "prompt"),
        name=name_of(record),
        targets=targets,
        contrast=contrast,
        roles=_roles(record),
        tags=texts_of(record, "tags"),
    )


def text_of(record: Mapping[str, Any], field: str, *, may_be_blank: bool = False) -> str:
    """A field that is text. Raises BadRecordError, and KeyError where it is missing."""
    value = record[field]
    if not isinstance(value, str):
        raise BadRecordError(f'has something other than text as "{field}"; write it as text')
    if not (value if may_be_blank else value.strip()):
        raise BadRecordError(f'has an empty "{field}"; fill it in or leave the line out')
    if "\0" in value:
        raise BadRecordError(f'has a null byte in "{field}"; save the file as text in UTF-8')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRecordError(f'has half a character in "{field}"; type it again') from None
    return value


def name_of(record: Mapping[str, Any]) -> str:
    """The line's own id; "" without one. Raises BadRecordError."""
    value = record.get("id")
    if value is None:
        return ""
    if _is_number(value):
        return str(value)
    name = text_of(record, "id")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRecordError(f"has an id that is none: at most {LONGEST_NAME} printable characters")
    return name


def texts_of(record: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """A field that is a list of texts, or one text. Raises BadRecordError."""
    value = record.get(field)
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)):
        raise BadRecordError(f'has "{field}" that are no list of texts; write them so')
    # A target may be a line end or a blank, which are tokens, too.
    is_token = field == "targets"
    return tuple(
        dict.fromkeys(text_of({field: text}, field, may_be_blank=is_token) for text in values)
    )


def _roles(record: Mapping[str, Any]) -> tuple[tuple[str, str | int], ...]:
    value = record.get("roles")
    if value is None:
        return ()
    if not isinstance(value, Mapping) or not all(
        isinstance(place, str) or _is_number(place) for place in value.values()
    ):
        raise BadRecordError(
            'has roles that are none; give each name a token or a position: {"object": "banana"}'
        )
    return tuple((text_of({"role": name}, "role"), place) for name, place in value.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
