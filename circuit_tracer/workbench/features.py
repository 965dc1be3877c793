"""Features of an opened dictionary: what they are called, how far they go, what they raise."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.interventions.plan import check_node
from circuit_tracer.interventions.spec import Unit, change_feature
from circuit_tracer.interventions.steering import Feature, measured_maxima, shipped_texts
from circuit_tracer.transcoders.card_search import find_cards
from circuit_tracer.transcoders.cards import CardBook
from circuit_tracer.transcoders.neuron_cards import NeuronCards
from circuit_tracer.transcoders.neurons import Neurons
from circuit_tracer.transcoders.published_cards import PublishedCards
from circuit_tracer.workbench.opening import Opened
from circuit_tracer.workbench.token_notes import note_forms

logger = logging.getLogger(__name__)


def known_features(opened: Opened, features: Sequence[tuple[int, int]]) -> list[Feature]:
    """Features (layer, index) with labels and maxima: from cards, or measured for neurons.

    UsageError for features that are not there.
    """
    for layer, index in features:
        check_node(change_feature(layer, index), opened.dictionary)
    if isinstance(opened.dictionary, Neurons):
        return _known_neurons(opened, opened.dictionary, features)
    if opened.cards is None:
        return [Feature(layer, index) for layer, index in features]
    return [
        Feature(card.layer, card.feature, card.label, card.max_activation or None)
        for card in opened.cards.cards(features)
    ]


def _known_neurons(
    opened: Opened, neurons: Neurons, features: Sequence[tuple[int, int]]
) -> list[Feature]:
    """Neurons have no text they were measured on: their maxima are taken on the shipped prompts."""
    texts = shipped_texts(opened.model)
    maxima = measured_maxima(opened.model, neurons, features, texts)
    logger.info(f"neurons' maxima are those on {len(texts)} of the prompts that ship with the tool")
    return [
        Feature(card.layer, card.feature, card.label, maximum or None)
        for card, maximum in zip(
            NeuronCards(opened.model, neurons).cards(features), maxima, strict=True
        )
    ]


def best_match(opened: Opened, text: str) -> tuple[int, int]:
    """Layer and index of the feature whose card fits a text best; UsageError for none."""
    name = opened.dictionary.identity.name
    if opened.cards is None:
        raise UsageError(
            f"{name} has no feature cards to search; name a feature with `feature` L3/117"
        )
    matches = find_cards(opened.cards, text)
    if not matches:
        raise UsageError(f'no feature of {name} has "{text}" on its card')
    return matches[0].card.layer, matches[0].card.feature


def promoted(opened: Opened, feature: Feature, *, negative: bool = False) -> tuple[str, ...]:
    """What a feature raises, strongest first; with a negative activation, what it else lowers."""
    book: CardBook | PublishedCards | NeuronCards | None = opened.cards
    if isinstance(opened.dictionary, Neurons):
        book = NeuronCards(opened.model, opened.dictionary)
    if book is None:
        return ()
    card = book.cards([(feature.layer, feature.index)])[0]
    return card.suppresses if negative else card.promotes


def followed_token(
    opened: Opened, feature: Feature, unit: Unit, amount: float, given: str | None = None
) -> int | None:
    """The token to follow: the one given, or what the feature at that strength raises most."""
    if given is not None:
        note_forms(opened.model, [given])
        return opened.model.token_id(given)
    sign = amount if unit == "value" else amount * (feature.maximum or 1.0)
    for word in promoted(opened, feature, negative=sign < 0):
        try:
            return opened.model.token_id(word)
        except PromptError:  # cut short on the card, or two tokens with one text
            continue
    return None
