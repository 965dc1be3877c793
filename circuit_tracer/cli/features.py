"""`circuit-tracer features find|show`: what the cards of a dictionary say of its features."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from circuit_tracer.bundled import DEFAULT_MODEL
from circuit_tracer.cli import completion, options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.errors import UsageError
from circuit_tracer.interventions import selection
from circuit_tracer.render import cards
from circuit_tracer.transcoders import card_search
from circuit_tracer.workbench import feature_cards

app = typer.Typer(no_args_is_help=True, help="Find features by their cards, and look at one.")

TRANSCODERS = option(
    "--transcoders",
    "-t",
    values=completion.dictionaries,
    help="The dictionary: sprout/plt, sprout/clt, a folder, or a hub name; to show one neuron, "
    "neurons.",
)


@app.command("find")
@explained
def find_features(
    query: Annotated[str, typer.Argument(metavar="TEXT", help="A word, such as yellow.")],
    transcoders: Annotated[str, TRANSCODERS] = f"{DEFAULT_MODEL}/plt",
    where: Annotated[
        list[str] | None,
        own("--in", help="Look in label, promotes or context alone; repeatable."),
    ] = None,
    limit: Annotated[int, own("--limit", min=1, help="Most features to list.")] = 20,
    json: options.Json = False,
) -> None:
    """Find features by label, by tokens they promote, or by words they fire at."""
    book = feature_cards.card_book(transcoders)
    matches = card_search.find_cards(book, query, where=where or card_search.WHERE)
    if json:
        print_json([match.record() for match in matches[:limit]])
        return
    if not matches:
        raise UsageError(f'no feature of {transcoders} has "{query}" on its card')
    print_rich(cards.matches_table(matches, limit))


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
    """Show one feature: label, how often and how strongly it fires, contexts, promoted tokens.

    With its page, where a published dictionary is known to have some.
    """
    layer, index = selection.parse_feature(feature)
    name = feature_cards.dictionary_name(model, transcoders)
    refuse_with("--contexts", other="--json, which has all contexts", there=json)
    refuse_with("--contexts", other="neurons, which have none", there=name == "neurons")
    card, page = feature_cards.described(name, layer, index, model=model or DEFAULT_MODEL)
    if json:
        described = {} if card is None else asdict(card)
        print_json({"name": f"L{layer}/{index}", **described, "page": page})
        return
    if card is None:
        print(page)
        return
    print_rich(*cards.card_tables(card, contexts, page))
