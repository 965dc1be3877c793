"""Transcript files: forms a line may have, what is wrong with others, and Inspect's logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from circuit_tracer.batch.manifest import entries_of, read_manifest, write_manifest
from circuit_tracer.batch.prompt_file import PromptFile
from circuit_tracer.batch.transcript_file import read_transcripts
from circuit_tracer.errors import UsageError
from tests.batch.inspect_writing import THOUGHT, write_log

LABELS = {"compute": "notes carry it", "decorative": "decorative"}
USER = {"role": "user", "content": "2 plus 2 :"}
THINKING = "<think>\n2 plus 2 is 4 .\n</think>\n\n4"


def read(path: Path, *lines: Any) -> PromptFile:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return read_transcripts(path, LABELS)


@pytest.mark.parametrize(
    "line",
    [
        {"messages": [USER, {"role": "assistant", "content": THINKING}]},
        {"messages": [USER], "answer": THINKING},
        {
            "messages": [
                USER,
                {"role": "assistant", "content": [{"type": "text", "text": THINKING}]},
            ]
        },
        {
            "messages": [USER, {"role": "assistant", "content": "<think>\n"}],
            "reasoning": "2 plus 2 is 4 .",
            "answer": "\n</think>\n\n4",
        },
    ],
)
def test_reasoning_stays_where_the_model_wrote_it(tmp_path: Path, line: dict[str, Any]) -> None:
    (found,) = read(tmp_path / "a.jsonl", line).prompts
    assert found.messages == (("user", "2 plus 2 :"), ("assistant", "<think>\n"))
    assert (found.reasoning, found.answer) == ("2 plus 2 is 4 .", "\n</think>\n\n4")


def test_plain_fields_and_what_belongs_to_others(tmp_path: Path) -> None:
    line = {"id": 7, "prompt": "p", "reasoning": "r", "answer": "a", "label": "compute", "x": 1}
    (found,) = read(tmp_path / "a.jsonl", {**line, "watch": {"key": "(p)"}}).prompts
    assert (found.name, found.prompt, found.reasoning, found.answer) == ("7", "p", "r", "a")
    assert (found.label, found.watch) == ("notes carry it", (("key", "(p)"),))
    (thought,) = read(tmp_path / "a.jsonl", {"prompt": "p", "answer": THINKING}).prompts
    assert (thought.prompt, thought.messages) == ("p <think>\n", ())


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("content", ["4", [{"type": "text", "text": "4"}]])
def test_reasoning_may_stand_beside_the_answer_in_the_models_message(
    tmp_path: Path, field: str, content: Any
) -> None:
    own = {"role": "assistant", field: "2 plus 2 is 4 .", "content": content}
    (found,) = read(tmp_path / "a.jsonl", {"messages": [USER, own]}).prompts
    assert found.messages == (("user", "2 plus 2 :"),)
    assert (found.reasoning, found.answer) == ("2 plus 2 is 4 .", "4")


def test_a_manifest_is_a_transcript_file(tmp_path: Path) -> None:
    file = read(
        tmp_path / "a.jsonl",
        {"id": "m", "messages": [USER, {"role": "assistant", "content": THINKING}]},
        {"prompt": "p", "reasoning": "r", "answer": "a", "watch": {"k": "p"}, "label": "compute"},
    )
    entries = entries_of(file, {})
    write_manifest(tmp_path, entries)
    assert read_manifest(tmp_path) == entries
    labels = LABELS | {label: label for label in LABELS.values()}
    again = read_transcripts(tmp_path / "manifest.jsonl", labels)
    assert again == file


def test_ids_differ_by_what_a_row_depends_on(tmp_path: Path) -> None:
    line = {"id": "1", "prompt": "p", "reasoning": "r", "answer": "a"}
    others = [
        {**line, **more, "id": str(number)}
        for number, more in enumerate(({}, {"reasoning": "s"}, {"answer": "b"}), start=2)
    ]
    file = read(tmp_path / "a.jsonl", line, *others)
    assert len({entry.key for entry in entries_of(file, {})}) == 4


BAD = {
    "prompt": ({"reasoning": "r", "answer": "a"}, "either prompt or messages"),
    "both": ({"prompt": "p", "messages": [USER], "answer": "a"}, "either prompt or messages"),
    "answer": ({"prompt": "p", "reasoning": "r"}, "has no answer"),
    "notes": ({"prompt": "p", "answer": "a"}, "has no reasoning"),
    "empty": ({"prompt": "p", "answer": "<think></think>a"}, "has no reasoning"),
    "beside": (
        {"messages": [USER, {"role": "assistant", "reasoning": "r", "content": None}]},
        'an empty "content"',
    ),
    "unanswered": ({"prompt": "p", "answer": "<think>r</think>\n"}, "no answer after </think>"),
    "blank": ({"prompt": "p", "reasoning": " ", "answer": "a"}, 'an empty "reasoning"'),
    "alone": (
        {"messages": [{"role": "assistant", "content": THINKING}]},
        "messages of the model alone",
    ),
    "twice": (
        {"messages": [USER, {"role": "assistant", "content": THINKING}], "answer": "4"},
        "an answer beside the model's own message",
    ),
    "messages": ({"messages": "hello", "answer": "a"}, "messages that are none"),
    "label": ({"prompt": "p", "reasoning": "r", "answer": "a", "label": "x"}, 'the label "x"'),
    "watch": ({"prompt": "p", "reasoning": "r", "answer": "a", "watch": "k"}, '"watch" that is'),
    "regex": (
        {"prompt": "p", "reasoning": "r", "answer": "a", "watch": {"k": "("}},
        'watches "k": `watch` ( is no regular expression',
    ),
    "json": ("{", "is no JSON"),
}


@pytest.mark.parametrize(("line", "said"), BAD.values(), ids=BAD)
def test_a_bad_line_is_one_sentence_and_stops_no_other(
    tmp_path: Path, line: Any, said: str
) -> None:
    good = {"prompt": "p", "reasoning": "r", "answer": "a"}
    file = read(tmp_path / "a.jsonl", line, good)
    (bad,) = file.bad
    assert (len(file.prompts), bad.line) == (1, 1)
    assert said in bad.message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "holds no prompt"),
        ("a.jsonl", b"PK\x03\x04", "no text"),
        ("folder", None, "is a folder"),
        ("missing.jsonl", None, "is missing"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name == "folder":
        path.mkdir()
    with pytest.raises(UsageError, match=said):
        read_transcripts(path, LABELS)


def test_a_log_without_inspect_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "a.eval").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"circuit-tracer-cli\[inspect\]"):
        read_transcripts(tmp_path / "a.eval", LABELS)


def test_what_inspect_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, **_: object) -> None:
        raise KeyError("header.json")

    _with_reader(monkeypatch, refuse)
    (tmp_path / "a.eval").write_bytes(b"PK")
    with pytest.raises(UsageError, match="Inspect cannot read"):
        read_transcripts(tmp_path / "a.eval", LABELS)


def test_samples_become_transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With objects of the shape that Inspect's reader returns."""
    parts = [
        SimpleNamespace(type="reasoning", reasoning=THOUGHT),
        SimpleNamespace(type="text", text="3 . right , and not 13 ?"),
    ]
    sample = SimpleNamespace(
        id="s",
        epoch=2,
        messages=[
            SimpleNamespace(role="user", content="tom said 3 . 1 plus 1 plus 1 :"),
            SimpleNamespace(role="assistant", content=parts),
            SimpleNamespace(role="user", content="thank you"),
        ],
        scores={"match": SimpleNamespace(answer="3")},
        metadata={"label": "compute"},
    )
    log = SimpleNamespace(samples=[sample])
    _with_reader(monkeypatch, lambda path, **_: log)
    (tmp_path / "a.eval").write_bytes(b"PK")
    (found,) = read_transcripts(tmp_path / "a.eval", LABELS).prompts
    assert (found.name, found.reasoning, found.label) == ("s-2", THOUGHT, "notes carry it")
    assert found.answer == "\n</think>\n\n3"  # up to what the scorer took for it


def _with_reader(monkeypatch: pytest.MonkeyPatch, reader: Any) -> None:
    module = ModuleType("inspect_ai.log")
    monkeypatch.setattr(module, "read_eval_log", reader, raising=False)
    monkeypatch.setitem(sys.modules, "inspect_ai", ModuleType("inspect_ai"))
    monkeypatch.setitem(sys.modules, "inspect_ai.log", module)


def test_a_log_that_inspect_wrote(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    write_log(tmp_path / "a.eval")
    found = read_transcripts(tmp_path / "a.eval", LABELS).prompts
    assert [(one.name, one.reasoning, one.answer) for one in found] == [
        (str(number), THOUGHT, "\n</think>\n\n3") for number in (1, 2, 3)
    ]
    assert {one.watch for one in found} == {(("key", r"said (\w+)"),)}
