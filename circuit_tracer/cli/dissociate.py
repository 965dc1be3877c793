"""`circuit-tracer dissociate SPEC`: are a fact and the judgement of it two routes, and where?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import completion, options, reports
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import progress_line
from circuit_tracer.experiments.dissociation import spec
from circuit_tracer.experiments.dissociation.report import terminal
from circuit_tracer.workbench import dissociating


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
    out: options.ReportsOut = Path("outputs"),
    name: Annotated[
        str | None,
        own("--name", help="Name of that folder; dissociate-SPEC (and -MODEL, for another)."),
    ] = None,
    quick: options.Quick = False,
    seed: options.SpecSeed = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Tell a fact's route from that of its judgement; the same command goes on where it stopped."""
    file, asked = reports.spec_of("dissociate", name_or_file, out, spec.read_spec)
    settings = dissociating.settings_for(asked, quick=quick, seed=seed)
    name = dissociating.folder_name(asked, model) if name is None else name
    folder = reports.folder_of("dissociate", out, name, overwrite)
    given = (("-m", model), ("-t", transcoders))
    words = ("dissociate", file)
    command = reports.command_line(*words, given=given, seed=seed, dtype=dtype, quick=quick)
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
            command=command,
            overwrite=overwrite,
            on_progress=report,
        )
    reports.show(found, terminal.page, folder, files, json)
