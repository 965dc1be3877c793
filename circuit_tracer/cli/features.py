"""`circuit-tracer features find|show`: what the cards of a dictionary say of its features."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer import bundled as bundled_library
from circuit_tracer import graphs, models
from circuit_tracer.bundled import (
    DEFAULT_MODEL,
    bundled_dictionaries,
    bundled_models,
    default_dictionary,
)
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, print_rich, say
from circuit_tracer.errors import UsageError
from circuit_tracer.interventions import plan, selection, spec, steering
from circuit_tracer.render import cards as render_cards
from circuit_tracer.transcoders import card_search, neuron_cards, opening
from circuit_tracer.transcoders import cards as transcoders_cards
from circuit_tracer.transcoders import neurons as transcoders_neurons

if TYPE_CHECKING:
    from circuit_tracer.interventions.steering import Feature
    from circuit_tracer.models import Model
    from circuit_tracer.transcoders.cards import Card, CardBook
    from circuit_tracer.transcoders.dictionary import Dictionary
    from circuit_tracer.transcoders.neurons import Neurons
    from circuit_tracer.workbench.opening import Opened

app = typer.Typer(no_args_is_help=True, help="Find features by their cards, and look at one.")

DEFAULT = "sprout/plt"
TRANSCODERS = option(
    "--transcoders",
    "-t",
    help="The dictionary: sprout/plt, sprout/clt, a folder, or a hub name; to show one neuron, "
    "neurons.",
)


@app.command("find")
@explained
def find_features(
    query: Annotated[str, typer.Argument(metavar="TEXT", help="A word, such as yellow.")],
    transcoders: Annotated[str, TRANSCODERS] = DEFAULT,
    where: Annotated[
        list[str] | None,
        own("--in", help="Look in label, promotes or context alone; repeatable."),
    ] = None,
    limit: Annotated[int, own("--limit", min=1, help="Most features to list.")] = 20,
    json: options.Json = False,
) -> None:
    """Find features by label, by tokens they promote, or by words they fire at."""
    found = card_search.find_cards(_book(transcoders), query, where=where or card_search.WHERE)
    if json:
        print_json(
            [
                {
                    "name": f"L{match.card.layer}/{match.card.feature}",
                    "where": list(match.where),
                    **{k: v for k, v in asdict(match.card).items() if k != "examples"},
                }
                for match in found[:limit]
            ]
        )
        return
    if not found:
        raise UsageError(f'no feature of {transcoders} has "{query}" on its card')
    print_rich(render_cards.matches_table(found, limit))


@app.command("show")
@explained
def show_feature(
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="L3/117: layer and feature.")],
    transcoders: Annotated[str | None, TRANSCODERS] = None,
    model: Annotated[
        str | None,
        own(
            "--model",
            "-m",
            help="The model, whose dictionary -t names: plt, clt or neurons; by default its own, "
            "as for trace.",
        ),
    ] = None,
    contexts: Annotated[int, own("--contexts", min=0, help="Contexts of each quantile.")] = 3,
    json: options.Json = False,
) -> None:
    """Show one feature: label, how often and how strongly it fires, contexts, promoted tokens."""
    layer, index = parse_feature(feature)
    name = _dictionary(model, transcoders)
    refuse_with("--contexts", other="--json, which has all contexts", there=json)
    refuse_with("--contexts", other="neurons, which have none", there=name == "neurons")
    if name == "neurons":
        card = _neuron_card(model or DEFAULT_MODEL, layer, index)
    else:
        card = _book(name).card(layer, index)
    if json:
        print_json({"name": f"L{layer}/{index}", **asdict(card)})
        return
    print_rich(*render_cards.card_tables(card, contexts))


def _dictionary(model: str | None, transcoders: str | None) -> str:
    """The dictionary that `-m` and `-t` mean together, as for trace.

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
        f"--model {model} has no effect with --transcoders {name}, whose cards need no model; "
        "leave one of them out"
    )


def parse_feature(text: str) -> tuple[int, int]:
    """Layer and index of "L3/117"; UsageError for anything else."""
    ref = selection.parse_node(text)
    if ref.kind != graphs.NodeKind.FEATURE or ref.position is not None:
        raise UsageError(f'"{text}" must be a feature without a position, such as L3/117')
    return ref.layer, ref.feature


