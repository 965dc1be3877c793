"""`circuit-tracer transcoders cards MODEL TEXT`: feature cards from a text, for any dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import completion, options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.dictionaries import Format, Text, check_text, make_cards, opened_model
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.transcoders import opening
from circuit_tracer.workbench import folders, formats


@explained
def cards(
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
    max_tokens: Annotated[
        int, option("--max-tokens", min=1, help="How many tokens of the text to use.")
    ] = 200_000,
    row_length: Annotated[
        int, option("--row-length", min=2, help="Tokens in a row; the model's context bounds it.")
    ] = 128,
    format: Format = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Make feature cards, and labels with them, of any dictionary from a text."""
    check_text(text)
    formats.check_folder_name(out)
    opened = opened_model(model, device)
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
