"""`circuit-tracer transcoders list|inspect|validate|convert|evaluate|train|cards`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import cards, measuring, options, training
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.dictionaries import Dictionary, Format, print_layers, say_notes
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_row
from circuit_tracer.transcoders import converting, facts, opening


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


app = typer.Typer(
    no_args_is_help=True, help="Dictionaries: look at them, check, convert, measure, train them."
)
app.command("list")(list_transcoders)
app.command("inspect")(inspect_transcoders)
app.command("validate")(measuring.validate_transcoders)
app.command("convert")(convert_transcoders)
app.command("evaluate")(measuring.evaluate)
app.command("train")(training.train)
app.command("cards")(cards.cards)