def _book(transcoders: str) -> CardBook:
    """The cards beside a dictionary; no weight is read."""
    if transcoders == "neurons":
        raise UsageError(
            "neurons have no cards to search; trace a prompt and use `circuit-tracer show`, or "
            "`features show L3/117 --transcoders neurons --model MODEL` for one"
        )
    bundled = bundled_library.bundled_folder() / transcoders
    if transcoders.count("/") == 1 and bundled.is_dir():
        return transcoders_cards.load_cards(bundled)  # instantly: without torch
    return transcoders_cards.load_cards(opening.find_dictionary(transcoders).path)


def _neuron_card(model_name: str, layer: int, index: int) -> Card:
    model = models.open_model(model_name, device="cpu")
    neurons = transcoders_neurons.open_neurons(model)
    plan.check_node(spec.change_feature(layer, index), neurons)
    return neuron_cards.NeuronCards(model, neurons).cards([(layer, index)])[0]


def dictionary_cards(dictionary: Dictionary, model: Model) -> transcoders_cards.CardBook | None:
    """The cards of a dictionary that is open, where there are some of these very weights."""
    identity = dictionary.identity
    name = identity.source.removeprefix("hub:") if identity.source.startswith("hub:") else None
    if identity.source == "bundled":
        name = identity.name
    if identity.location:
        name = identity.location
    form = identity.format or None
    path = (
        None
        if name is None
        else opening.find_dictionary(name, model, format=form).path / transcoders_cards.FILE
    )
    if path is None or not path.is_file():
        return None
    book = transcoders_cards.CardBook(path)
    return book if book.dictionary_sha256 == identity.sha256 else None


def known_features(
    opened: Opened, pairs: list[tuple[int, int]], folder: Path | None = None
) -> list[steering.Feature]:
    """Features with their labels and maxima: from cards, or measured for neurons.

    `folder` is the dictionary's, where its identity does not tell. UsageError for features that
    are not there.
    """
    for layer, index in pairs:
        plan.check_node(spec.change_feature(layer, index), opened.dictionary)
    if isinstance(opened.dictionary, transcoders_neurons.Neurons):
        return _known_neurons(opened.model, opened.dictionary, pairs)
    book = _cards_of(opened.dictionary, opened.model, folder)
    if book is None:
        return [steering.Feature(layer, index) for layer, index in pairs]
    return [
        steering.Feature(card.layer, card.feature, card.label, card.max_activation or None)
        for card in book.cards(pairs)
    ]


def _cards_of(
    dictionary: Dictionary, model: Model, folder: Path | None
) -> transcoders_cards.CardBook | None:
    if folder is None:
        return dictionary_cards(dictionary, model)
    book = transcoders_cards.CardBook(folder / transcoders_cards.FILE)
    is_theirs = book.path.is_file() and book.dictionary_sha256 == dictionary.identity.sha256
    return book if is_theirs else None


def _known_neurons(
    model: Model, neurons: Neurons, pairs: list[tuple[int, int]]
) -> list[steering.Feature]:
    """Neurons have no text they were measured on: their maxima are taken on the shipped prompts."""
    texts = steering.shipped_texts(model)
    maxima = steering.measured_maxima(model, neurons, pairs, texts)
    cards = neuron_cards.NeuronCards(model, neurons).cards(pairs)
    say(f"note: neurons' maxima are those on {len(texts)} of the prompts that ship with the tool")
    return [
        steering.Feature(card.layer, card.feature, card.label, maximum or None)
        for card, maximum in zip(cards, maxima, strict=True)
    ]


def promoted(opened: Opened, feature: Feature, *, negative: bool = False) -> tuple[str, ...]:
    """What a feature raises, strongest first; with a negative activation, what it else lowers."""
    pair = (feature.layer, feature.index)
    if isinstance(opened.dictionary, transcoders_neurons.Neurons):
        card = neuron_cards.NeuronCards(opened.model, opened.dictionary).cards([pair])[0]
    else:
        book = dictionary_cards(opened.dictionary, opened.model)
        if book is None:
            return ()
        card = book.card(*pair)
    return card.suppresses if negative else card.promotes
