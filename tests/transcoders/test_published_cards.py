"""Cards in circuit-tracer's `features/` layout, written by a writer of our own from its reader."""

from __future__ import annotations

import gzip
import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from circuit_tracer.errors import DictionaryError
from circuit_tracer.transcoders import published_cards
from circuit_tracer.transcoders.card_search import find_cards
from circuit_tracer.transcoders.cards import CardBook, feature_json
from circuit_tracer.transcoders.published_cards import PublishedCards, cards_in


def record(word: str, **more: Any) -> dict[str, Any]:
    examples = [
        {"tokens": ["<bos>", " ripe", word], "tokens_acts_list": [0, 0.5, 2 + i / 10]}
        for i in range(3)
    ]
    return {
        "transcoder_id": "set",
        "index": 0,
        "examples_quantiles": [{"quantile_name": "Top", "examples": examples}],
        "top_logits": [" yellow", " peel"],
        "bottom_logits": [" red"],
        "act_min": 0.0,
        "act_max": 2.5,
        "activation_frequency": 0.01,
        **more,
    }


def write_features(
    folder: Path, layers: list[list[dict[str, Any] | None]], *, keyed: bool = False
) -> Path:
    """`features/` beside a dictionary; None is a feature without a card."""
    home = folder / "features"
    home.mkdir(parents=True)
    index = []
    for number, features in enumerate(layers):
        content, offsets = b"", [0]
        for feature in features:
            packed = b"" if feature is None else zlib.compress(json.dumps(feature).encode())
            content += struct.pack("<I", len(packed)) + packed if packed else b""
            offsets.append(len(content))
        (home / f"layer_{number}.bin").write_bytes(content)
        index.append({"filename": f"layer_{number}.bin", "offsets": offsets})
    listed = {str(i): entry for i, entry in enumerate(index)} if keyed else index
    (home / "index.json.gz").write_bytes(gzip.compress(json.dumps(listed).encode()))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_features(tmp_path, [[record(" banana"), None], [record(" lemon"), record(" sky")]])


@pytest.mark.parametrize("keyed", [False, True])
def test_a_card_says_what_its_record_says(tmp_path: Path, keyed: bool) -> None:
    layers: list[list[dict[str, Any] | None]] = [[record(" banana")], [None, record(" sky")]]
    book = cards_in(write_features(tmp_path, layers, keyed=keyed))
    assert isinstance(book, PublishedCards)
    assert book.n_layers == 2
    card = book.card(1, 1)
    assert (card.layer, card.feature, card.label) == (1, 1, "ripe sky")
    assert (card.frequency, card.max_activation) == (0.01, 2.5)
    assert (card.promotes, card.suppresses) == ((" yellow", " peel"), (" red",))
    assert [e.quantile for e in card.examples] == ["Top"] * 3
    assert card.examples[2].tokens == ("<bos>", " ripe", " sky")
    assert card.examples[2].activations == (0, 0.5, 2.2)


def test_features_without_a_card_have_no_label_and_no_card(folder: Path) -> None:
    book = cards_in(folder)
    assert book.labels([(0, 0), (0, 1), (0, 9), (7, 0)]) == ["ripe banana", "", "", ""]
    with pytest.raises(DictionaryError, match=r"L0/1 in .*features is missing"):
        book.card(0, 1)
    assert [card.promotes[:1] for card in book.cards([(0, 1), (1, 0)])] == [(), (" yellow",)]


def test_only_the_features_that_are_asked_for_are_read(folder: Path) -> None:
    (folder / "features" / "layer_1.bin").unlink()
    assert cards_in(folder).card(0, 0).promotes[0] == " yellow"
    with pytest.raises(DictionaryError, match=r"L1/0.* is missing"):
        cards_in(folder).card(1, 0)


def test_they_are_searched_and_written_like_our_own(folder: Path) -> None:
    book = cards_in(folder)
    assert [(m.card.layer, m.card.feature) for m in find_cards(book, "lemon")] == [(1, 0)]
    odd = record(" banana")
    odd["examples_quantiles"][0]["quantile_name"] = "Subsample Interval 9"
    card = cards_in(write_features(folder / "odd", [[odd]])).card(0, 0)
    written = feature_json(card, "scan")["examples_quantiles"]
    assert [group["quantile_name"] for group in written] == ["Subsample Interval 9"]


def test_our_own_cards_come_first(folder: Path) -> None:
    (folder / "cards.parquet").write_bytes(b"")
    assert isinstance(cards_in(folder), CardBook)
    assert isinstance(cards_in(folder / "features"), PublishedCards)


def test_what_an_old_file_leaves_out_is_unknown(tmp_path: Path) -> None:
    old = record(" banana")
    for name in ("act_max", "act_min", "activation_frequency", "bottom_logits"):
        del old[name]
    card = cards_in(write_features(tmp_path, [[old]])).card(0, 0)
    assert math.isnan(card.frequency)
    assert (card.max_activation, card.suppresses) == (2.2, ())


def test_long_contexts_are_cut_around_their_peak(tmp_path: Path) -> None:
    long = record(" banana")
    example = {"tokens": [str(i) for i in range(200)], "tokens_acts_list": [0.0] * 200}
    example["tokens_acts_list"][150] = 1.0
    long["examples_quantiles"][0]["examples"] = [example]
    found = cards_in(write_features(tmp_path, [[long]])).card(0, 0).examples[0]
    assert found.tokens == tuple(str(i) for i in range(134, 159))
    assert found.tokens[found.peak] == "150"


def damaged(folder: Path, index: Any) -> PublishedCards:
    (folder / "features" / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
    book = cards_in(folder)
    assert isinstance(book, PublishedCards)
    return book


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ([{"filename": "../layer_0.bin", "offsets": [0, 9]}], "no file's name"),
        ([{"filename": "layer_0.bin", "offsets": [0, 1 << 40]}], "its bytes are"),
        ([{"filename": "layer_0.bin", "offsets": [9, 0]}], "its bytes are"),
        ([{"filename": "layer_0.bin", "offsets": [0, 9]}], "announced"),
        ([{"filename": "layer_0.bin", "offsets": ["0", 9]}], "no list of whole numbers"),
        ([{"filename": "layer_0.bin"}], "is damaged"),
        (7, "is damaged"),
    ],
)
def test_a_damaged_index_is_one_sentence(folder: Path, index: Any, words: str) -> None:
    with pytest.raises(DictionaryError, match=words):
        damaged(folder, index).card(0, 0)


def test_bombs_are_refused_before_they_are_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_cards, "MOST_FEATURE_BYTES", 300)
    with pytest.raises(DictionaryError, match="more than 0 MiB"):
        cards_in(folder).card(0, 0)
    monkeypatch.setattr(published_cards, "MOST_INDEX_BYTES", 100)
    with pytest.raises(DictionaryError, match=r"more than 0 MiB|too large"):
        cards_in(folder).card(0, 0)


@pytest.mark.parametrize(
    "broken",
    [
        {"examples_quantiles": [{"quantile_name": "Top", "examples": [{"tokens": ["a"]}]}]},
        {"examples_quantiles": None},
        {"act_max": "large"},
    ],
)
def test_a_damaged_record_is_one_sentence(tmp_path: Path, broken: dict[str, Any]) -> None:
    with pytest.raises(DictionaryError, match=r"card of L0/0 .* is damaged"):
        cards_in(write_features(tmp_path, [[record(" a", **broken)]])).card(0, 0)
