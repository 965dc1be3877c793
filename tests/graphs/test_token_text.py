"""Tokens as text: every character visible, no two alike, and back again."""

from __future__ import annotations

import random

import pytest

from circuit_tracer.graphs.graph import Target
from circuit_tracer.graphs.token_text import (
    bytes_text,
    join_tokens,
    prompt_texts,
    shown,
    spelled,
    split_tokens,
    target_texts,
    unshown,
)

HARD = "ab4x5cu21b5U000-@\\ \n\t\r↵⇥␍␣,\u200d\u200b\xa0\u3000\ud800🍌é"


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (" yes", "␣yes"),
        ("yes", "yes"),
        ("\n\n", "↵↵"),
        ("↵", "\\u21b5"),
        ("\x00", "\\x00"),
        ("\\x00", "\\x5cx00"),
        ("\\n", "\\n"),
        ("\u200d", "\\u200d"),
        ("👩\u200d🍳", "👩\u200d🍳"),
        ("\xa0", "\\xa0"),
        ("@4", "\\x404"),
        ("4", "4"),
    ],
)
def test_a_token_is_shown_with_every_character_visible(token: str, text: str) -> None:
    assert shown(token) == text
    assert unshown(text) == token


def test_what_is_shown_is_read_back_whatever_it_is() -> None:
    rng = random.Random(0)
    tokens = {"".join(rng.choices(HARD, k=rng.randint(1, 6))) for _ in range(3000)}
    assert [unshown(shown(token)) for token in tokens] == list(tokens)
    assert len({shown(token) for token in tokens}) == len(tokens)


def test_tokens_with_commas_come_apart_as_they_were_joined() -> None:
    rng = random.Random(1)
    for _ in range(1000):
        pair = ["".join(rng.choices("a,\\ ", k=rng.randint(1, 4))) for _ in range(2)]
        parts = split_tokens(join_tokens(pair))
        assert len(parts) == 2
        assert [part if part in pair else unshown(part) for part in parts] == pair
    assert split_tokens(" yes, no") == [" yes", " no"]
    assert split_tokens("\\,,no") == [",", "no"]


def test_blanks_in_a_prompt_are_shown_where_they_tell_two_tokens_apart() -> None:
    assert prompt_texts((" yes", " no")) == ("yes", "no")
    assert prompt_texts((" yes", "yes", " no")) == ("␣yes", "yes", "no")
    assert prompt_texts((" yes", " yes")) == ("yes", "yes")
    assert prompt_texts(("  ", "\n")) == ("␣␣", "↵")


def test_targets_have_different_texts() -> None:
    targets = [
        Target(text, ids, 3, 0.1, 1.0, 0)
        for text, ids in ((" yes", (1,)), ("yes", (2,)), ("yes", (3,)), ("␣yes - no", (1, 4)))
    ]
    assert target_texts(targets) == ("␣yes", "yes", "id:3", "␣yes - no")


def test_bytes_of_a_character_join_to_it_again() -> None:
    whole = " 🍌x".encode()
    parts = [bytes_text(part) for part in (whole[:2], whole[2:3], whole[3:])]
    assert parts == [" <0xF0>", "<0x9F>", "<0x8D><0x8C>x"]
    assert spelled(parts) == " 🍌x"
