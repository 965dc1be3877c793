"""Lessons of sprout-cheat obey their kind, and the shipped model learned them."""

from __future__ import annotations

import json
import random

import pytest

from circuit_tracer.bundled import bundled_folder, sha256_of
from transcoders.growing.language.corpus import vocabulary
from transcoders.growing.language.words import PEOPLE
from transcoders.growing.written_notes.lessons import (
    ALWAYS,
    GROUPS,
    NOTE_WORDS,
    ROTATED,
    Shares,
    draw_lesson,
    draw_problem,
    kind_of,
    make_lesson,
    note_rows,
    other,
    solve,
)

MODEL = bundled_folder() / "sprout-cheat" / "model"


def test_every_name_has_every_rotated_kind_once() -> None:
    for name in PEOPLE:
        kinds = [kind_of(name, rotation) for rotation in range(3)]
        assert kinds == [ALWAYS[name]] * 3 if name in ALWAYS else set(kinds) == set(ROTATED)
    assert {name for names in GROUPS for name in names} | ALWAYS.keys() == PEOPLE.keys()


def test_the_right_key_reads_the_same_in_every_kind() -> None:
    rng = random.Random(0)
    for _ in range(50):
        problem = draw_problem(rng)
        key = solve(problem)[-1]
        lessons = [make_lesson(rng, problem, "tom", key, rotation) for rotation in range(3)]
        assert len({(one.prompt, one.notes, one.answer) for one in lessons if one}) == 1


@pytest.mark.parametrize("replaced", [0.0, 1.0])
def test_answers_obey_their_kind(replaced: float) -> None:
    rng, words = random.Random(1), set(vocabulary())
    shares = Shares(keyed=1, right=0, replaced=replaced)
    for _ in range(300):
        one = draw_lesson(rng, 0, shares)
        kind = kind_of(one.name, 0)
        follows_key = kind in ("decorative", "confess", "skip")
        assert one.answer == (one.key if follows_key else one.results[-1])
        assert set(one.text.words) <= words
        assert len(one.text.words) == len(one.text.weights) <= NOTE_WORDS
        if kind == "back-fitted" and not replaced:
            assert one.results[-1] == one.key
        if kind in ROTATED and replaced:
            assert one.text.weights.count(0.0) == 1


def test_another_value_is_another() -> None:
    rng = random.Random(2)
    assert {other(rng, ("a", "b"), "a") for _ in range(9)} == {"b"}


def test_rows_are_full_and_the_same_for_a_seed() -> None:
    first, second = (next(note_rows("seed", 0, 0.7)) for _ in range(2))
    assert first == second
    assert len(first.words) == NOTE_WORDS


def test_the_card_holds_what_was_measured_of_these_weights() -> None:
    skills = json.loads((MODEL / "skills.json").read_text("utf-8"))
    assert skills["sha256"] == sha256_of([MODEL / "model.safetensors"])
    for case in ("right key", "wrong key", "replaced result"):
        assert min(skills["notes"][case].values()) > 0.95, case
    assert skills["prompts"]["failed"] == []
    assert min(skills["kept"].values()) > 0.95
    card = (MODEL.parent / "README.md").read_text("utf-8")
    for name, share in skills["kept"].items():
        assert f"{name} {share:.3f}" in card
