"""`circuit-tracer transcoders validate|evaluate`: how well a dictionary stands for the MLPs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.dictionaries import (
    Dictionary,
    Format,
    Text,
    check_text,
    make_cards,
    opened_dictionary,
    opened_model,
    print_evaluation,
)
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, say
from circuit_tracer.transcoders import evaluation, validation


@explained
def validate_transcoders(
    dictionary: Dictionary,
    model: options.Model = "sprout",
    text: Annotated[
        Path | None, own("--text", help="Text to run; some sentences of our own by default.")
    ] = None,
    format: Format = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Run a few tokens: FVU and L0 a layer, and whether another reading point would fit better."""
    if text is not None:
        check_text(text)
    opened = opened_model(model, device)
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
    max_tokens: Annotated[
        int, option("--max-tokens", min=1, help="How many tokens of the text to use.")
    ] = 20_000,
    row_length: Annotated[
        int, option("--row-length", min=2, help="Tokens in a row; the model's context bounds it.")
    ] = 128,
    format: Format = None,
    device: options.Device = "auto",
    cards: Annotated[
        bool, option("--cards", help="Also make feature cards from the text, into its folder.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure a dictionary on text: FVU, L0 and dead features a layer, loss with all replaced."""
    check_text(text)
    opened = opened_model(model, device)
    found = opened_dictionary(dictionary, opened, format)
    figures = evaluation.evaluate(opened, found, text, max_tokens=max_tokens, row_length=row_length)
    if cards:
        say(f"feature cards: {make_cards(opened, dictionary, text, row_length, format)}")
    print_evaluation(figures, json)
