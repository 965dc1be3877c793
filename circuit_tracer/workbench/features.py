"""Features of a model and its dictionary: their cards, what they are called, how far they go."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from circuit_tracer.bundled import (
    DEFAULT_MODEL,
    bundled_dictionaries,
    bundled_folder,
    bundled_models,
    default_dictionary,
)
from circuit_tracer.errors import DictionaryError, PromptError, UsageError
from circuit_tracer.graphs.feature_pages import feature_page
from circuit_tracer.hub_reference import parse_reference
from circuit_tracer.interventions.plan import check_node
from circuit_tracer.interventions.spec import Unit, change_feature
from circuit_tracer.interventions.steering import Feature, measured_maxima, shipped_texts
from circuit_tracer.models import open_model
from circuit_tracer.transcoders.card_search import find_cards
from circuit_tracer.transcoders.cards import Card, CardBook, load_cards
from circuit_tracer.transcoders.neuron_cards import NeuronCards
from circuit_tracer.transcoders.neurons import Neurons, open_neurons
from circuit_tracer.transcoders.opening import find_dictionary
from circuit_tracer.transcoders.published_cards import PublishedCards, cards_in
from circuit_tracer.workbench.opening import Opened
from circuit_tracer.workbench.token_notes import note_forms

logger = logging.getLogger(__name__)

DEFAULT = f"{DEFAULT_MODEL}/plt"


def dictionary_name(model: str | None, transcoders: str | None) -> str:
    """The dictionary that a model and a dictionary's name mean together, as for a trace.

    UsageError for one with a name of its own: it knows itself which model it was made for.
    """
    if model is None:
        return transcoders or DEFAULT
    bundled = bundled_dictionaries(model) if model in bundled_models() else []
    name = transcoders or default_dictionary(model, "bundled" if bundled else "")
    if name == "neurons" or name.startswith(f"{model}/"):
        return name
    if name in bundled:
        return f"{model}/{name}"
    raise UsageError(
        f"`model` {model} has no effect with `transcoders` {name}, whose cards need no model; "
        "leave one of them out"
    )


def card_book(dictionary: str) -> CardBook | PublishedCards:
    """The cards beside a dictionary; no weight is read. UsageError for neurons."""
    if dictionary == "neurons":
        raise UsageError(
            "neurons have no cards to search; trace a prompt and use `circuit-tracer show`, or "
            "`circuit-tracer features show L3/117 --transcoders neurons --model MODEL` for one"
        )
    bundled = bundled_folder() / dictionary
    if dictionary.count("/") == 1 and bundled.is_dir():
        return load_cards(bundled)
    return cards_in(find_dictionary(dictionary).path)


def described(
    dictionary: str, layer: int, index: int, *, model: str = DEFAULT_MODEL
) -> tuple[Card | None, str | None]:
    """A feature's card and the address of its page, where its dictionary is known to have pages.

    `model` is the one whose neurons are looked at, where these are the dictionary. With a page,
    cards that are not at hand are noted; without, they are a DictionaryError.
    """
    if dictionary == "neurons":
        return neuron_card(model, layer, index), None
    reference = parse_reference(dictionary)
    source = "" if reference is None else f"hub:{reference.name}"
    page = feature_page(source, layer, index)
    try:
        return card_book(dictionary).card(layer, index), page
    except DictionaryError as error:
        if page is None:
            raise
        logger.info(f"{error}")
        return None, page


def neuron_card(model_name: str, layer: int, index: int) -> Card:
    """What one of a model's neurons promotes; the model is opened for that."""
    model = open_model(model_name, device="cpu")
    neurons = open_neurons(model)
    check_node(change_feature(layer, index), neurons)
    return NeuronCards(model, neurons).cards([(layer, index)])[0]


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
