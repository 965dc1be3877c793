"""Inspect's `.eval` logs as transcripts, read by Inspect's own reader (extra `inspect`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from circuit_tracer.batch.prompt_formats import Line
from circuit_tracer.errors import UsageError, reason


def inspect_lines(path: Path) -> Iterator[Line]:
    """Every sample as a record of transcript_file.py: its messages, up to and with the answer that
    a scorer found there; `label` and `watch` of its metadata.

    Raises UsageError without Inspect, and for a file that it does not read.
    """
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as e:
        raise UsageError(
            f'{path} is a log of Inspect: pip install "circuit-tracer-cli[inspect]" reads it, or '
            "write its transcripts as JSON lines"
        ) from e
    if not path.is_file():
        raise UsageError(f"{path} is missing; give a .jsonl or .eval file of transcripts")
    try:
        samples = read_eval_log(str(path), resolve_attachments=True).samples or []
    except Exception as e:  # Inspect raises whatever its zip, JSON and models do
        raise UsageError(f"Inspect cannot read {path} ({reason(e)}); give another log") from e
    epochs = max((sample.epoch for sample in samples), default=1)
    for number, sample in enumerate(samples, start=1):
        name = f"{sample.id}-{sample.epoch}" if epochs > 1 else str(sample.id)
        record: dict[str, Any] = {"id": name, "messages": _messages(sample)}
        facts = sample.metadata or {}
        record |= {key: facts[key] for key in ("label", "watch") if key in facts}
        yield number, name, record


def _messages(sample: Any) -> list[dict[str, str]]:
    """Up to the model's last message, with reasoning as Inspect writes it in text."""
    turns = [{"role": one.role, "content": _text(one)} for one in sample.messages]
    while turns and turns[-1]["role"] != "assistant":
        del turns[-1]
    scores = (sample.scores or {}).values()
    answer = next((one.answer for one in scores if one.answer), None)
    if turns and answer:
        text = turns[-1]["content"]
        end = _end_of(answer, text)
        if "</think>" in text[:end] or "<think>" not in text:
            turns[-1]["content"] = text[:end]
    return turns


def _end_of(answer: str, text: str) -> int:
    """Where it ends in a text the last time, as a word where it is one somewhere ("3" is no part of
    13); the text's end where it is not there."""
    word = rf"(?<!\w){re.escape(answer)}(?!\w)"
    ends = [one.end() for one in re.finditer(word, text)]
    at = text.rfind(answer)
    return ends[-1] if ends else at + len(answer) if at >= 0 else len(text)


def _text(message: Any) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = (
        f"<think>\n{part.reasoning}\n</think>\n\n" if part.type == "reasoning" else part.text
        for part in message.content
        if part.type in ("reasoning", "text")
    )
    return "".join(parts)
