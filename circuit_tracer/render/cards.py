"""Feature cards as tables in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table

from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render.numbers import number, percent
from circuit_tracer.render.terminal import plain_table
from circuit_tracer.render.text import printable, shorten, word_text

if TYPE_CHECKING:
    from circuit_tracer.transcoders.card_search import Match
    from circuit_tracer.transcoders.cards import Card, Example

BINS = 10
BAR = 30
CONTEXT_CELLS = 80


def matches_table(matches: Sequence[Match], limit: int) -> Table:
    """The features that match a search: name, label, frequency, maximum, promoted tokens."""
    left = len(matches) - limit
    table = plain_table(f"{limit:,} of {len(matches):,} features." if left > 0 else "")
    table.texts("feature", "label").numbers("fires", "maximum").texts("promotes")
    for match in matches[:limit]:
        card = match.card
        table.line(
            f"L{card.layer}/{card.feature}",
            shorten(printable(card.label), 28),
            percent(card.frequency),
            number(card.max_activation),
            shorten(_listed(card.promotes[:5]), 34),
        )
    return table


def card_tables(card: Card, contexts: int, page: str | None = None) -> list[RenderableType]:
    """One feature: facts, its page, a histogram of its examples' activations, contexts."""
    facts = plain_table(header=False).texts("")
    facts.add_column(overflow="fold")
    lines = [("feature", f"L{card.layer}/{card.feature}"), ("label", card.label or "(none)")]
    if card.examples:
        lines += [
            ("fires on", f"{percent(card.frequency)} of tokens"),
            ("maximum", number(card.max_activation)),
        ]
    lines += [("promotes", _listed(card.promotes)), ("suppresses", _listed(card.suppresses))]
    lines += [] if page is None else [("page", page)]
    for name, text in lines:
        facts.line(name, printable(text))
    parts: list[RenderableType] = [facts]
    if card.examples:
        parts.append(_histogram(card))
        if contexts:
            parts.append(_contexts(card, contexts))
    return parts


def _listed(tokens: Sequence[str]) -> str:
    return ", ".join(shown(token) for token in tokens)


def _histogram(card: Card) -> Table:
    """Of the activations in the stored examples: cards do not hold one of the whole text."""
    values = [a for example in card.examples for a in example.activations if a > 0]
    counts = [0] * BINS
    for value in values:
        counts[min(int(BINS * value / card.max_activation), BINS - 1)] += 1
    table = plain_table("Activations in the examples on the card, chosen by quantiles.")
    table.numbers("activation").texts("").numbers("tokens")
    step = card.max_activation / BINS
    for i, count in enumerate(counts):
        bar = "█" * round(BAR * count / max(*counts, 1))
        table.line(f"{i * step:.2f} to {(i + 1) * step:.2f}", bar, str(count))
    return table


def _contexts(card: Card, most: int) -> Table:
    table = plain_table("The token at which it fires most stands in square brackets.")
    table.texts("quantile").numbers("activation").texts("context")
    listed: Counter[str] = Counter()
    for example in card.examples:
        listed[example.quantile] += 1
        if listed[example.quantile] <= most:
            strongest = max(example.activations, default=0.0)
            table.line(example.quantile, number(strongest), _context(example))
    return table


def _context(example: Example) -> str:
    """Its text around the peak."""
    at = max(range(len(example.tokens)), key=lambda i: example.activations[i], default=0)
    words = [word_text(token) for token in example.tokens]
    words[at] = f"[{words[at]}]"
    return shorten(" ".join(words), CONTEXT_CELLS)
