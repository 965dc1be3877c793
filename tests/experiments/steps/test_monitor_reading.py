"""Which token of an answer is explained, and what is read before it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest

from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.steps.monitor.measure import _LAST_WORD, Measures, Written
from circuit_tracer.models import Model
from circuit_tracer.workbench.opening import open_pair
from tests.chatml import byte_tokenizer
from tests.models.test_chat import model_with

NOTES = "2 plus 4 is 6 . so"


@cache
def measures() -> Measures:
    pair = open_pair("sprout-cheat", "neurons", device="cpu")
    return Measures(pair.model, pair.dictionary, "sentence", None, False)


def read(answer: str, notes: str = NOTES) -> tuple[list[str], str, str]:
    """Tokens after the prompt, the text of the last step, and the token that is explained."""
    transcript, token = measures().read(Written("2 plus 4 :", notes, answer, {}, False))
    model = measures().model
    tokens = [model.token_text(one).strip() for one in transcript.ids[transcript.first_note :]]
    said = model.token_text(int(token.removeprefix("id:"))).strip()
    return tokens, transcript.steps[-1].text, said


@pytest.mark.parametrize("answer", ["6", " 6", "6 .", "6 . "])
def test_a_word_and_what_follows_it(answer: str) -> None:
    assert read(answer) == (NOTES.split(), "so", "6")


def test_words_before_it_are_read_as_the_end_of_the_notes() -> None:
    tokens, last, said = read("the answer is 6 .".replace("answer", "banana"))
    assert tokens == [*NOTES.split(), "the", "banana", "is"]
    assert (last, said) == ("so the banana is", "6")


def test_a_number_beside_letters_without_blanks_is_a_word() -> None:
    texts = ("\u7b54\u6848\u662f15\u3002", "15 \u4e2a", "it is 1,500.5.", "all\u8272")
    found = [_LAST_WORD.search(one) for one in texts]
    assert [one and one[0] for one in found] == ["15", "\u4e2a", "1,500.5", "\u8272"]


@pytest.mark.parametrize(("answer", "said"), [("? .", "has no word"), ("nosuch", "does not know")])
def test_what_is_no_answer(answer: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        read(answer)


def test_line_ends_may_be_other_tokens_where_the_answer_follows() -> None:
    """As GPT-2's: two line ends are one token at the end of a text, and two before a word."""
    model = model_with(byte_tokenizer(merges=[("\u010a", "\u010a")], bos_token="<bos>"))
    measured = Measures(model, cast(Any, None), "sentence", None, False)
    written = Written("2 plus 4 :", "it is 6 .", "\n</think>\n\n6", {}, False)
    transcript, token = measured.read(written)
    ends = [model.token_text(one) for one in transcript.ids[-3:]]
    assert (ends, transcript.steps[-1].stop) == ([">", "\n", "\n"], transcript.n_tokens)
    assert model.token_text(int(token.removeprefix("id:"))) == "6"
    as_written, _ = measured.read(replace(written, answer="</think>6"))
    assert "".join(map(model.token_text, as_written.ids)).endswith(": it is 6 .</think>")
    joined = model_with(byte_tokenizer(merges=[("l", "\u00e8")], bos_token="<bos>"))
    with pytest.raises(PromptError, match="shares a token"):
        replace(measured, model=joined).read(replace(written, answer="all\u8272"))


def test_a_blank_that_is_a_token_of_its_own_belongs_to_the_notes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in tokenizers that part numbers into digits."""
    blank = measures().model.tokenize("banana")[-1]
    whole, text = Model.tokenize, Model.token_text

    def tokenize(model: Model, prompt: str, **more: object) -> list[int]:
        ids = whole(model, prompt)
        return [*ids[:-1], blank, ids[-1]] if prompt.endswith(" 6") else ids

    monkeypatch.setattr(Model, "tokenize", tokenize)
    monkeypatch.setattr(
        Model, "token_text", lambda model, one: " " if one == blank else text(model, one)
    )
    transcript, token = measures().read(Written("2 plus 4 :", NOTES, "6", {}, False))
    assert transcript.ids[-1] == blank
    assert transcript.steps[-1].stop == transcript.n_tokens
    assert text(measures().model, int(token.removeprefix("id:"))).strip() == "6"
