"""`circuit-tracer transcoders list|inspect|validate|convert|evaluate|train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import measuring, options, training
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.dictionaries import Dictionary, Format, print_layers, say_notes
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_row
from circuit_tracer.transcoders import converting, opening
from circuit_tracer.transcoders.formats import hooks, native

if TYPE_CHECKING:
    from circuit_tracer.transcoders.formats.plan import Plan


@explained
def list_transcoders(json: options.Json = False) -> None:
    """List the dictionaries that come with the tool, with their figures."""
    rows = []
    for model in bundled.bundled_models():
        for name in bundled.bundled_dictionaries(model):
            config = native.read_config(opening.find_dictionary(f"{model}/{name}").path)
            rows.append({"model": model, "name": name, **_facts(config)})
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


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """What a stored dictionary says of itself; figures are None if it was never evaluated."""
    figures = config.get("evaluation") or {}
    layers = figures.get("layers") or []
    return {
        "kind": config["kind"],
        "layers": config["n_layers"],
        "d_model": config["d_model"],
        "features_per_layer": max(config["n_features"]),
        "activation": config["activation"],
        "k": config.get("k"),
        "skip": config.get("skip", False),
        "reads": config["reads"],
        "made_for": (config.get("model") or {}).get("name"),
        "largest_fvu": max(
            (layer["fvu"] for layer in layers if layer["fvu"] is not None), default=None
        ),
        "recovered": figures.get("recovered"),
    }


@explained
def inspect_transcoders(
    dictionary: Dictionary, format: Format = None, json: options.Json = False
) -> None:
    """Show a dictionary's format, sizes, and where it reads and writes, from its headers alone."""
    place = opening.find_dictionary(dictionary, format=format)
    plan = opening.plan_dictionary(place)
    facts = {"name": place.name, "source": place.source, **_plan_facts(plan)}
    evaluation = plan.config.get("evaluation")
    if json:
        print_json({**facts, "evaluation": evaluation, "notes": list(plan.notes)})
        return
    for name, value in facts.items():
        if value not in (None, ""):
            print(f"{name.replace('_', ' '):20} {value}")
    print_layers((evaluation or {}).get("layers") or [])
    say_notes(plan.notes)


def _plan_facts(plan: Plan) -> dict[str, Any]:
    """What the headers of a dictionary say, with its places in both vocabularies."""
    features = [layer.n_features for layer in plan.layers]
    ks = [layer.k for layer in plan.layers] if plan.activation == "topk" else [None]
    reads = hooks.read_places(plan.reads, plan.model_name)
    writes = hooks.write_places(plan.writes, plan.model_name)
    figures = plan.config.get("evaluation") or {}
    return {
        "format": plan.format,
        "kind": plan.kind,
        "layers": plan.n_layers,
        "d_model": plan.d_model,
        "features_per_layer": features[0] if len(set(features)) == 1 else features,
        "activation": plan.activation + ("" if plan.rectified else " without ReLU"),
        "k": ks[0] if len(set(ks)) == 1 else ks,
        "skip": "W_skip" in plan.layers[0].tensors,
        "reads": reads.transformer_lens,
        "reads_module": reads.module,
        "reads_in_the_files": plan.reads_as,
        "writes": writes.transformer_lens,
        "writes_module": writes.module,
        "writes_in_the_files": plan.writes_as,
        "made_for": plan.facts["model"].get("name"),
        "megabytes": round(plan.bytes / 1e6, 2),
        "recovered": figures.get("recovered"),
    }


@explained
def convert_transcoders(
    dictionary: Dictionary,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new dictionary's folder.")],
    to: Annotated[str, own("--to", help="ours or circuit-tracer.")] = "ours",
    from_format: Annotated[
        str | None, own("--from-format", help="The format it is in, where files do not tell.")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write a dictionary of any readable format in ours or in circuit-tracer's layout."""
    notes = converting.convert(dictionary, out, to, from_format=from_format, overwrite=overwrite)
    if json:
        print_json({"dictionary": str(out), "layout": to, "notes": list(notes)})
        return
    say_notes(notes)
    print(f"{out}: in {'our format' if to == 'ours' else 'the layout of circuit-tracer'}")


app = typer.Typer(
    no_args_is_help=True, help="Dictionaries: look at them, check, convert, measure, train them."
)
app.command("list")(list_transcoders)
app.command("inspect")(inspect_transcoders)
app.command("validate")(measuring.validate_transcoders)
app.command("convert")(convert_transcoders)
app.command("evaluate")(measuring.evaluate)
app.command("train")(training.train)
