"""`circuit-tracer transcoders train`: from a text file to a dictionary with its figures."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

from circuit_tracer.cli import invocation, options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.dictionaries import (
    Text,
    check_text,
    make_cards,
    opened_dictionary,
    opened_model,
    print_evaluation,
)
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import progress_line, say
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.transcoders import training
from circuit_tracer.transcoders.training import checkpoint, config, run, weights

SHAPE = ("--kind", "--reads", "--writes", "--layers", "--activation", "--features", "--k", "--skip")
"""Options that a dictionary to start from decides."""


@explained
def train(
    text: Text,
    out: Annotated[Path, own("--out", "-o", help="The dictionary's folder.")],
    model: options.Model = "sprout",
    held_out: Annotated[
        Path | None,
        option("--held-out", help="Text for the evaluation; 5 % of TEXT by default."),
    ] = None,
    start: Annotated[
        str | None,
        own(
            "--start",
            help="A dictionary to train on from, any that can be read; it decides kind, places and "
            "sizes.",
        ),
    ] = None,
    kind: Annotated[str, option("--kind", help="plt (per layer) or clt (cross-layer).")] = "plt",
    reads: Annotated[
        str,
        own(
            "--reads",
            help="mlp (its input), hook_resid_mid (the stream before its norm) or, with --writes "
            "resid, resid: a sparse autoencoder.",
        ),
    ] = "mlp",
    writes: Annotated[str, own("--writes", help="mlp (its output) or resid.")] = "mlp",
    layers: Annotated[
        str | None,
        own("--layers", help="resid: the layers after which to train, 1,2,3; else all of them."),
    ] = None,
    activation: Annotated[str, option("--activation", help="topk or jumprelu.")] = "topk",
    n_features: Annotated[int, option("--features", help="Features a layer.")] = 1024,
    k: Annotated[int | None, option("--k", help="TopK: active features a token.")] = None,
    target_l0: Annotated[
        float | None, option("--target-l0", help="JumpReLU: active features a token.")
    ] = None,
    skip: Annotated[bool, option("--skip", help="Add an affine skip.")] = False,
    jacobian: Annotated[
        float,
        own("--jacobian", help="Weight of the Jacobian term: respond to changes as MLPs do; 0.1."),
    ] = 0.0,
    jacobian_directions: Annotated[
        str | None,
        own(
            "--jacobian-directions",
            help="iso (even, the default), dec (earlier features' decoder rows), act (changes by "
            "interventions) or mix (the last two in turn).",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, option("--max-tokens", help="Stop after so many tokens.")
    ] = None,
    epochs: Annotated[int, option("--epochs", help="Passes over the text.")] = 1,
    row_length: Annotated[
        int | None, option("--row-length", help="Tokens in a row; 128, or the context if less.")
    ] = None,
    batch_size: Annotated[int, option("--train-batch", help="Tokens a step.")] = 1024,
    learning_rate: Annotated[float, option("--learning-rate", help="Adam's rate.")] = 3e-3,
    precision: Annotated[
        str,
        option(
            "--precision",
            help="float32 (as in earlier versions, to the bit), fused (float32, fused attention), "
            "bfloat16 (products in it) or auto: bfloat16 where the processor has it, else fused.",
        ),
    ] = "auto",
    checkpoint_steps: Annotated[
        int, option("--checkpoint-steps", help="Steps between checkpoints; 0 for none.")
    ] = 500,
    seed: Annotated[int, option("--seed", min=0, help="Seed of features and shuffling.")] = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    cards: Annotated[
        bool, option("--cards/--no-cards", help="Make feature cards from the held-out text.")
    ] = True,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Train a dictionary on a text file. The same command goes on where a stopped one was.

    Transcoders of the MLPs, or sparse autoencoders of the residual stream with --reads resid
    --writes resid.
    """
    invocation.refuse_with(*SHAPE, other="--start", there=start)
    given = {
        **invocation.values(),
        "reads": config.READS[one_of("--reads", reads, tuple(config.READS))],
        "writes": config.WRITES[one_of("--writes", writes, tuple(config.WRITES))],
        "layers": None if layers is None else _numbers(layers),
    }
    settings = {
        field.name: given[field.name]
        for field in fields(config.TrainingConfig)
        if field.name in given
    }
    if start is None:
        config.TrainingConfig(**settings)  # before anything is opened
    check_text(text)
    if held_out is not None:
        check_text(held_out)
        if held_out.samefile(text):
            raise UsageError(
                "--held-out is the text that is learnt; leave it out to keep 5 % of that, or give "
                "another text"
            )

    opened = opened_model(model, device, threads)
    begun = None if start is None else opened_dictionary(start, opened, lazy=False)
    if begun is not None:
        settings |= weights.settings_of(begun)
    with if_interrupted(lambda: _goes_on(out, checkpoint_steps)), progress_line() as report:
        summary = training.train(
            opened,
            text,
            config.TrainingConfig(**settings),
            out,
            held_out=held_out,
            start=begun,
            overwrite=overwrite,
            on_progress=lambda now: report(now.line, now.tokens, now.total_tokens),
        )
    say(f"{summary.tokens:,} tokens in {summary.seconds:.0f} s, {summary.steps} steps: {out}")
    if cards:
        advice = f"the dictionary in {out} is finished, but for its feature cards"
        with if_interrupted(f"{advice}: transcoders evaluate {out} {held_out or text} --cards"):
            path = make_cards(opened, str(out), held_out or text, row_length or 128)
        say(f"feature cards: {path}")
    print_evaluation(summary.evaluation, json)


def _numbers(listed: str) -> tuple[int, ...]:
    """Layers with commas; UsageError for what is no number."""
    try:
        return tuple(int(part) for part in listed.split(","))
    except ValueError as error:
        raise UsageError(f'--layers "{listed}" must be layers with commas: 1,2,3') from error


def _goes_on(out: Path, checkpoint_steps: int) -> str:
    """How a run that was stopped goes on."""
    folder = run.checkpoint_folder(out)
    if (folder / checkpoint.FACTS).is_file():
        return f"the same command goes on from the checkpoint in {folder}"
    steps = f"--checkpoint-steps {checkpoint_steps}"
    none = f"no checkpoint was due yet ({steps})"
    if not checkpoint_steps:
        none = f"there is no checkpoint with {steps}"
    return f"{none}, and the same command starts from the beginning"
