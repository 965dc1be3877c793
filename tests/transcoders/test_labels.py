"""Labels for features."""

from __future__ import annotations

import pytest

from circuit_tracer.transcoders.labels import LONGEST, Occurrence, Promotion, make_label

FREQUENCIES = {"is": 0.1, ".": 0.12, "the": 0.05, "a": 0.1, "banana": 0.002, "?": 0.05}


def at(*sentences: str) -> list[Occurrence]:
    """Places where the last word of each sentence is the peak."""
    return [Occurrence(s.split()[:-1], s.split()[-1], 1.0) for s in sentences]


def up(*tokens: str, by: float = 6.0) -> list[Promotion]:
    return [Promotion(token, by) for token in tokens]


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
        (at("cat . is", "a dog is", "pie is"), up("red"), [], "is → red"),
        (at("is red", "is blue", "is green", "is pink"), [], [], "after is"),
        (at("a ."), [], [], '"."'),
    ],
)
def test_labels_say_where_and_what(
    occurrences: list[Occurrence],
    promoted: list[Promotion],
    suppressed: list[Promotion],
    label: str,
) -> None:
    found = make_label(occurrences, promoted, suppressed, FREQUENCIES)
    assert found == label


def test_many_places_with_nothing_in_common_are_listed() -> None:
    found = make_label(at("x is", "so banana", "the ?", "oh no"), [], [], FREQUENCIES)
    assert found == '"?"/banana/is/…'


def test_labels_stay_short_and_printable() -> None:
    long = "pneumonoultramicroscopicsilicovolcanoconiosis"
    found = make_label(at(f"a {long}", f"the {long}"), up(long), [], {})
    assert len(found) <= LONGEST
    hostile = make_label(at("a <script>\x1b[31m"), up("\n"), [], {})
    assert hostile.isprintable()
