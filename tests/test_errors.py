"""What other libraries say reaches the user as one short sentence, whatever it is."""

from __future__ import annotations

import pytest

from circuit_tracer.errors import LONGEST_REASON, reason


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("It broke.\n\nTraceback (most recent call last):\n  File x"), "It broke"),
        (ValueError("First thing. Then advice. More advice."), "First thing"),
        (ValueError("is it? Yes"), "is it?"),
        (
            ValueError("torch 2.6. needs v1.2 of x.y, e.g. This"),
            "torch 2.6. needs v1.2 of x.y, e.g",
        ),
        (ValueError("\n\n  \n  second line  \nthird"), "second line"),
        (ValueError("a \t b\x0b c"), "a b"),
        (ValueError("\x1b[31mred\x1b[0m and \x07bell"), "red and bell"),
        (ValueError(""), "ValueError"),
        (ValueError("..."), "ValueError"),
        (AssertionError(), "AssertionError"),
        (KeyError("name"), "it lacks 'name'"),
        (UnprintableError(), "UnprintableError"),
        (OSError(2, "No such file or directory", "x"), "No such file or directory"),
        (OSError("it is shorter"), "it is shorter"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "'utf-8' codec can't decode byte 0xff"),
        (ValueError({"a": 1}), "{'a': 1}"),
    ],
)
def test_the_first_sentence_is_the_reason(error: Exception, said: str) -> None:
    assert reason(error).startswith(said)
    assert "\n" not in reason(error)


@pytest.mark.parametrize(
    "text", ["word " * 5000, "x" * 5000, "a, " * 5000, "é" * 300, "x\r\n" * 99]
)
def test_no_reason_is_longer_than_a_sentence(text: str) -> None:
    for error in (ValueError(text), OSError(5, text), KeyError(text), OSError(text)):
        found = reason(error)
        assert 0 < len(found) <= LONGEST_REASON
        assert found == found.strip()
