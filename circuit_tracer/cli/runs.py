"""`circuit-tracer runs show|export`: look at what `batch` has stored, without torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.files import (
    DEFAULT_FORMATS,
    write_trace,
)
from circuit_tracer.cli.forms import (
    FILE_NAMES,
    check_drawing,
    check_folder_name,
    check_formats,
    draws_nodes,
)
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.names import folder_for, slug_of
from circuit_tracer.cli.options import one_of, own
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.errors import UsageError

if TYPE_CHECKING:
    from circuit_tracer.batch.store import Run

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
    from circuit_tracer.batch import summary
    from circuit_tracer.batch.progress import progress
    from circuit_tracer.batch.store import open_run

    opened = open_run(run)
    known = list(summary.tag_counts(opened))
    if tag and not known:
        raise UsageError("the prompts of this run have no tags; leave out --tag")
    tags = [one_of("--tag", one, known) for one in tag or ()]
    tags = tags or [summary.EVERYTHING, *known[:3]]
    stand = progress(opened)
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
    from circuit_tracer.batch.store import open_run

    formats = check_formats(format if format is not None else DEFAULT_FORMATS, list(FILE_NAMES))
    check_drawing(formats)
    refuse_without("--max-nodes", needed="a --format that draws", there=draws_nodes(formats))
    check_folder_name(out)
    opened = open_run(run)
    key = opened.find(prompt)
    pruned = opened.graph(key)
    text = pruned.graph.info.prompt
    final = out or folder_for(Path("outputs"), f"{opened.name}-{_name(opened, key)}", text)
    files = write_trace(
        pruned, final, formats, slug=final.name, max_nodes=max_nodes, overwrite=overwrite
    )
    if json:
        print_json({"folder": str(final), "files": files})
    else:
        print(final)


def _name(run: Run, key: str) -> str:
    """A prompt's own id as far as it can be a folder's name, else how its id begins."""
    names = dict(zip(*(run.graphs.column(c).to_pylist() for c in ("id", "name")), strict=True))
    return slug_of(names[key]) if names[key] else key[:12]
