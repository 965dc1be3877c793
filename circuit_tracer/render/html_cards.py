"""Feature cards for the viewer: few enough to send by mail, their tokens numbered.

A page holds the cards of the features with most influence (`MOST_CARDS`), of each a few contexts a
quantile, and every token's text once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.text import printable, word_text

if TYPE_CHECKING:
    from circuit_tracer.transcoders.cards import Card

MOST_CARDS = 600
"""Cards in a page: those of the features with most influence."""
CONTEXTS = {"Top": 4}
OTHER_CONTEXTS = 1
"""Contexts of a quantile that `CONTEXTS` does not name."""
PROMOTED = 8


def cards_record(cards: Sequence[Card] | None) -> dict[str, Any] | None:
    """The cards with a table of their tokens; None without any."""
    if cards is None:
        return None
    numbers: dict[str, int] = {}
    listed = [_card(card, numbers) for card in cards]
    return {"tokens": list(numbers), "list": listed}


def _card(card: Card, numbers: dict[str, int]) -> dict[str, Any]:
    quantiles: dict[str, list[list[list[int]]]] = {}
    for example in card.examples:
        group = quantiles.setdefault(example.quantile, [])
        if len(group) < CONTEXTS.get(example.quantile, OTHER_CONTEXTS):
            tokens = [_number(numbers, token) for token in example.tokens]
            group.append([tokens, [_level(a, card.max_activation) for a in example.activations]])
    return {
        "layer": card.layer,
        "feature": card.feature,
        "frequency": card.frequency,
        "most": card.max_activation,
        "promotes": [shown(token) for token in card.promotes[:PROMOTED]],
        "suppresses": [shown(token) for token in card.suppresses[:PROMOTED]],
        "examples": [
            {"quantile": printable(name), "examples": group} for name, group in quantiles.items()
        ],
    }


def _number(numbers: dict[str, int], token: str) -> int:
    return numbers.setdefault(word_text(token), len(numbers))


def _level(activation: float, most: float) -> int:
    """An activation in 255ths of the feature's largest, as cards store them."""
    return min(255, max(0, round(255 * activation / most))) if most > 0 else 0
