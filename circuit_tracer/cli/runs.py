"""`circuit-tracer runs show|export`: look at what `batch` has stored, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.batch import stored_run, summary
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.cli.wording import in_options
from circuit_tracer.render import run_tables
from circuit_tracer.workbench import folders, formats, slugs

app = typer.Typer(help="Look at stored runs.", no_args_is_help=True)

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder (outputs/NAME).", exists=False)
]


@app.command()
@explained
def show(
    run: RunPath,
    tag: Annotated[
        list[str] | None, own("--tag", help="Features of prompts with this tag; repeatable.")
    ] = None,
    top: Annotated[int, own("--top", min=1, help="Lines of each table.")] = 10,
    failures: Annotated[int, own("--failures", min=0, help="Failures to list.")] = 10,
    seed: Annotated[int, own("--seed", min=0, help="Of the bootstrap.")] = 0,
    json: options.Json = False,
) -> None:
    """Progress, failures and rate of a run, and its scores, features, routes and heads."""
    overview = summary.overview(stored_run.open_run(run), tag or (), top=top, seed=seed)
    if json:
        print_json(overview.record(failures))
        return
    print_rich(*run_tables.page(overview, failures, in_options))


@app.command()
@explained
def export(
    run: RunPath,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="Its id, own id, line number or text.")
    ],
    out: Annotated[
        Path | None, own("--out", "-o", help="The folder to write; by default outputs/ID.")
    ] = None,
    format: options.Formats = None,
    max_nodes: options.MaxNodes = 60,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write one prompt of a run as a folder of its own, which every other command reads."""
    forms = formats.check_formats(
        folders.DEFAULT_FORMATS if format is None else format, list(formats.FILE_NAMES)
    )
    formats.check_drawing(forms)
    refuse_without("--max-nodes", needed="a --format that draws", there=formats.draws_nodes(forms))
    formats.check_folder_name(out)
    opened = stored_run.open_run(run)
    key = opened.find(prompt)
    pruned = opened.graph(key)
    own = opened.own_name(key)
    name = f"{opened.name}-{slugs.slug_of(own) if own else key[:12]}"
    final = out or slugs.folder_for(Path("outputs"), name, pruned.graph.info.prompt)
    extras = folders.Extras(max_nodes)
    files = folders.write_trace(pruned, final, format and forms, extras, overwrite=overwrite)
    if json:
        print_json({"folder": str(final), "files": files})
    else:
        print(final)
