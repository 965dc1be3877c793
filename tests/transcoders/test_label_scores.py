"""Labels are scored by how well they predict where features fire."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from circuit_tracer.errors import UsageError
from circuit_tracer.transcoders.card_making import make_cards
from circuit_tracer.transcoders.cards import load_cards
from circuit_tracer.transcoders.label_scores import score_labels, separation
from tests.tiny import WORDS, random_dictionary, tiny_llama


def text_of(path: Path, seed: int) -> Path:
    draw = random.Random(seed)
    path.write_text("".join(" ".join(draw.choices(WORDS[2:], k=12)) + "\n" for _ in range(80)))
    return path


def test_the_score_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 4, 60)
    activations = np.where(rng.random(60) < 0.3, rng.random(60), 0.0)
    pairs = [
        (a, (x > y) + 0.5 * (x == y))
        for x, a in zip(levels, activations, strict=True)
        if a > 0
        for y, b in zip(levels, activations, strict=True)
        if b == 0
    ]
    wanted = sum(a * won for a, won in pairs) / sum(a for a, _ in pairs)
    assert separation(levels, activations) == pytest.approx(wanted)
    assert separation(np.zeros(60, dtype=np.int64), activations) == 0.5


def test_labels_of_cards_predict_better_than_others_and_constant_ones_not(tmp_path: Path) -> None:
    model = tiny_llama(n_layers=2)
    dictionary = random_dictionary(model, n_features=12)
    made_from, held_out = text_of(tmp_path / "a.txt", 1), text_of(tmp_path / "b.txt", 2)
    book = load_cards(make_cards(model, dictionary, made_from, tmp_path, row_length=16))
    found = score_labels(model, dictionary, book.labels, held_out, row_length=16)
    assert found.features > 10
    assert found.own > found.other + 0.05
    assert found.better > 0.6

    same = score_labels(model, dictionary, lambda f: ["is"] * len(list(f)), held_out, row_length=16)
    assert same.own == same.other
    assert same.better == 0.5
    silent = score_labels(
        model, dictionary, lambda f: ["unheard of"] * len(list(f)), held_out, row_length=16
    )
    assert silent.own == 0.5
    with pytest.raises(UsageError, match="no labelled feature fires"):
        score_labels(model, dictionary, lambda f: [""] * len(list(f)), held_out, row_length=16)
