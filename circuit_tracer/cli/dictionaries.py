"""What the commands of `transcoders` share: arguments, notes, cards and tables of figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer import models
from circuit_tracer.cli import completion
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_row, progress_line, say
from circuit_tracer.errors import UsageError
from circuit_tracer.transcoders import card_making, opening
from circuit_tracer.workbench import opening as workbench

if TYPE_CHECKING:
    from circuit_tracer.models import Model
    from circuit_tracer.transcoders.dictionary import Dictionary as TranscoderSet
    from circuit_tracer.transcoders.evaluation import Evaluation

Dictionary = Annotated[
    str,
    typer.Argument(
        metavar="DICTIONARY",
        autocompletion=completion.offered(completion.dictionaries),
        help="sprout/plt, sprout/clt, a folder, or a hub name (org/repo).",
    ),
]
Format = Annotated[
    str | None,
    own("--format", help="Its file format, where the files do not tell (ours, saelens, ...)."),
]
Text = Annotated[
    Path, typer.Argument(help="A text file, one document a line.", metavar="TEXT", exists=False)
]


def say_notes(notes: tuple[str, ...]) -> None:
    """What a reader of files has to remark, on stderr."""
    for note in notes:
        say(f"note: {note}")


def check_text(text: Path) -> None:
    """Refuse a text that is not there, before a model is opened."""
    if not text.is_file():
        raise UsageError(f"there is no text file {text}; give one with a document on each line")


def opened_model(name: str, device: str, threads: int | None) -> Model:
    """A model, with what its files remark, and so many threads for it."""
    workbench.set_threads(threads)
    model = models.open_model(name, device=device)
    say_notes(model.notes)
    return model


def opened_dictionary(
    name: str, model: Model, format: str | None = None, *, lazy: bool | None = None
) -> TranscoderSet:
    """A dictionary for a model, with what its files remark."""
    dictionary = opening.open_transcoders(name, model=model, format=format, lazy=lazy)
    say_notes(dictionary.notes)
    return dictionary


def make_cards(
    model: Model,
    dictionary: str,
    text: Path,
    row_length: int,
    format: str | None = None,
    *,
    max_tokens: int = 200_000,
    out: Path | None = None,
) -> Path:
    """Feature cards in the folder `out`, by default beside the dictionary's weights."""
    found = opening.open_transcoders(dictionary, model=model, format=format)
    folder = out or opening.find_dictionary(dictionary, model, format=format).path
    with progress_line() as report:
        return card_making.make_cards(
            model,
            found,
            text,
            folder,
            max_tokens=max_tokens,
            row_length=row_length,
            on_progress=report,
        )


def print_evaluation(figures: Evaluation, json: bool) -> None:
    """What a dictionary was measured to be worth, as a table or as JSON."""
    record = figures.as_json()
    if json:
        print_json(record)
        return
    print_layers(record["layers"])
    print_row(figures.summary)


def print_layers(layers: list[dict[str, Any]]) -> None:
    """The figures of each layer, if there are any."""
    responds = any(layer.get("jacobian") for layer in layers)  # earlier versions did not measure it
    if layers:
        more = "   cosine dec  data   iso  error dec  data   iso" if responds else ""
        print(f"layer    FVU  median  pooled     L0   dead{more}")
    for place, layer in enumerate(layers):
        fvu, median, pooled = (_number(layer, name) for name in ("fvu", "fvu_median", "fvu_pooled"))
        number = layer.get("layer", place)  # earlier versions stored every layer without it
        more = _response(layer.get("jacobian") or {}) if responds else ""
        print(
            f"{number:5} {fvu:6.3f} {median:7.3f} {pooled:7.4f} {layer['l0']:6.1f} "
            f"{layer['dead']:6.1%}{more}"
        )
    if responds:
        print(
            "(cosine, error: the response to a change of what is read against the MLP's own, along "
            "decoder rows of earlier layers, differences of data, and even directions)"
        )


def _number(record: dict[str, Any], name: str) -> float:
    """A stored figure; NaN where there is none."""
    value = record.get(name)
    return float("nan") if value is None else float(value)


def _response(jacobian: dict[str, Any]) -> str:
    """The columns of the response to a change."""
    parts = []
    for figure, first in (("cosine", 13), ("error", 11)):
        for width, along in zip((first, 6, 6), ("dec", "data", "iso"), strict=True):
            value = _number(jacobian.get(along) or {}, figure)
            parts.append(f"{'-' if value != value else f'{value:.2f}':>{width}}")
    return "".join(parts)
