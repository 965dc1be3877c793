"""What a run consists of: `manifest.jsonl`, a line for every line of its prompt file.

A prompt's id is a hash over what its graph depends on: the prompt, the settings, the weights of the
model and of the dictionary. So the same prompt traced in the same way has the same id in every run,
and a line that repeats an earlier one is the same graph: it is traced once, under the first line,
with the first id and the tags and roles of all. The manifest is a prompt file itself;
`batch manifest.jsonl` traces it all again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from circuit_tracer.batch.prompt_file import BadLine, PromptFile, PromptLine, joined
from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.graphs.files.json_values import to_json, whole_text
from circuit_tracer.reading import readable

MANIFEST_FILE = "manifest.jsonl"
_DIGITS = 32


@dataclass(frozen=True, kw_only=True)
class Entry(PromptLine):
    """One prompt of a run, or one bad line, whose `prompt` is how it begins."""

    key: str
    """The prompt's id; of a bad line a hash of the line."""
    wrong: str = ""
    """What is wrong with a bad line; "" for a prompt."""
    repeats: int = 0
    """Further lines with the same prompt and settings."""


def entries_of(file: PromptFile, settings: Mapping[str, Any]) -> list[Entry]:
    """The entries of a prompt file, by line; `settings` is all that the graphs depend on."""
    entries: dict[str, Entry] = {}
    for line in file.prompts:
        key = prompt_key(line, settings)
        first = entries.get(key)
        if first is None:
            entries[key] = Entry(**vars(line), key=key)
        else:
            entries[key] = replace(
                first,
                name=first.name or line.name,
                roles=tuple({**dict(line.roles), **dict(first.roles)}.items()),
                tags=tuple(dict.fromkeys((*first.tags, *line.tags))),
                repeats=first.repeats + 1,
            )
    bad = [_bad_entry(line) for line in file.bad]
    return sorted([*entries.values(), *bad], key=lambda entry: entry.line)


def prompt_key(line: PromptLine, settings: Mapping[str, Any]) -> str:
    """The id of a prompt: 32 hexadecimal digits."""
    what: dict[str, Any] = {
        "prompt": line.prompt,
        "targets": line.targets,
        "contrast": line.contrast,
    }
    if line.reasoning:  # two transcripts may say the same and be labelled otherwise
        fields = ("name", "messages", "reasoning", "answer", "watch", "label")
        what |= {name: getattr(line, name) for name in fields}
    text = json.dumps({**what, "settings": settings}, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _bad_entry(bad: BadLine) -> Entry:
    text = whole_text(bad.text)
    digest = hashlib.sha256(f"{bad.line}\0{text}\0{bad.message}".encode()).hexdigest()
    return Entry(key=digest[:_DIGITS], line=bad.line, prompt=text, wrong=bad.message)


def write_manifest(folder: Path, entries: Iterable[Entry]) -> None:
    """Write it whole or not at all, in place of an earlier one. Raises OutputError."""
    with (
        new_file(folder / MANIFEST_FILE, overwrite=True) as path,
        path.open("w", encoding="utf-8") as file,
    ):
        file.writelines(to_json(_record(entry)) + "\n" for entry in entries)


def _record(entry: Entry) -> dict[str, Any]:
    """An entry as a line of a prompt file, without empty fields and with the names of one."""
    record = {"key": entry.key, **asdict(entry), "roles": dict(entry.roles)}
    record["watch"] = dict(entry.watch)
    record["messages"] = [{"role": role, "content": text} for role, text in entry.messages]
    if entry.messages:
        del record["prompt"]
    record["id"] = record.pop("name")
    if entry.wrong:
        record["line_text"] = record.pop("prompt")  # so that it is no prompt if read as one
    return {name: value for name, value in record.items() if value not in ("", (), [], {}, None, 0)}


def read_manifest(folder: Path) -> list[Entry]:
    """What `write_manifest` wrote. Raises GraphFileError when it is missing or damaged."""
    path = folder / MANIFEST_FILE
    advice = "remove it and start the command again that wrote the folder"
    with readable(path, GraphFileError, advice, problem="is damaged"), path.open("rb") as file:
        return [_read(json.loads(line)) for line in file]


def _read(record: dict[str, Any]) -> Entry:
    turns = tuple((turn["role"], turn["content"]) for turn in record.get("messages", ()))
    return Entry(
        key=record["key"],
        line=record["line"],
        prompt=joined(turns) or record.get("prompt", record.get("line_text", "")),
        name=record.get("id", ""),
        targets=tuple(record.get("targets", ())),
        contrast=record.get("contrast"),
        roles=tuple(record.get("roles", {}).items()),
        tags=tuple(record.get("tags", ())),
        messages=turns,
        **{name: record.get(name, "") for name in ("reasoning", "answer", "label")},
        watch=tuple(record.get("watch", {}).items()),
        wrong=record.get("wrong", ""),
        repeats=record.get("repeats", 0),
    )
