"""Prompt and notes as steps and spans of tokens."""

from __future__ import annotations

from functools import cache

import pytest

from circuit_tracer import expressions
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.kit.places import parts_of
from circuit_tracer.experiments.steps.run import says
from circuit_tracer.experiments.steps.transcript import read_transcript
from circuit_tracer.models import Model, open_model
from tests.chatml import byte_tokenizer
from tests.models.test_chat import model_with

PROMPT, NOTES = "tom said 15 . 2 plus 4 plus 9 :", "2 plus 4 is 6 . 6 plus 9 is 15 . so"


@cache
def model() -> Model:
    return open_model("sprout-cheat", device="cpu")


def words(start: int, stop: int, ids: tuple[int, ...]) -> str:
    return " ".join(model().token_text(one).strip() for one in ids[start:stop])


def test_steps_and_watched_spans_are_the_tokens_of_their_words() -> None:
    read = read_transcript(model(), PROMPT, NOTES, watch={"key": r"said (\w+)", "all": "2 plus 4"})
    assert [words(one.start, one.stop, read.ids) for one in read.steps] == [
        "2 plus 4 is 6 .",
        "6 plus 9 is 15 .",
        "so",
    ]
    assert [one.name for one in read.steps] == ["S1", "S2", "S3"]
    key, whole = read.watched
    assert words(key.start, key.stop, read.ids) == key.text == "said 15"
    assert [words(at, at + 1, read.ids) for at in key.value] == ["15"]
    assert whole.value == tuple(range(whole.start, whole.stop))
    assert words(read.first_note, len(read.ids), read.ids) == NOTES


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        ("sentence", ["a b .", "c 1 ?", "d"]),
        ("line", ["a b . c 1 ? d"]),
        (r"[?]", ["a b . c 1 ?", "d"]),
    ],
)
def test_what_ends_a_step(split: str, texts: list[str]) -> None:
    notes = "a b . c 1 ? d".replace("b", "banana").replace("c", "car").replace("d", "dog")
    read = read_transcript(model(), "tom", notes, split=split)
    assert [one.text[0] for one in read.steps] == [one[0] for one in texts]
    assert [one.start for one in read.steps[1:]] == [one.stop for one in read.steps[:-1]]


def test_lines_are_steps_of_their_own() -> None:
    read = read_transcript(model(), "tom", "a banana\nis yellow", split="line")
    assert [one.text for one in read.steps] == ["a banana", "is yellow"]


def test_an_empty_prompt_is_refused_as_by_trace() -> None:
    with pytest.raises(PromptError, match="the prompt is empty"):
        read_transcript(model(), " ", NOTES)


@pytest.mark.parametrize(
    ("notes", "options", "said"),
    [
        ("  ", {}, "the notes are empty"),
        (NOTES, {"watch": {"key": "said 16"}}, "nowhere in the prompt"),
        (NOTES, {"watch": {"key": "(?<=s)aid"}}, 'finds "aid", which is inside a token'),
        (NOTES, {"watch": {"key": "sai(d)"}}, 'finds "d", which is inside a token'),
        (NOTES, {"watch": {"key": "("}}, "no regular expression"),
        (NOTES, {"split": "["}, "no regular expression"),
        ("nosuchword", {}, "does not know"),
    ],
)
def test_what_cannot_be_read(notes: str, options: dict[str, object], said: str) -> None:
    with pytest.raises((PromptError, UsageError), match=said):
        read_transcript(model(), PROMPT, notes, **options)  # type: ignore[arg-type]


def test_an_expression_that_would_search_for_ever_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expressions, "SECONDS", 0.01)
    with pytest.raises(UsageError, match=r"`watch` \(a\|aa\)\+z takes more than .* 63 char"):
        expressions.Expression("(a|aa)+z", "watch").first("a" * 60 + "b z")


def test_words_are_said_as_words() -> None:
    assert says("Max said 15 .", "max said 15")
    assert not says("6 plus 9 is 150", "15")
    assert not says("anything", "")


def test_words_need_no_blanks_where_none_are_written() -> None:
    assert says("今天天气很好", "天气")
    assert says("答案是15\u3002", "15")
    assert not says("答案是150\u3002", "15")
    text = "天气好\u3002答案是15\uff0c所以\uff1f"
    parts = parts_of(text, "sentence")
    assert [text[slice(*one)] for one in parts] == [text[:4], text[4:]]
    assert len(parts_of(text, "clause")) == 3


def test_the_number_of_a_step_is_no_sentence() -> None:
    text = "two steps. 3. in a row\n1. we add 4.\n 2. so it is 5. done\n6."
    parts = [text[slice(*one)].strip() for one in parts_of(text, "sentence")]
    assert parts == ["two steps.", "3.", "in a row", "1. we add 4.", "2. so it is 5.", "done", "6."]


@pytest.mark.parametrize("system", [None, "be kind"])
def test_notes_begin_the_reply_of_a_chat(system: str | None) -> None:
    chatty = model_with(byte_tokenizer())
    watch, turn = {"number": r"\d"}, {"chat": True, "system": system}
    read = read_transcript(chatty, "hey 7", "so. it is", watch=watch, **turn)  # type: ignore[arg-type]
    prompt = chatty.tokenize("hey 7", **turn)
    assert read.chat
    assert list(read.ids) == [*prompt, *chatty.tokenizer("so. it is")["input_ids"]]
    assert read.first_note == read.steps[0].start == len(prompt)
    assert [one.text for one in read.steps] == ["so.", "it is"]
    assert chatty.token_text(read.ids[read.watched[0].start]) == "7"
    with pytest.raises(PromptError, match="chat template"):
        read_transcript(model(), PROMPT, NOTES, chat=True)
