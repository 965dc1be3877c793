"""Feature cards by the name of a dictionary. Those that ship are read without importing torch."""

from __future__ import annotations

import logging

from circuit_tracer.bundled import (
    DEFAULT_MODEL,
    bundled_dictionaries,
    bundled_folder,
    bundled_models,
    default_dictionary,
)
from circuit_tracer.errors import DictionaryError, UsageError
from circuit_tracer.graphs.feature_pages import feature_page
from circuit_tracer.hub_reference import parse_reference
from circuit_tracer.interventions.spec import change_feature
from circuit_tracer.transcoders.cards import Card, CardBook, load_cards
from circuit_tracer.transcoders.published_cards import PublishedCards, cards_in

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
    from circuit_tracer.transcoders.opening import find_dictionary

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
    from circuit_tracer.interventions.plan import check_node
    from circuit_tracer.models import open_model
    from circuit_tracer.transcoders.neuron_cards import NeuronCards
    from circuit_tracer.transcoders.neurons import open_neurons

    model = open_model(model_name, device="cpu")
    neurons = open_neurons(model)
    check_node(change_feature(layer, index), neurons)
    return NeuronCards(model, neurons).cards([(layer, index)])[0]
