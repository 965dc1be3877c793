"""`compare A B ...`: what graphs of several prompts or dictionaries have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.batch import prompt_file
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_report, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation import results
from circuit_tracer.experiments.dissociation.report import compare as dissociations
from circuit_tracer.experiments.dissociation.report import terminal
from circuit_tracer.workbench import drawing, formats, loading


@explained
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [C ...]",
            help="Traced folders or graph JSON files; or reports of dissociate.",
        ),
    ],
    ceiling: Annotated[
        list[Path] | None,
        own("--ceiling", help="Graph of a paraphrase of A: what much overlap is; repeatable."),
    ] = None,
    floor: Annotated[
        list[Path] | None,
        own("--floor", help="Graph of an unrelated prompt: what little overlap is; repeatable."),
    ] = None,
    roles: Annotated[
        Path | None,
        own("--roles", help="Prompt file (JSON lines) that names roles of positions."),
    ] = None,
    figure: Annotated[
        Path | None,
        own("--figure", help="Draw A and B as one figure: a .svg, .pdf or .png file."),
    ] = None,
    max_nodes: options.MaxNodes = 50,
    nodes: Annotated[int, own("--nodes", min=0, help="Features to list of A and B.")] = 8,
    shuffles: Annotated[
        int, own("--shuffles", min=0, help="Random labellings that p rests on; 0 for no p.")
    ] = 200,
    seed: Annotated[int, own("--seed", min=0, help="Seed of these.")] = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Compare graphs: features, edges, paths they share, between a ceiling and a floor."""
    if len(paths) < 2:
        raise UsageError("compare needs two graphs or more; give two traced folders")
    refuse_without("--max-nodes", "--overwrite", needed="--figure", there=figure)
    if figure is not None:
        if len(paths) != 2:
            raise UsageError(f"--figure shows two graphs, not {len(paths)}; give two of them")
        formats.check_figure(figure, overwrite=overwrite)
    if results.are_reports(paths):
        if ceiling or floor or roles:
            raise UsageError("--ceiling, --floor and --roles are for graphs, not for reports")
        refuse_with(
            *("--max-nodes", "--nodes", "--shuffles", "--seed"),
            other="reports of dissociate",
            there=True,
        )
        reports = dissociations.compare_dissociations([results.read_report(p) for p in paths])
        if figure is not None:
            drawing.write_figure(reports.svg, figure, overwrite=overwrite)
        if json:
            print_json(reports.record())
            return
        print_rich(terminal.comparison_page(reports))
    else:
        refuse_with("--nodes", other="--json", there=json)
        refuse_with("--nodes", other="more than two graphs", there=len(paths) > 2)
        refuse_with("--seed", other="--shuffles 0", there=shuffles == 0)
        with progress_line() as report:
            report("comparing", 0, 0)
            compared = loading.compare(
                *paths,
                ceiling=ceiling or (),
                floor=floor or (),
                roles=None if roles is None else prompt_file.read_roles(roles),
                shuffles=shuffles,
                seed=seed,
                nodes=nodes,
            )
            if figure is not None:
                drawn = drawing.comparison_svg(compared.result, paths, max_nodes=max_nodes)
                drawing.write_figure(drawn, figure, overwrite=overwrite)
        print_report(compared, json=json)
    if figure is not None and not json:
        print(f"\n{figure}")
