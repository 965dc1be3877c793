"""`circuit-tracer diff BASE TUNED SPEC`: what did a training do to a model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import options, reports
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import progress_line
from circuit_tracer.experiments.diff import spec, terminal
from circuit_tracer.workbench import diffing


@explained
def diff(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The model before: a name or folder.")
    ],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The same model after.")],
    name_or_file: Annotated[
        str, typer.Argument(metavar="SPEC", help="A spec in TOML, or one that ships: bent.")
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
    file, asked = reports.spec_of("diff", name_or_file, out, spec.read_spec)
    settings = diffing.settings_for(asked, quick=quick, seed=seed)
    name = diffing.folder_name(asked, tuned) if name is None else name
    folder = reports.folder_of("diff", out, name, overwrite)
    given = [("-t", one) for one in transcoders or ()]
    words = ("diff", base, tuned, file)
    command = reports.command_line(*words, given=given, seed=seed, dtype=dtype, quick=quick)
    with if_interrupted(goes_on(folder, overwrite)), progress_line() as report:
        report(f"opening {base} and {tuned}", 0, 0)
        study = diffing.open_study(
            base,
            tuned,
            asked,
            settings,
            transcoders=transcoders or (),
            device=device,
            dtype=dtype,
            threads=threads,
        )
        found, files = diffing.diff_into(
            folder, study, command=command, overwrite=overwrite, on_progress=report
        )
    reports.show(found, terminal.page, folder, files, json)
