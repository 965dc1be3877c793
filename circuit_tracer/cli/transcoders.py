"""`circuit-tracer transcoders list|inspect|validate|convert|evaluate|train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, progress_line, say, set_threads
from circuit_tracer.errors import UsageError

if TYPE_CHECKING:
    from circuit_tracer.models import Model
    from circuit_tracer.transcoders.evaluation import Evaluation
    from circuit_tracer.transcoders.formats.plan import Plan
    from circuit_tracer.transcoders.training.progress import Progress

app = typer.Typer(
    no_args_is_help=True, help="Dictionaries: look at them, check, convert, measure, train them."
)

Dictionary = Annotated[
    str,
    typer.Argument(
        metavar="DICTIONARY", help="sprout/plt, sprout/clt, a folder, or a hub name (org/repo)."
    ),
]
Format = Annotated[
    str | None,
    own("--format", help="Its file format, where the files do not tell (ours, saelens, ...)."),
]
Text = Annotated[
    Path, typer.Argument(help="A text file, one document a line.", metavar="TEXT", exists=False)
]


@app.command("list")
@explained
def list_transcoders(json: options.Json = False) -> None:
    """List the dictionaries that come with the tool, with their figures."""
    from circuit_tracer.bundled import BUNDLED_MODELS, bundled_dictionaries
    from circuit_tracer.transcoders.formats.native import read_config
    from circuit_tracer.transcoders.opening import find_dictionary

    rows = []
    for model in BUNDLED_MODELS:
        for name in bundled_dictionaries(model):
            config = read_config(find_dictionary(f"{model}/{name}").folder)
            rows.append({"model": model, "name": name, **_facts(config)})
    if json:
        print_json(rows)
        return
    for row in rows:
        print(
            f"{row['model'] + '/' + row['name']:20} {row['kind']}, {row['layers']} layers x "
            f"{row['features_per_layer']} features, {row['activation']} k={row['k']}, reads "
            f"{row['reads']}; FVU {row['largest_fvu']:.3f} at most, loss recovered "
            f"{row['recovered']:.4f}"
        )


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """What a stored dictionary says of itself; figures are NaN if it was never evaluated."""
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
        "largest_fvu": max((layer["fvu"] for layer in layers), default=float("nan")),
        "recovered": figures.get("recovered", float("nan")),
    }


@app.command("inspect")
@explained
def inspect_transcoders(
    dictionary: Dictionary, format: Format = None, json: options.Json = False
) -> None:
    """Show a dictionary's format, sizes, and where it reads and writes, from its headers alone."""
    from circuit_tracer.transcoders.opening import find_dictionary, plan_dictionary

    place = find_dictionary(dictionary, format=format)
    plan = plan_dictionary(place)
    facts = {"name": place.name, "source": place.source, **_plan_facts(plan)}
    evaluation = plan.config.get("evaluation")
    if json:
        print_json({**facts, "evaluation": evaluation, "notes": list(plan.notes)})
        return
    for name, value in facts.items():
        if value not in (None, ""):
            print(f"{name.replace('_', ' '):20} {value}")
    _print_layers((evaluation or {}).get("layers") or [])
    _say_notes(plan.notes)


def _plan_facts(plan: Plan) -> dict[str, Any]:
    """What the headers of a dictionary say, with its places in both vocabularies."""
    from circuit_tracer.transcoders.formats.hooks import read_places, write_places

    features = [layer.n_features for layer in plan.layers]
    ks = [layer.k for layer in plan.layers] if plan.activation == "topk" else [None]
    reads = read_places(plan.reads, plan.model_name)
    writes = write_places(plan.writes, plan.model_name)
    figures = plan.config.get("evaluation") or {}
    return {
        "format": plan.format,
        "kind": plan.kind,
        "layers": plan.n_layers,
        "d_model": plan.d_model,
        "features_per_layer": features[0] if len(set(features)) == 1 else features,
        "activation": plan.activation + ("" if plan.rectified else " without ReLU"),
        "k": ks[0] if len(set(ks)) == 1 else ks,
        "skip": plan.layers[0].W_skip is not None,
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


def _say_notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        say(f"note: {note}")


@app.command("validate")
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
    from circuit_tracer.models import open_model
    from circuit_tracer.transcoders.opening import open_transcoders
    from circuit_tracer.transcoders.validation import TEXT, validate

    if text is not None:
        _check_text(text)
    opened = open_model(model, device=device)
    found = open_transcoders(dictionary, model=opened, format=format)
    _say_notes(found.notes)
    lines = tuple(_lines(text)) if text is not None else TEXT
    result = validate(opened, found, lines)
    if json:
        print_json(result.as_json())
        return
    print("layer    FVU     L0")
    for layer in result.layers:
        print(f"{layer.layer:5} {layer.fvu:6.3f} {layer.l0:6.1f}")
    print(f"({result.tokens} tokens)")
    for warning in result.warnings:
        print(f"warning: {warning}")


def _lines(text: Path, most: int = 64) -> list[str]:
    """The first lines of a text that say something."""
    lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][:most]


