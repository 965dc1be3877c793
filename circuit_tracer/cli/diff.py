"""`circuit-tracer diff BASE TUNED SPEC`: what did a training do to a model?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.diff import spec, terminal
from circuit_tracer.processes import processes
from circuit_tracer.workbench import diffing, formats, report_folder, shipped, slugs


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
    out: Annotated[Path, option("--out", "-o", help="Where the report's own folder goes.")] = Path(
        "outputs"
    ),
    name: Annotated[
        str | None, own("--name", help="Name of that folder; diff-SPEC-TUNED by default.")
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
    """Compare a model with its tuned self; the same command goes on where it stopped."""
    formats.check_folder_name(out)
    if processes().count > 1:
        raise UsageError("diff does not work under torchrun; run it in one process")
    file = shipped.find_given(name_or_file, ".toml", "a spec in TOML")
    asked = spec.read_spec(file)
    settings = diffing.settings_for(asked, quick=quick, seed=seed)
    if name is None:
        name = diffing.folder_name(asked, tuned)
    folder = out / slugs.check_slug(name, where="`name`")
    report_folder.check_report_folder(folder, "diff", overwrite)
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
            folder,
            study,
            command=_command(base, tuned, file.name, transcoders, quick, seed, dtype),
            overwrite=overwrite,
            on_progress=report,
        )
    if json:
        print_json(found)
        return
    print_rich(terminal.page(found, width=columns()))
    print(f"\n{folder}: {', '.join(files)}")


def _command(
    base: str,
    tuned: str,
    spec_file: str,
    transcoders: list[str] | None,
    quick: bool,
    seed: int | None,
    dtype: str,
) -> str:
    """What makes the report again."""
    words = ["circuit-tracer", "diff", base, tuned, spec_file]
    other = None if dtype == "float32" else dtype
    given = [("-t", one) for one in transcoders or ()]
    for flag, value in (*given, ("--seed", seed), ("--dtype", other)):
        words += [] if value is None else [flag, str(value)]
    return shlex.join([*words, *(["--quick"] if quick else [])])
