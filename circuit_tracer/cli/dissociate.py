"""`circuit-tracer dissociate SPEC`: are a fact and the judgement of it two routes, and where?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import completion, options
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation import spec
from circuit_tracer.experiments.dissociation.report import terminal
from circuit_tracer.processes import processes
from circuit_tracer.workbench import dissociating, formats, shipped, slugs


@explained
def dissociate(
    name_or_file: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            autocompletion=completion.offered(completion.shipped(".toml")),
            help="A spec in TOML, or one that ships: bananas, ...",
        ),
    ],
    model: Annotated[
        str | None, own("--model", "-m", help="Another model than the spec names.")
    ] = None,
    transcoders: Annotated[
        str | None, own("--transcoders", "-t", help="Another dictionary than the spec names.")
    ] = None,
    out: Annotated[Path, option("--out", "-o", help="Where the report's own folder goes.")] = Path(
        "outputs"
    ),
    name: Annotated[
        str | None,
        own("--name", help="Name of that folder; dissociate-SPEC (and -MODEL, for another)."),
    ] = None,
    quick: Annotated[
        bool, own("--quick", help="A few items and few controls: a first look, no result.")
    ] = False,
    seed: Annotated[
        int | None, own("--seed", help="Of all that is drawn at random; the spec's by default.")
    ] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Tell a fact's route from that of its judgement; the same command goes on where it stopped."""
    formats.check_folder_name(out)
    if processes().count > 1:
        raise UsageError("dissociate does not work under torchrun; run it in one process")
    file = shipped.find_given(name_or_file, ".toml", "a spec in TOML")
    asked = spec.read_spec(file)
    settings = dissociating.settings_for(asked, quick=quick, seed=seed)
    if name is None:
        name = dissociating.folder_name(asked, model)
    folder = out / slugs.check_slug(name, where="`name`")
    dissociating.check_folder(folder, overwrite)
    with if_interrupted(goes_on(folder, overwrite)), progress_line() as report:
        report(f"opening {model or asked.model}", 0, 0)
        opened = dissociating.open_study(
            asked,
            settings,
            model=model,
            transcoders=transcoders,
            device=device,
            dtype=dtype,
            threads=threads,
        )
        found, files = dissociating.dissociate_into(
            folder,
            opened,
            command=_command(file.name, model, transcoders, quick, seed, dtype),
            overwrite=overwrite,
            on_progress=report,
        )
    if json:
        print_json(found)
        return
    print_rich(terminal.page(found, width=columns()))
    print(f"\n{folder}: {', '.join(files)}")


def _command(
    spec_file: str,
    model: str | None,
    transcoders: str | None,
    quick: bool,
    seed: int | None,
    dtype: str,
) -> str:
    """What makes the report again."""
    words = ["circuit-tracer", "dissociate", spec_file]
    other = None if dtype == "float32" else dtype
    for flag, value in (("-m", model), ("-t", transcoders), ("--seed", seed), ("--dtype", other)):
        words += [] if value is None else [flag, str(value)]
    return shlex.join([*words, *(["--quick"] if quick else [])])