@app.command("convert")
@explained
def convert_transcoders(
    dictionary: Dictionary,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new dictionary's folder.")],
    to: Annotated[str, own("--to", help="ours or circuit-tracer.")] = "ours",
    from_format: Annotated[
        str | None, own("--from-format", help="The format it is in, where files do not tell.")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a dictionary of any readable format in ours or in circuit-tracer's layout."""
    from circuit_tracer.transcoders.converting import convert

    notes = convert(dictionary, out, to, from_format=from_format, overwrite=overwrite)
    _say_notes(notes)
    print(f"{out}: in {'our format' if to == 'ours' else 'the layout of circuit-tracer'}")


@app.command("evaluate")
@explained
def evaluate(
    dictionary: Dictionary,
    text: Text,
    model: options.Model = "sprout",
    max_tokens: Annotated[
        int, option("--max-tokens", help="How many tokens of the text to use.")
    ] = 20_000,
    row_length: Annotated[
        int, option("--row-length", help="Tokens in a row; the model's context bounds it.")
    ] = 128,
    format: Format = None,
    device: options.Device = "auto",
    cards: Annotated[
        bool, option("--cards", help="Also make feature cards from the text, into its folder.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure a dictionary on text: FVU, L0 and dead features a layer, loss with all replaced."""
    from circuit_tracer.models import open_model
    from circuit_tracer.transcoders.evaluation import evaluate as measure
    from circuit_tracer.transcoders.opening import open_transcoders

    _check_text(text)
    opened = open_model(model, device=device)
    found = open_transcoders(dictionary, model=opened, format=format)
    _say_notes(found.notes)
    figures = measure(opened, found, text, max_tokens=max_tokens, row_length=row_length)
    if cards:
        _make_cards(opened, dictionary, text, row_length, format)
    _print_evaluation(figures, json)


def _make_cards(
    model: Model, dictionary: str, text: Path, row_length: int, format: str | None = None
) -> None:
    """Feature cards beside the dictionary's weights."""
    from circuit_tracer.transcoders.card_making import make_cards
    from circuit_tracer.transcoders.opening import find_dictionary, open_transcoders

    found = open_transcoders(dictionary, model=model, format=format)
    folder = find_dictionary(dictionary, model, format=format).folder
    path = make_cards(model, found, text, folder, row_length=row_length)
    say(f"feature cards: {path}")


def _check_text(text: Path) -> None:
    if not text.is_file():
        raise UsageError(f"there is no text file {text}; give one with a document on each line")


def _print_evaluation(figures: Evaluation, json: bool) -> None:
    record = figures.as_json()
    if json:
        print_json(record)
        return
    _print_layers(record["layers"])
    print(
        f"loss {figures.loss_original:.4f}, all MLPs replaced {figures.loss_replaced:.4f}, "
        f"mean-ablated {figures.loss_mean_ablated:.4f}: {figures.recovered:.4f} recovered "
        f"({figures.tokens:,} tokens)"
    )


def _print_layers(layers: list[dict[str, Any]]) -> None:
    if layers:
        print("layer    FVU  median  pooled     L0   dead")
    for number, layer in enumerate(layers):
        print(
            f"{number:5} {layer['fvu']:6.3f} {layer['fvu_median']:7.3f} "
            f"{layer['fvu_pooled']:7.4f} {layer['l0']:6.1f} {layer['dead']:6.1%}"
        )


@app.command("train")
@explained
def train(
    text: Text,
    out: Annotated[Path, own("--out", "-o", help="The dictionary's folder.")],
    model: options.Model = "sprout",
    held_out: Annotated[
        Path | None,
        option("--held-out", help="Text for the evaluation; 5 % of TEXT by default."),
    ] = None,
    kind: Annotated[str, option("--kind", help="plt (per layer) or clt (cross-layer).")] = "plt",
    activation: Annotated[str, option("--activation", help="topk or jumprelu.")] = "topk",
    features: Annotated[int, option("--features", help="Features a layer.")] = 1024,
    k: Annotated[int | None, option("--k", help="TopK: active features a token.")] = None,
    target_l0: Annotated[
        float | None, option("--target-l0", help="JumpReLU: active features a token.")
    ] = None,
    skip: Annotated[bool, option("--skip", help="Add an affine skip.")] = False,
    max_tokens: Annotated[
        int | None, option("--max-tokens", help="Stop after so many tokens.")
    ] = None,
    epochs: Annotated[int, option("--epochs", help="Passes over the text.")] = 1,
    row_length: Annotated[
        int | None, option("--row-length", help="Tokens in a row; 128, or the context if less.")
    ] = None,
    train_batch: Annotated[int, option("--train-batch", help="Tokens a step.")] = 1024,
    learning_rate: Annotated[float, option("--learning-rate", help="Adam's rate.")] = 3e-3,
    checkpoint_steps: Annotated[
        int, option("--checkpoint-steps", help="Steps between checkpoints; 0 for none.")
    ] = 500,
    seed: Annotated[int, option("--seed", help="Seed of features and shuffling.")] = 0,
    device: options.Device = "auto",
    threads: Annotated[int | None, option("--threads", help="Threads for torch.")] = None,
    cards: Annotated[
        bool, option("--cards/--no-cards", help="Make feature cards from the held-out text.")
    ] = True,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Train a dictionary on a text file. The same command goes on where a stopped one was."""
    from circuit_tracer.transcoders.training import TrainingConfig

    given: dict[str, Any] = {
        "kind": _one_of("--kind", kind, ("plt", "clt")),
        "activation": _one_of("--activation", activation, ("topk", "jumprelu")),
        "n_features": features,
        "k": k,
        "target_l0": target_l0,
        "skip": skip,
        "max_tokens": max_tokens,
        "epochs": epochs,
        "row_length": row_length,
        "batch_size": train_batch,
        "learning_rate": learning_rate,
        "checkpoint_steps": checkpoint_steps,
        "seed": seed,
    }
    config = TrainingConfig(**given)
    _check_text(text)
    if held_out is not None:
        _check_text(held_out)

    from circuit_tracer.models import open_model
    from circuit_tracer.transcoders.training import train as run

    set_threads(threads)
    opened = open_model(model, device=device)
    with progress_line() as report:
        summary = run(
            opened,
            text,
            config,
            out,
            held_out=held_out,
            overwrite=overwrite,
            on_progress=lambda now: report(_line(now), now.tokens, now.total_tokens),
        )
    say(f"{summary.tokens:,} tokens in {summary.seconds:.0f} s, {summary.steps} steps: {out}")
    if cards:
        _make_cards(opened, str(out), held_out or text, row_length or 128)
    _print_evaluation(summary.evaluation, json)


def _one_of(flag: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f'{flag} "{value}" must be one of {", ".join(choices)}')
    return value


def _line(now: Progress) -> str:
    """loss, FVU, L0, dead features and speed of a training run, in one line."""
    if now.stage != "training":
        return now.stage
    mean = sum(now.fvu) / max(1, len(now.fvu)), sum(now.l0) / max(1, len(now.l0))
    return (
        f"loss {now.loss:.3f}  FVU {mean[0]:.3f}  L0 {mean[1]:.1f}  dead {sum(now.dead)}  "
        f"{now.tokens_per_second:,.0f} tokens/s"
    )
