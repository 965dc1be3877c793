"""Find features by what their cards say: label, promoted tokens, or words they fire at.

Labels count most, then promoted tokens (the first more than the last), then the strongest
examples' peaks. One layer of cards is read at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.token_text import unshown
from circuit_tracer.transcoders.cards import Card, CardBook
from circuit_tracer.transcoders.published_cards import PublishedCards

Where = Literal["label", "promotes", "context"]
WHERE: tuple[Where, ...] = ("label", "promotes", "context")
_LABEL, _PROMOTED, _PEAK = 100, 20, 5


@dataclass(frozen=True)
class Match:
    """A feature that was found."""

    card: Card
    where: tuple[Where, ...]
    """What spoke for it."""
    score: int
    """Only for the order."""

    def record(self) -> dict[str, Any]:
        """The feature as JSON values, without its examples."""
        card = asdict(self.card)
        del card["examples"]
        name = f"L{self.card.layer}/{self.card.feature}"
        return {"name": name, "where": list(self.where), **card}


def find_cards(
    book: CardBook | PublishedCards, query: str, *, where: Sequence[str] = WHERE
) -> list[Match]:
    """Features whose cards hold a word, best first; a label matches by any part of it.

    Raises UsageError for an empty query or an unknown place.
    """
    wanted = _word(unshown(query))
    if not wanted:
        raise UsageError("what to find is empty; give a word, such as yellow")
    for place in where:
        if place not in WHERE:
            raise UsageError(f'unknown place "{place}"; choose from {", ".join(WHERE)}')
    matches = []
    for layer in range(book.n_layers):
        for card in book.layer_cards(layer):
            points = {place: _points(card, wanted, place) for place in WHERE if place in where}
            if any(points.values()):
                spoke = tuple(place for place in WHERE if points.get(place))
                matches.append(Match(card, spoke, sum(points.values())))
    return sorted(matches, key=lambda match: (-match.score, match.card.layer, match.card.feature))


def _points(card: Card, wanted: str, place: Where) -> int:
    if place == "label":
        where, _, promoted = card.label.casefold().partition("→")
        if wanted in promoted.split() or wanted in where.split():
            return _LABEL + 1
        return _LABEL if wanted in card.label.casefold() else 0
    if place == "promotes":
        tokens = [_word(token) for token in card.promotes]
        return max(_PROMOTED - tokens.index(wanted), 1) if wanted in tokens else 0
    peaks = [_word(example.tokens[example.peak]) for example in card.examples if example.tokens]
    return min(peaks.count(wanted), _PEAK)


def _word(token: str) -> str:
    """A token without regard to case and to blanks at its ends, if it is more than blanks."""
    return (token.strip() or token).casefold()
