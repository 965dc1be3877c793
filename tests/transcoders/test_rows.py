"""Rows from text files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.transcoders.rows import LONGEST_LINE, RowReader, count_tokens, fingerprint
from tests.tiny import tiny_tokenizer
from tests.transcoders.fakes import text_file


def reader(path: Path, **overrides: Any) -> RowReader:
    return RowReader(path, tiny_tokenizer(), **{"bos_id": 0, "row_length": 6, **overrides})


def rows_of(source: RowReader) -> list[list[int]]:
    return [
        row[: int(length)]
        for rows in source.groups(64)
        for row, length in zip(rows.token_ids.tolist(), rows.lengths, strict=True)
    ]


def test_documents_are_packed_split_and_never_mixed_up(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a the\nbanana lemon\n\nsky is are yellow blue red yes\nno\n")
    # ids: a 2, the 3, banana 4, lemon 5, sky 6, is 7, are 8, yellow 9, blue 10, red 11, yes 12
    assert rows_of(reader(path)) == [[0, 2, 3, 4, 5], [0, 6, 7, 8, 9, 10], [0, 11, 12, 13]]
    assert rows_of(reader(path, pack=False)) == [
        [0, 2, 3],
        [0, 4, 5],
        [0, 6, 7, 8, 9, 10],
        [0, 11, 12],
        [0, 13],
    ]
    assert rows_of(reader(path, bos_id=None, row_length=4))[0] == [2, 3, 4, 5]


@pytest.mark.parametrize(("bos_id", "row_length"), [(0, 1), (None, 0)])
def test_rows_without_room_for_text_are_refused(
    tmp_path: Path, bos_id: int | None, row_length: int
) -> None:
    """They would never be full, or always."""
    with pytest.raises(UsageError, match=f"`row_length` {row_length} leaves no room"):
        reader(text_file(tmp_path), bos_id=bos_id, row_length=row_length)


def test_bos_and_padding_are_not_real_but_a_first_word_is(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a the banana\nlemon sky is\n")
    rows = reader(path, pack=False, bos_id=None, row_length=4).next_rows(9)
    assert rows is not None
    assert rows.real().sum() == 6
    assert rows.real()[:, 0].all()
    assert count_tokens(reader(path, pack=False, bos_id=None), up_to=None) == 6


def test_the_first_position_and_padding_are_not_real(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a the banana\nlemon sky is\n")
    rows = reader(path, pack=False, row_length=5).next_rows(9)
    assert rows is not None
    assert rows.real().sum() == 6
    assert not rows.real()[:, 0].any()
    assert count_tokens(reader(path, pack=False), up_to=None) == 6
    assert count_tokens(reader(path, pack=False, epochs=3), up_to=None) == 18
    assert count_tokens(reader(path, pack=False, epochs=3), up_to=7) == 7


def test_a_restored_reader_goes_on_with_the_same_rows(tmp_path: Path) -> None:
    path = text_file(tmp_path, documents=700)
    source = reader(path, epochs=2)
    for _ in range(5):
        source.next_rows(30)
    state = json.loads(json.dumps(source.state()))
    rest = rows_of(source)
    again = reader(path, epochs=2)
    again.restore(state)
    assert rows_of(again) == rest
    assert len(rest) > 100


def test_held_out_documents_are_the_ones_training_never_sees(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(f"w{i}" for i in range(13, 23)))
    parts = {
        part: [
            row[1]
            for row in rows_of(
                RowReader(
                    path,
                    tiny_tokenizer(24),
                    bos_id=0,
                    row_length=4,
                    pack=False,
                    part=part,  # type: ignore[arg-type]
                    held_out_share=0.2,
                )
            )
        ]
        for part in ("training", "held-out", "all")
    }
    assert len(parts["held-out"]) == 2
    assert sorted(parts["training"] + parts["held-out"]) == parts["all"]


def test_a_very_long_line_without_blanks_is_cut_between_characters(tmp_path: Path) -> None:
    path, text = tmp_path / "text.txt", "天" * (LONGEST_LINE // 3 + 5)
    path.write_text(f"\ufeff{text}\nno\n", "utf-8")  # with a byte order mark
    with path.open("rb") as stream:
        first, second, third = reader(path)._lines(stream)
    assert first + second == text
    assert third == "no"


def test_a_very_long_line_is_cut_at_a_blank(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    words = LONGEST_LINE // 7 + 1000
    path.write_text("banana " * words)
    found = rows_of(reader(path, row_length=64))
    assert sum(len(row) - 1 for row in found) == words
    assert {token for row in found for token in row[1:]} == {4}


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (None, "there is no text file"), (b"caf\xe9 \n", "not UTF-8")],
)
def test_bad_texts_get_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=words):
        rows_of(reader(path))


def test_texts_that_differ_late_are_two(tmp_path: Path) -> None:
    for name, end in (("a", "x"), ("b", "y")):
        (tmp_path / name).write_text("a" * (1 << 20) + end, "utf-8")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
