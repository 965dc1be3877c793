"""`circuit-tracer diff BASE TUNED SPEC`: what did a training do to a model?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.cli import completion, options, reports
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.options import own
from circuit_tracer.experiments.diff import spec, study
from circuit_tracer.workbench import diffing


@explained
def diff(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The model before: a name or folder.")
    ],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The same model after.")],
    name_or_file: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            autocompletion=completion.offered(partial(bundled.shipped_specs, "diff")),
            help="A spec in TOML, or one that ships: bent.",
        ),
    ],
    transcoders: Annotated[
        list[str] | None,
        own("--transcoders", "-t", help="A dictionary of BASE (repeatable); those that ship."),
    ] = None,
    out: options.ReportsOut = Path("outputs"),
    name: Annotated[
        str | None, own("--name", help="Name of that folder; diff-SPEC-TUNED by default.")
    ] = None,
    quick: options.Quick = False,
    seed: options.SpecSeed = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Compare a model with its tuned self; the same command goes on where it stopped."""
    file, asked = reports.spec_of("diff", name_or_file, spec.read_spec)
    settings = study.Settings.of(asked, quick=quick, seed=seed)
    named = transcoders or ()
    reports.run_experiment(
        diffing.EXPERIMENT,
        ("diff", base, tuned, file),
        given=[("-t", one) for one in named],
        folder=diffing.folder_name(asked, tuned),
        opening=f"{base} and {tuned}",
        study=partial(diffing.open_study, base, tuned, asked, settings, transcoders=named),
    )
