"""Edits of a prompt as text, and the rules that judge what they did."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from circuit_tracer.bundled import shipped_folder
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.edits.families import permutation_p, slot_at
from circuit_tracer.experiments.edits.making import (
    classes_of,
    clauses_of,
    edited,
    given_edit,
    words_of,
)
from circuit_tracer.experiments.edits.results import Word
from circuit_tracer.experiments.edits.spec import read_spec
from circuit_tracer.experiments.edits.verdict import judged

PROMPT = "joker : is it, then, Tom's 3.5 ?"


def test_words_numbers_and_signs_are_words() -> None:
    found = [PROMPT[slice(*place)] for place in words_of(PROMPT)]
    assert found == ["joker", ":", "is", "it", ",", "then", ",", "Tom's", "3.5", "?"]
    clauses = [PROMPT[slice(*place)] for place in clauses_of(PROMPT, "clause")]
    assert clauses == ["joker :", "is it,", "then,", "Tom's 3.5 ?"]
    assert clauses_of(PROMPT, "sentence") == []


def test_what_has_no_blanks_is_parted_at_words_of_a_class_and_at_tokens() -> None:
    """Vowels that are written as marks part no word of Hindi or Thai."""

    def parted(text: str, starts: tuple[int, ...] = (), known: tuple[str, ...] = ()) -> list[str]:
        return [text[slice(*place)] for place in words_of(text, starts, known)]

    assert parted("今天天气很好。", (0, 2, 4, 6)) == ["今天", "天气", "很好", "。"]
    assert parted("今天天气很好。", (0, 1, 3, 4), ("天气", "天", "x")) == [
        *("今", "天", "天气", "很好", "。")
    ]
    assert parted("3.5 GPT是什么?", (0, 5, 8)) == ["3.5", "GPT", "是", "什么", "?"]
    assert parted("ภาษา ดี", (0, 2)) == ["ภา", "ษา", "ดี"]
    assert parted("हिन्दी में ?", (0, 1, 2)) == ["हिन्दी", "में", "?"]
    assert parted("한국의 수도", (0, 1, 2)) == ["한국의", "수도"]
    assert parted("a ❤️ b", (0, 1)) == ["a", "❤️", "b"]


def test_what_goes_takes_the_blank_before_it_along() -> None:
    assert edited("a b c", 2, 3) == "a c"
    assert edited("a b c", 0, 1) == "b c"
    assert edited("is it, then", 3, 5) == "is, then"
    assert edited("a b c", 2, 3, "xy") == "a xy c"


def test_a_given_edit_is_made_wherever_the_words_are() -> None:
    assert given_edit("red or reddish red", "red=>blue")[-1] == "blue or reddish blue"
    assert given_edit("tom : he", "tom :=>")[-1] == "he"
    for wrong, said in (
        ("red", "must be OLD=>NEW"),
        ("=>red", "must be OLD=>NEW"),
        ("blue=>red", "nowhere in the prompt"),
        ("red=>red", "changes nothing"),
    ):
        with pytest.raises(UsageError, match=said):
            given_edit("red or reddish", wrong)


def test_a_given_edit_is_made_inside_what_has_no_blanks() -> None:
    assert given_edit("今天天气很好", "天气=>心情") == (2, 4, "心情", "今天心情很好")
    assert given_edit("天气 天气很好", "天气=>心情")[-1] == "心情 心情很好"
    assert given_edit("a $5 note", "$=>EUR ")[-1] == "a EUR5 note"
    with pytest.raises(UsageError, match="nowhere in the prompt"):
        given_edit("ähren", "hr=>h")


def word(text: str, start: int, pull: float, *, flips: bool = False, by: bool = True) -> Word:
    return Word(text, start, start + len(text), pull, by, flips, ())


def test_one_span_that_flips_the_answer_decides_it() -> None:
    verdict = judged([word("a", 0, 9.0, flips=True), word("b", 5, 2.0)], [], 5.0)
    assert (verdict.kind, [one.text for one in verdict.pullers]) == ("decided by", ["a"])
    assert "alone flips the answer" in verdict.sentence


def test_two_spans_that_pull_against_each_other_are_a_conflict() -> None:
    words = [word("a", 0, 6.0, flips=True), word("b", 5, -4.0)]
    verdict = judged(words, [], 2.0)
    assert (verdict.kind, [one.text for one in verdict.pullers]) == ("conflict", ["a", "b"])
    weak = judged([words[0], word("b", 5, -1.0)], [], 2.0)
    assert weak.kind == "decided by"
    # What flips the answer when it goes did not pull against it.
    assert judged([words[0], word("b", 5, -4.0, flips=True)], [], 2.0).kind == "decided by"
    # A word does not pull against the clause it is in.
    assert judged([word("b", 5, -4.0)], [word("b c", 5, 6.0)], 2.0).kind == "spread"


def test_signs_are_not_named_and_replaced_words_come_first() -> None:
    words = [
        word(":", 0, 9.0, flips=True, by=False),
        word("or", 2, 8.0, flips=True, by=False),
        word("red", 5, 5.0, flips=True),
    ]
    assert [one.text for one in judged(words, [], 5.0).pullers] == ["red", "or"]


def test_no_span_that_decides_is_spread() -> None:
    verdict = judged([word("a", 0, 2.0), word("b", 5, 1.5)], [], 5.0)
    assert verdict.kind == "spread"
    assert '"a", 40 %' in verdict.sentence


def test_the_permutation_p_is_that_of_all_swaps() -> None:
    changes = np.array([3.0, 1.0, -0.5, 2.0, 0.7, 1.1, 0.2, 0.9])
    signs = np.array(list(itertools.product((-1, 1), repeat=len(changes))))
    exact = (np.abs(signs @ changes) >= abs(changes.sum()) - 1e-9).mean()
    assert permutation_p(changes, seed=0) == pytest.approx(exact, abs=0.01)
    assert permutation_p(np.array([1.0, -1.0, 1.0, -1.0]), seed=0) == 1.0


def test_where_a_slots_words_stand() -> None:
    item = {"object": "tomato", "value": "red"}
    template = "is a {object} {value} ?"
    named = [slot_at(template, item, place) for place in (0, 5, 10, 12, 14, 16)]
    assert named == ["other words", "object", "object", "value", "value", "other words"]


def test_word_classes_are_lists_of_words() -> None:
    assert classes_of({"speakers": ["teacher", "joker"]}, "x") == [["teacher", "joker"]]
    for wrong in ("teacher", [1], [""], {"a": "b"}):
        with pytest.raises(UsageError, match="must be a list of words"):
            classes_of({"speakers": wrong}, "x")


SPEC = """
name = "s"
question = "?"
{more}
[[families]]
name = "f"
template = "is {{object}} {{value}} ?"
words = ["yes", "no"]
edit = "{edit}"
"""


@pytest.mark.parametrize(
    ("edit", "items", "said"),
    [
        ("is=>was", 5, "at least 6 items"),
        ("was=>is", 6, "nowhere in the prompt"),
        ("{value}=>{other}", 6, 'no "other"'),
        ("is", 6, "must be OLD=>NEW"),
    ],
)
def test_specs_that_cannot_be_asked(tmp_path: Path, edit: str, items: int, said: str) -> None:
    rows = ", ".join('{ object = "a", value = "b" }' for _ in range(items))
    path = tmp_path / "s.toml"
    path.write_text(SPEC.format(more=f"items = [{rows}]", edit=edit), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_spec(path)


def test_the_specs_that_ship_can_be_read() -> None:
    for path in sorted(shipped_folder("prompts").glob("edits-*.toml")):
        spec = read_spec(path)
        assert spec.name == path.stem
        assert len(spec.items) == 33
