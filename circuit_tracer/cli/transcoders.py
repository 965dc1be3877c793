"""`circuit-tracer transcoders list|inspect|validate|convert|evaluate|train|cards`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import completion, options, training
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.dictionaries import (
    Dictionary,
    Format,
    Text,
    check_text,
    make_cards,
    opened_dictionary,
    opened_model,
    print_evaluation,
    print_layers,
    say_notes,
)
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, print_row, progress_line, say
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.transcoders import converting, evaluation, facts, opening, validation
from circuit_tracer.workbench import folders, formats

MaxTokens = Annotated[
    int, option("--max-tokens", min=1, help="Tokens of the text to use, up to whole passes.")
]
RowLength = Annotated[
    int, option("--row-length", min=2, help="Tokens in a row; the model's context bounds it.")
]


@explained
def list_transcoders(json: options.Json = False) -> None:
    """List the dictionaries that come with the tool, with their figures."""
    rows = facts.bundled_facts()
    if json:
        print_json(rows)
        return
    for row in rows:
        print_row(
            f"{row['kind']}, {row['layers']} layers x "
            f"{row['features_per_layer']} features, {row['activation']} k={row['k']}, reads "
            f"{row['reads']}; FVU {_or_unknown(row['largest_fvu'], 3)} at most, loss recovered "
            f"{_or_unknown(row['recovered'], 4)}",
            name=f"{row['model'] + '/' + row['name']:20} ",
        )


def _or_unknown(value: float | None, digits: int) -> str:
    """A figure, or "?" where there is none."""
    return "?" if value is None else f"{value:.{digits}f}"


@explained
def inspect_transcoders(
    dictionary: Dictionary, format: Format = None, json: options.Json = False
) -> None:
    """Show a dictionary's format, sizes, and where it reads and writes, from its headers alone."""
    place = opening.find_dictionary(dictionary, format=format)
    plan = opening.plan_dictionary(place)
    known = {"name": place.name, "source": place.source, **facts.plan_facts(plan)}
    evaluation = plan.config.get("evaluation")
    if json:
        print_json({**known, "evaluation": evaluation, "notes": list(plan.notes)})
        return
    for name, value in known.items():
        if value not in (None, ""):
            print(f"{name.replace('_', ' '):20} {value}")
    print_layers((evaluation or {}).get("layers") or [])
    say_notes(plan.notes)


@explained
def convert_transcoders(
    dictionary: Dictionary,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new dictionary's folder.")],
    to: Annotated[
        str, own("--to", help="ours, circuit-tracer, or saelens (autoencoders).")
    ] = "ours",
    from_format: Annotated[
        str | None, own("--from-format", help="The format it is in, where files do not tell.")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write a dictionary of any readable format in ours or in another layout."""
    notes = converting.convert(dictionary, out, to, from_format=from_format, overwrite=overwrite)
    if json:
        print_json({"dictionary": str(out), "layout": to, "notes": list(notes)})
        return
    say_notes(notes)
    layouts = {"ours": "our format", "saelens": "SAELens' layout"}
    print(f"{out}: in {layouts.get(to, 'the layout of circuit-tracer')}")


@explained
def validate_transcoders(
    dictionary: Dictionary,
    model: options.Model = "sprout",
    text: Annotated[
        Path | None, own("--text", help="Text to run; some sentences of our own by default.")
    ] = None,
    format: Format = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Run a few tokens: FVU and L0 a layer, and whether another reading point would fit better."""
    if text is not None:
        check_text(text)
    opened = opened_model(model, device, threads)
    found = opened_dictionary(dictionary, opened, format)
    lines = validation.TEXT if text is None else validation.first_lines(text)
    result = validation.validate(opened, found, lines)
    if json:
        print_json(result.as_json())
        return
    print("layer    FVU     L0")
    for layer in result.layers:
        print(f"{layer.layer:5} {layer.fvu:6.3f} {layer.l0:6.1f}")
    print(f"({result.tokens} tokens)")
    for warning in result.warnings:
        print(f"warning: {warning}")


@explained
def evaluate(
    dictionary: Dictionary,
    text: Text,
    model: options.Model = "sprout",
    max_tokens: MaxTokens = 20_000,
    row_length: RowLength = 128,
    format: Format = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    cards: Annotated[
        bool, option("--cards", help="Also make feature cards from the text, into its folder.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure a dictionary on text: FVU, L0 and dead features a layer, loss with all replaced."""
    check_text(text)
    opened = opened_model(model, device, threads)
    found = opened_dictionary(dictionary, opened, format)
    with progress_line() as report:
        figures = evaluation.evaluate(
            opened, found, text, max_tokens=max_tokens, row_length=row_length, on_progress=report
        )
    if cards:
        say(f"feature cards: {make_cards(opened, dictionary, text, row_length, format)}")
    print_evaluation(figures, json)


@explained
def cards_of_text(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=completion.offered(completion.models),
            help="Bundled name, folder or hub name of the model.",
        ),
    ],
    text: Text,
    transcoders: options.AnyDictionary = None,
    out: Annotated[
        Path | None,
        own("--out", "-o", help="Folder for cards.parquet; by default the dictionary's own."),
    ] = None,
    max_tokens: MaxTokens = 200_000,
    row_length: RowLength = 128,
    format: Format = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Make feature cards, and labels with them, of any dictionary from a text."""
    check_text(text)
    formats.check_folder_name(out)
    opened = opened_model(model, device, threads)
    identity = opened.identity
    dictionary = transcoders or bundled.default_dictionary(identity.name, identity.source)
    if dictionary == "neurons":
        raise UsageError("neurons need no cards made; name a dictionary with --transcoders")
    folder = out or opening.find_dictionary(dictionary, opened, format=format).path
    if (folder / bundled.CARDS_FILE).exists() and not overwrite:
        raise OutputError(
            f"{folder / bundled.CARDS_FILE} is there already; add --overwrite to replace it, or "
            "choose another --out"
        )
    folders.check_writable(folder)
    with if_interrupted("nothing was written, and the same command starts from the beginning"):
        path = make_cards(
            opened, dictionary, text, row_length, format, max_tokens=max_tokens, out=folder
        )
    if json:
        print_json({"cards": str(path)})
    else:
        print(path)


app = typer.Typer(
    no_args_is_help=True, help="Dictionaries: look at them, check, convert, measure, train them."
)
app.command("list")(list_transcoders)
app.command("inspect")(inspect_transcoders)
app.command("validate")(validate_transcoders)
app.command("convert")(convert_transcoders)
app.command("evaluate")(evaluate)
app.command("train")(training.train)
app.command("cards")(cards_of_text)
