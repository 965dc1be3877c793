"""Options that several commands share: one place for their words, help and environment names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import completion
from circuit_tracer.cli.app import environment_name
from circuit_tracer.cli.completion import Values, offered
from circuit_tracer.workbench import formats


def option(*names: str, help: str, values: Values = (), **more: Any) -> Any:
    """A Typer option that can also be set by its environment variable.

    `values` is what a shell completes after it, or a call that finds that out.
    """
    if values:
        more["autocompletion"] = offered(values)
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    more.setdefault("envvar", environment_name(long))
    more.setdefault("show_envvar", False)
    return typer.Option(*names, help=help, **more)


def own(*names: str, help: str, **more: Any) -> Any:
    """A Typer option that means something in its own command only: no environment variable."""
    return option(*names, help=help, envvar=None, **more)


Model = Annotated[
    str,
    option(
        "--model",
        "-m",
        values=completion.models,
        help="Bundled name, folder, GGUF file or hub name of the model.",
    ),
]
ModelHere = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=offered(completion.models),
        help="Bundled name, folder, GGUF file or hub name.",
    ),
]
ModelOrAsked = Annotated[
    str | None,
    own(
        "--model",
        "-m",
        values=completion.models,
        help="Its name, folder or file; sprout, or that of the spec or graph, by default.",
    ),
]


RunsOut = Annotated[Path, option("--out", "-o", help="Where the run's own folder goes.")]
Shard = Annotated[
    str | None,
    own("--shard", help="i/N, from 0; by default what SLURM, torchrun or Kubernetes say."),
]
SaveEvery = Annotated[
    int, own("--save-every", min=1, help="Rows after which they go to disk, or a minute.")
]
RetryFailed = Annotated[bool, own("--retry-failed", help="Try those again that failed before.")]


def _transcoders(of_model: Callable[[str], list[str]]) -> Any:
    return option(
        "--transcoders",
        "-t",
        values=partial(completion.of_models, of_model),
        help="The dictionary: plt or clt (bundled with the model), neurons (the model's own), a "
        "folder, or a hub name. plt by default for bundled models, neurons for all others.",
    )


Transcoders = Annotated[str | None, _transcoders(bundled.bundled_transcoders)]
AnyDictionary = Annotated[str | None, _transcoders(bundled.bundled_dictionaries)]
TranscodersFormat = Annotated[
    str | None,
    option(
        "--transcoders-format",
        help="Its file format, where the files do not tell: ours, circuit-tracer, saelens, ...",
    ),
]
Device = Annotated[
    str,
    option(
        "--device",
        values=("auto", "cpu", "cuda", "mps"),
        help="cpu, cuda, cuda:1, mps, or auto.",
    ),
]
DeviceMap = Annotated[
    str | None,
    option("--device-map", help="auto: spread the layers over all GPUs (needs accelerate)."),
]
Dtype = Annotated[
    str,
    option(
        "--dtype",
        values=("float32", "float64", "bf16", "tf32"),
        help="float32 or float64; bf16 and tf32 lower the sweep alone, with an audit.",
    ),
]
Answer = Annotated[
    str | None, own("--answer", help="The token to explain; what the model says by default.")
]
Rival = Annotated[
    str | None,
    own("--against", help="A token the answer beats, in place of its likeliest rivals."),
]
StepSplit = Annotated[
    str, own("--split", help="What is a step: sentence, line, or a regex that ends one.")
]
NodeThreshold = Annotated[
    float, option("--node-threshold", help="Share of influence the kept nodes carry.")
]
EdgeThreshold = Annotated[
    float, option("--edge-threshold", help="Share of influence the kept edges carry.")
]
Json = Annotated[bool, own("--json", help="Print one JSON object instead of text.")]
Overwrite = Annotated[
    bool, option("--overwrite", help="Replace what is there from an earlier run.")
]
Threads = Annotated[
    int | None, option("--threads", min=1, help="Threads for torch; all cores by default.")
]
GraphsModel = Annotated[
    str | None,
    own(
        "--model",
        "-m",
        values=completion.models,
        help="Where the graph's model is, if not where it was.",
    ),
]
GraphsTranscoders = Annotated[
    str | None, own("--transcoders", "-t", help="Where the graph's dictionary is, likewise.")
]
Labels = Annotated[
    Path | None,
    own(
        "--labels",
        help="Labels of features, in place of the cards' own: jsonl, csv, or Neuronpedia's export.",
    ),
]
Pins = Annotated[
    Path | None, own("--pins", help="Pins, groups, names and notes exported in the viewer.")
]
GraphPath = Annotated[
    Path,
    typer.Argument(
        metavar="GRAPH", help="A traced folder (outputs/SLUG), or a graph JSON file.", exists=False
    ),
]
MaxNodes = Annotated[
    int,
    option(
        "--max-nodes",
        "--top-n",
        min=1,
        help="Most features and errors drawn, by influence; the page says what is left.",
    ),
]
Formats = Annotated[
    list[str] | None,
    option(
        "--format",
        values=formats.FILE_NAMES,
        help=f"Files to write: {', '.join(formats.FILE_NAMES)}; repeatable. "
        "By default json, svg and, of up to 100,000 kept edges, graphml.",
    ),
]
ReportsOut = Annotated[Path, option("--out", "-o", help="Where the report's own folder goes.")]
Quick = Annotated[
    bool, own("--quick", help="A few items and few controls: a first look, no result.")
]
SpecSeed = Annotated[
    int | None, own("--seed", help="Of all that is drawn at random; the spec's by default.")
]
