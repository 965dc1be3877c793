"""Every token of every vocabulary has a name, and every name is its token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from circuit_tracer.errors import PromptError
from circuit_tracer.models.token_names import TokenNames
from tests.vocabularies import assert_inverse, byte_level, sentencepiece, word_level, word_pieces

MAKERS = (byte_level, sentencepiece, word_level, word_pieces)
Maker = Callable[[], PreTrainedTokenizerFast]


@pytest.mark.parametrize("maker", MAKERS)
def test_names_and_tokens_are_inverse_over_a_whole_vocabulary(maker: Maker) -> None:
    assert_inverse(maker())


@pytest.mark.parametrize("maker", [byte_level, sentencepiece])
@pytest.mark.parametrize("text", ["yes", " yes", "no", " no", "\n", " ", " banana"])
def test_a_text_that_is_a_token_is_that_very_token(maker: Maker, text: str) -> None:
    names = TokenNames(maker())
    assert names.text(names.token_id(text)) == text


@pytest.mark.parametrize(
    ("maker", "text", "expected"),
    [
        (byte_level, "␣yes", " yes"),
        (byte_level, "banana", " banana"),
        (byte_level, "Ġyes", " yes"),
        (sentencepiece, "▁France", " France"),
        (byte_level, "↵", "\n"),
        (sentencepiece, "France", " France"),
        (sentencepiece, "␣France", " France"),
        (sentencepiece, "<0x0A>", "<0x0A>"),
        (sentencepiece, "<0xF0>", "<0xF0>"),
        (sentencepiece, "id:3", "\x00"),
        (word_level, " yes", "yes"),
        (word_level, "@4", "@4"),
        (word_pieces, "Banana", "banana"),
    ],
)
def test_what_people_type_finds_the_token(maker: Maker, text: str, expected: str) -> None:
    names = TokenNames(maker())
    assert names.text(names.token_id(text)) == expected


def test_words_that_go_on_a_text_take_their_blank() -> None:
    names = TokenNames(byte_level())
    assert names.text(names.token_id("yes", continues=True)) == " yes"
    assert names.text(names.token_id(" yes", continues=True)) == " yes"
    assert names.text(names.token_id("Answer", continues=True)) == "Answer"


def test_of_two_forms_the_other_one_is_known() -> None:
    names = TokenNames(byte_level())
    assert names.other_form("yes") == "␣yes"
    for text in (" yes", "banana", "Answer", "id:4", "nothing of it"):
        assert names.other_form(text) is None


def test_bytes_of_a_character_have_names_of_their_own() -> None:
    names = TokenNames(byte_level())
    ids = byte_level()("ご", add_special_tokens=False)["input_ids"]
    texts = [names.text(token_id) for token_id in ids]
    assert len(set(texts)) == len(texts) > 1
    assert all("�" not in text for text in texts)
    assert texts[0].startswith("<0xE3>")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a target is empty"),
        ("yesyes", 'it begins with the token "yes"'),
        ("id:999999", "whose ids go from 0 to"),
        ("id:", "not one token"),
        ("id:-1", "not one token"),
        ("id:" + "9" * 5000, "not one token"),
        ("\ud800", "not one token"),
    ],
)
def test_what_names_no_token_gets_a_sentence(text: str, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        TokenNames(byte_level()).token_id(text)


def test_ids_that_only_the_model_has_are_named_by_their_number() -> None:
    names = TokenNames(word_level(), size=100)
    assert names.token_id(names.text(70)) == 70
    with pytest.raises(PromptError, match="from 0 to 99"):
        names.token_id("id:100")
    with pytest.raises(PromptError, match="from 0 to 4"):
        TokenNames(word_level(), size=5).token_id("yes")
