"""Transcript files: what a model was asked, what it wrote before its answer, and the answer.

A line is `{id, prompt, reasoning, answer}` or `{id, messages}`, with `watch` ({name: expression}),
`label` and `tags` where there are some; of `messages` the last is the model's own. Text between
`<think>` and `</think>` is the reasoning, and stays where it stood; so is the `reasoning` or
`reasoning_content` of that message. Inspect's `.eval` logs are read
by Inspect itself (inspect_log.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from circuit_tracer.batch.inspect_log import inspect_lines
from circuit_tracer.batch.prompt_file import (
    PromptFile,
    PromptLine,
    checked_lines,
    joined,
    name_of,
    text_of,
    texts_of,
)
from circuit_tracer.batch.prompt_formats import BadRecordError, json_lines
from circuit_tracer.errors import UsageError
from circuit_tracer.expressions import Expression
from circuit_tracer.reading import read_bytes

FIELDS = ("id", "prompt", "messages", "reasoning", "answer", "watch", "label", "tags")
_THINK = re.compile(r"\s*(?:<think>)?\s*(.*?)(\s*</think>.*)", re.DOTALL)
"""The opening, which a chat template may have written, the notes, the closing with the answer."""


def read_transcripts(path: Path, labels: Mapping[str, str]) -> PromptFile:
    """The lines of a transcript file; `labels` maps what a line may be labelled to what that means.

    Raises UsageError when it cannot be read at all or holds no transcript.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a .jsonl or .eval file")
    if path.suffix == ".eval":
        lines = inspect_lines(path)
    else:
        content = read_bytes(path, UsageError, "give a .jsonl or .eval file of transcripts")
        if content.startswith((b"PK\x03\x04", b"PAR1")):
            raise UsageError(f"{path} is no text; give JSON lines, or a log that is called .eval")
        lines = json_lines(content.removeprefix(b"\xef\xbb\xbf"), str(path))
    return checked_lines(lines, partial(_checked, labels), str(path), FIELDS)


def _checked(labels: Mapping[str, str], line: int, record: Mapping[str, Any]) -> PromptLine:
    """The line's fields, each of its type. Raises BadRecordError."""
    given = _apart({name: value for name, value in record.items() if value is not None})
    if ("prompt" in given) == ("messages" in given):
        raise BadRecordError("must have either prompt or messages; give one of them")
    turns = _turns(given["messages"]) if "messages" in given else (("", text_of(given, "prompt")),)
    own = "reasoning" in given
    if turns[-1][0] == "assistant" and not own:
        if "answer" in given:
            raise BadRecordError("has an answer beside the model's own message; keep one of them")
        if len(turns) == 1:
            raise BadRecordError("has messages of the model alone; add what it was asked")
        *before, (_, text) = turns
        turns = tuple(before)
    elif "answer" in given:
        text = text_of(given, "answer")
    else:
        raise BadRecordError("has no answer; add the field, or end messages with the model's own")
    reasoning = text_of(given, "reasoning") if own else ""
    if not own:
        turns, reasoning, text = _thought(turns, text)
    label = text_of(given, "label") if "label" in given else ""
    if label and label not in labels:
        raise BadRecordError(f'has the label "{label:.60}"; give one of {", ".join(labels)}')
    return PromptLine(
        line=line,
        prompt=joined(turns),
        name=name_of(given),
        tags=texts_of(given, "tags"),
        messages=turns if "messages" in given else (),
        reasoning=reasoning,
        answer=text,
        watch=_watch(given.get("watch", {})),
        label=labels.get(label, ""),
    )


def _apart(given: dict[str, Any]) -> dict[str, Any]:
    """The fields, where the model's own message has its reasoning in a field beside the answer, as
    servers send it, with both as the line's own."""
    match given.get("messages"):
        case [*turns, {"role": "assistant", **own}] if "reasoning" not in given:
            thought = own.get("reasoning_content") or own.get("reasoning")
            if turns and thought and "answer" not in given:
                answer = _content({"content": own.get("content") or ""})
                return given | {"messages": turns, "reasoning": thought, "answer": answer}
    return given


def _turns(value: Any) -> tuple[tuple[str, str], ...]:
    """Messages as (role, text); of content in parts the text. Raises BadRecordError."""
    try:
        turns = tuple((text_of(one, "role"), _content(one)) for one in value)
    except (KeyError, TypeError, AttributeError):
        turns = ()
    if not turns:
        raise BadRecordError(
            'has messages that are none; write [{"role": "user", "content": "..."}, ...]'
        )
    return turns


def _content(message: Mapping[str, Any]) -> str:
    value = message["content"]
    if isinstance(value, list):
        value = "".join(part["text"] for part in value if part["type"] == "text")
    return text_of({"content": value}, "content", may_be_blank=True)


def _thought(
    turns: tuple[tuple[str, str], ...], text: str
) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """What the model wrote, parted into its notes and what comes after; the opening mark goes to
    what was before them. Raises BadRecordError where there are no notes."""
    found = _THINK.fullmatch(text)
    if found is None or not found[1]:
        raise BadRecordError("has no reasoning; add the field, or <think>...</think> to the answer")
    if not found[2].partition("</think>")[2].strip():
        raise BadRecordError("has no answer after </think>; leave the line out")
    opening = text[: found.start(1)]
    if turns[-1][0]:
        return (*turns, ("assistant", opening)), found[1], found[2]
    return (("", f"{turns[-1][1].rstrip()} {opening}"),), found[1], found[2]


def _watch(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise BadRecordError('has "watch" that is none; write {"name": "expression"}')
    found = tuple((name, text_of(value, name)) for name in value)
    for name, expression in found:
        try:
            Expression(expression, "watch")
        except UsageError as e:
            raise BadRecordError(f'watches "{name:.60}": {e}') from None
    return found
