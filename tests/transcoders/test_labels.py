"""Labels for features."""

from __future__ import annotations

import pytest

from circuit_tracer.transcoders.label_places import Background, Occurrence
from circuit_tracer.transcoders.labels import LONGEST, Promotion, make_label

TEXT = (
    "a banana is red . the dog is in the shop . is a lemon sweet ? the cat is on a chair . "
    "you find a pie in the shop . is the banana red ? a lemon is yellow . a dog is blue . "
) * 4
WORDS = TEXT.split()
BACKGROUND = Background(
    [Occurrence(WORDS[max(i - 8, 0) : i], WORDS[i], 1.0) for i in range(len(WORDS))],
    {
        word: WORDS.count(word) / len(WORDS)
        for word in WORDS
        if word in ("a", "is", "the", ".", "?")
    },
)


def at(*sentences: str) -> list[Occurrence]:
    """Places where the last word of each sentence is the peak."""
    return [Occurrence(s.split()[:-1], s.split()[-1], 1.0) for s in sentences]


def up(*tokens: str, by: float = 6.0) -> list[Promotion]:
    return [Promotion(token, by) for token in tokens]


PLACES = at("fig in my is", "fig on our is", "plum by her is", "plum of his is")


@pytest.mark.parametrize(
    ("occurrences", "promoted", "suppressed", "label"),
    [
        ([], up("yellow"), [], ""),
        (at("a banana", "the banana"), up("yellow"), [], "banana → yellow"),
        (at("a banana", "the lemon"), up("yellow"), [], "banana/lemon → yellow"),
        (at("a banana"), up("yellow", by=2.0), [], "banana"),
        (at("a banana"), up("yellow", by=4.5), up("red", by=9.0), "banana → not red"),
        (at("a banana"), up("red", "blue"), [], "banana → red/blue"),
        (at("a banana is", "the banana is"), up("yellow"), [], "banana is → yellow"),
        (at("banana in my shop is", "banana of the is"), [], [], "banana … is"),
        (PLACES, [], [], "fig/plum … is"),
        (at("cat . is", "a dog is", "pie is"), up("red"), [], "is → red"),
        (at("is red", "is blue", "is green", "is pink"), [], [], "after is"),
        (at("a .", "the .", "is ."), [], [], '"."'),
    ],
)
def test_labels_say_where_and_what(
    occurrences: list[Occurrence],
    promoted: list[Promotion],
    suppressed: list[Promotion],
    label: str,
) -> None:
    assert make_label(occurrences, promoted, suppressed, BACKGROUND) == label


def test_many_places_with_nothing_in_common_are_listed() -> None:
    found = make_label(at("x is", "so banana", "the ?", "oh no"), [], [], BACKGROUND)
    assert found.endswith("/…")


def test_a_better_word_than_punctuation_is_named_beside_it() -> None:
    asked = at("is a lemon sweet ?", "is my lemon sour ?", "is the lemon sweet ?")
    assert make_label(asked, [], [], BACKGROUND) == 'lemon … "?"'
    unknown = Background([o._replace(peak="is", before=["what"]) for o in asked])
    assert make_label(at("sweet lemon is", "my lemon is"), [], [], unknown) == "lemon is"


def test_labels_stay_short_and_printable() -> None:
    long = "pneumonoultramicroscopicsilicovolcanoconiosis"
    found = make_label(at(f"a {long}", f"the {long}"), up(long), [], BACKGROUND)
    assert len(found) <= LONGEST
    hostile = make_label(at("a <script>\x1b[31m"), up("\n"), [], BACKGROUND)
    assert hostile.isprintable()
