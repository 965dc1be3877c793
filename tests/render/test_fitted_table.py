"""Tables at any width: texts are cut or wrapped, numbers and names never."""

from __future__ import annotations

import random
import re

import pytest
from rich.cells import cell_len

from circuit_tracer.render.terminal import as_text, note, plain_table

ROWS = (
    ("L12/1034@7", "a label of several words → tokens", "+3.645", "24 %", "0.73 [0.64, 0.79]"),
    ("embedding@2", "banana", "-0.001", "<0.01 %", "0.1 [-0.2, 0.3]"),
)


def shown(width: int, *, wraps: bool = True) -> str:
    table = plain_table("A caption of some words below the table.")
    table.add_column("node", no_wrap=True)
    table.add_column("label", no_wrap=not wraps)
    table.add_column("activation", justify="right", no_wrap=True)
    table.add_column("share", justify="right")
    table.add_column("interval", justify="right")
    for row in ROWS:
        table.line(*row)
    return as_text(table, width=width)


def test_a_caption_is_no_markup() -> None:
    """Target tokens stand in it: [BOS], and [/INST] of Llama's chats."""
    table = plain_table("Effect on [/INST], [BOS] and [red].").texts("a node of some length")
    table.line("[/b] and a line as long as the caption is")
    assert as_text(table).splitlines()[-1].split() == [
        "Effect",
        "on",
        "[/INST],",
        "[BOS]",
        "and",
        "[red].",
    ]


@pytest.mark.parametrize("wraps", [True, False])
@pytest.mark.parametrize("width", [20, 40, 50, 60, 80, 100])
def test_numbers_and_names_are_whole_at_every_width(width: int, wraps: bool) -> None:
    text = shown(width, wraps=wraps)
    for name, _, *numbers in ROWS:
        assert name in text
        for number in " ".join(numbers).split():
            assert number in text
    assert not re.search(r"\d…|…\d", text)


def test_it_is_no_wider_than_asked_where_texts_can_give_way() -> None:
    for width in (60, 80, 100):
        assert max(map(cell_len, shown(width).splitlines())) <= width
    assert "a label of several words → tokens" in shown(100)


def test_random_tables_keep_their_numbers() -> None:
    draw = random.Random(0)
    for _ in range(30):
        table = plain_table()
        columns = draw.randint(1, 6)
        for number in range(columns):
            heading = "heading " * draw.randint(0, 2)
            table.add_column(heading, justify="right", no_wrap=bool(number % 2))
        cells = [[f"{draw.uniform(-1e6, 1e6):.3f}" for _ in range(columns)] for _ in range(3)]
        for row in cells:
            table.line(*row)
        text = as_text(table, width=draw.randint(5, 60))
        assert [line.split() for line in text.splitlines()[-3:]] == cells


def test_a_note_is_wrapped_once_and_indented() -> None:
    text = as_text(note("word " * 30), width=40)
    assert all(line.startswith("  word") and len(line) <= 40 for line in text.splitlines())
    assert text.split() == ["word"] * 30
    assert min(map(len, text.splitlines()[:-1])) > 40 - len(" word") - 1
