"""`circuit-tracer dissociate SPEC`: are a fact and the judgement of it two routes, and where?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import completion, options, reports
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.options import own
from circuit_tracer.experiments.dissociation import spec, study
from circuit_tracer.workbench import dissociating


@explained
def dissociate(
    name_or_file: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            autocompletion=completion.offered(partial(bundled.shipped_specs, "dissociate")),
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
    file, asked = reports.spec_of("dissociate", name_or_file, spec.read_spec)
    settings = study.Settings.of(asked, quick=quick, seed=seed)
    reports.run_experiment(
        dissociating.EXPERIMENT,
        ("dissociate", file),
        given=(("-m", model), ("-t", transcoders)),
        folder=dissociating.folder_name(asked, model),
        opening=model or asked.model,
        study=partial(
            dissociating.open_study, asked, settings, model=model, transcoders=transcoders
        ),
    )
