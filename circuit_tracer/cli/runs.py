"""`circuit-tracer runs show|export`: look at what `batch` has stored, without torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer.batch import stored_run, summary
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.workbench import folders, slugs
from circuit_tracer.workbench import formats as workbench_formats

if TYPE_CHECKING:
    from circuit_tracer.batch.stored_run import Run

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
    opened = stored_run.open_run(run)
    known = list(summary.tag_counts(opened))
    if tag and not known:
        raise UsageError("the prompts of this run have no tags; leave out --tag")
    tags = [one_of("--tag", one, known) for one in tag or ()]
    tags = tags or [summary.EVERYTHING, *known[:3]]
    stand = summary.progress(opened)
    lines = [line for one in tags for line in summary.features(opened, one, top=top, seed=seed)]
    routes, heads = summary.routes(opened, top=top), summary.heads(opened, top=top, seed=seed)
    scores = summary.score_quantiles(opened)
    if json:
        print_json(
            {
                "run": opened.name,
                "progress": {**stand._asdict(), "rate": stand.rate, "left": stand.left},
                "failures": opened.failures.to_pylist()[:failures],
                "tags": summary.tag_counts(opened),
                "quantiles": list(summary.QUANTILES),
                "scores": scores,
                "features": [_plain(line) for line in lines],
                "routes": [asdict(line) for line in routes],
                "heads": [_plain(line) for line in heads],
            }
        )
        return
    from circuit_tracer.cli import run_tables as tables

    print_rich(
        tables.heading(opened.name, opened.info, stand),
        *tables.failures(opened.failures.to_pylist(), failures),
        *tables.scores(summary.QUANTILES, scores),
        *tables.features(lines),
        *tables.routes(routes),
        *tables.heads(heads),
    )


def _plain(line: Any) -> dict[str, Any]:
    """A line with its intervals as objects."""
    return {"name": line.name, **asdict(line)}


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
    formats = workbench_formats.check_formats(
        format if format is not None else folders.DEFAULT_FORMATS,
        list(workbench_formats.FILE_NAMES),
    )
    workbench_formats.check_drawing(formats)
    refuse_without(
        "--max-nodes", needed="a --format that draws", there=workbench_formats.draws_nodes(formats)
    )
    workbench_formats.check_folder_name(out)
    opened = stored_run.open_run(run)
    key = opened.find(prompt)
    pruned = opened.graph(key)
    text = pruned.graph.info.prompt
    final = out or slugs.folder_for(Path("outputs"), f"{opened.name}-{_name(opened, key)}", text)
    files = folders.write_trace(
        pruned, final, formats, slug=final.name, max_nodes=max_nodes, overwrite=overwrite
    )
    if json:
        print_json({"folder": str(final), "files": files})
    else:
        print(final)


def _name(run: Run, key: str) -> str:
    """A prompt's own id as far as it can be a folder's name, else how its id begins."""
    names = dict(zip(*(run.graphs.column(c).to_pylist() for c in ("id", "name")), strict=True))
    return slugs.slug_of(names[key]) if names[key] else key[:12]
