"""Text that is anybody's: made visible, measured, shortened."""

import pytest
from rich.cells import cell_len

from circuit_tracer.render.markup import words
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.text import (
    printable,
    shorten,
    shorten_front_to_width,
    shorten_to_width,
    text_width,
    word_text,
    wrap,
)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("a\nb", "a↵b"),
        ("a\x00b", "a\\x00b"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202eabc", "\\u202eabc"),
        ("\ud800", "\\ud800"),
        ("\uffff", "\\uffff"),
        ("\U000e0001", "\\U000e0001"),
        ("👩\u200d🍳", "👩\u200d🍳"),
        ("שלום <b>", "שלום <b>"),
    ],
)
def test_what_acts_is_shown_as_its_escape(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("שלום 15 %", "שלום\u200e 15 %"),
        ("שלום עולם (3)", "שלום עולם\u200e (3)"),  # one run: its words keep their order
        ("مرحبا → L0/3 → היום 4", "مرحبا\u200e → L0/3 → היום\u200e 4"),
        ("yes 15 % <b>", "yes 15 % &lt;b&gt;"),
    ],
)
def test_numbers_after_words_from_right_to_left_stay_after_them(text: str, drawn: str) -> None:
    assert words(text) == drawn


def test_words_of_running_text_lose_their_leading_blank() -> None:
    assert [word_text(token) for token in (" yes", "yes", "\n", "  ")] == ["yes", "yes", "↵", "␣␣"]


def test_shortened_text_fits_and_says_so() -> None:
    text = "incomprehensibilities"
    short = shorten_to_width(text, 10.0, 60.0)
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert 40 < text_width(short, 10.0) <= 60
    assert shorten_to_width("short", 10.0, 60.0) == "short"


def test_a_long_prompt_keeps_its_end() -> None:
    short = shorten_front_to_width("one two three four", 10.0, 60.0)
    assert short.startswith("…")
    assert short.endswith("four")
    assert text_width(short, 10.0) <= 60


def test_shortening_keeps_accents_and_joined_emoji_whole() -> None:
    assert shorten("abce\u0301fgh", 5) == "abce\u0301…"
    assert shorten("ab👩\u200d🍳cdefgh", 6)[-2] != "\u200d"
    for cells in range(3, 6):
        short = shorten("हिहिहिहिहिहि", cells)
        assert short[-2:] == "ि…"  # a vowel sign stays with its letter
    assert shorten_to_width("हिहिहि", 10.0, 32.0) == "हि…"
    assert shorten_to_width("👍🏽👍🏽👍🏽", 10.0, 70.0) == "👍🏽👍🏽…"
    assert shorten_front_to_width("abcdefe\u0301\u0301xyz", 10.0, 29.0) == "…xyz"
    for cells in range(2, 12):
        assert cell_len(shorten("日本語の特徴 and more", cells)) <= cells


def test_wider_text_measures_wider() -> None:
    assert text_width("mmm", 10.0) > text_width("iii", 10.0) > 0
    assert text_width("日本", 10.0) > text_width("ab", 10.0)
    assert text_width("e\u0301", 10.0) == text_width("e", 10.0)
    assert text_width("ที่", 10.0) == text_width("ท", 10.0)
    assert text_width("\u2764\ufe0f", 10.0) == text_width("\u2764", 10.0)


def test_a_long_text_is_shortened_without_measuring_each_of_its_beginnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[int] = []

    def counted(text: str) -> int:
        measured.append(len(text))
        return cell_len(text)

    monkeypatch.setattr("circuit_tracer.render.text.cell_len", counted)
    assert shorten("word " * 10_000, 20) == "word word word word…"
    assert sum(measured) < 150_000  # not a billion


def test_chinese_is_broken_into_lines_that_begin_with_no_stop() -> None:
    text = "天空是蓝色的，草是绿色的。 and sky"
    lines = wrap(text, 10.0, 75.0)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(lines) > 2
    assert all(text_width(line, 10.0) <= 75 for line in lines)
    assert not any(line[0] in "，。" for line in lines)
    assert wrap("incomprehensibilities ok", 10.0, 60.0)[0].endswith("…")


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.621, "62 %"),
        (0.0142, "1.4 %"),
        (0.00031, "0.03 %"),
        (1e-9, "<0.01 %"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.0996, "10 %"),
        (float("nan"), "?"),
    ],
)
def test_percentages_keep_what_matters(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_numbers_have_no_exponent_at_everyday_sizes() -> None:
    shown = [number(v) for v in (0.0, 0.1234, 12.345, 1234.5, 1e-7, float("nan"))]
    assert shown == ["0", "0.123", "12.35", "1,234", "1.0e-07", "?"]
