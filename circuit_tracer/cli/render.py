"""`render` and `figure`: graphs drawn for papers, alone or several on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import graphs
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.render import page_size
from circuit_tracer.workbench import drawing, figure_pages, folder_contents, folders, formats


@explained
def render(
    graph: options.GraphPath,
    format: Annotated[
        str | None,
        own(
            "--format",
            values=formats.DRAWN,
            help=f"One of {', '.join(formats.DRAWN)}; by default as --out ends, or svg.",
        ),
    ] = None,
    out: Annotated[Path | None, own("--out", "-o", help="The file to write.")] = None,
    max_nodes: options.MaxNodes = 60,
    routes: Annotated[
        int | None,
        own("--routes", min=1, help="Draw so many strongest routes to each target alone."),
    ] = None,
    level: Annotated[
        str,
        own(
            "--level",
            values=lambda: drawing.LEVELS,
            help="nodes or supernodes: with supernodes, those of GRAPH/supernodes.toml (else such "
            "as are found) are one node each.",
        ),
    ] = "nodes",
    width: Annotated[
        float | None, own("--width", help="Width on paper in millimetres, letters scaled with it.")
    ] = None,
    theme: Annotated[
        str,
        own(
            "--theme",
            values=lambda: page_size.THEMES,
            help="print (on white), light (on nothing, for slides) or dark.",
        ),
    ] = "print",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Draw a traced graph as SVG, DOT, PDF or PNG, or as a page for the browser (html)."""
    form = formats.form_of(out, format, formats.DRAWN, default="svg")
    view = drawing.View(max_nodes, routes, one_of("--level", level, drawing.LEVELS))
    colors = one_of("--theme", theme, page_size.THEMES)
    figures = formats.FIGURES
    if form not in figures and not (view.is_whole and width is None and theme == "print"):
        raise UsageError(
            f"--routes, --level, --width and --theme are for {', '.join(figures)}; leave them "
            f"out with {form}"
        )
    refuse_with("--max-nodes", other=f"the form {form}", there=not formats.draws_nodes([form]))
    folder = graph if graph.is_dir() else graph.parent
    final = out or folder / formats.FILE_NAMES[form]
    if form in figures:
        formats.check_drawing([form])
        _write(
            final, drawing.bytes_of(drawing.graph_svg(graph, view), form, width, colors), overwrite
        )
    else:
        _write_page(graph, form, final, max_nodes, overwrite)
    if json:
        print_json({"file": str(final), "format": form})
    else:
        print(final)


def _write(final: Path, content: bytes, overwrite: bool) -> None:
    with graphs.new_file(final, overwrite) as file:
        file.write_bytes(content)


def _write_page(graph: Path, form: str, final: Path, max_nodes: int, overwrite: bool) -> None:
    """DOT text or the browser's page: forms without a size."""
    pruned = graphs.open_graph(graph)
    folders.write_form(
        pruned,
        form,
        final,
        slug=graph.stem if graph.is_file() else graph.resolve().name,
        max_nodes=max_nodes,
        overwrite=overwrite,
        beside=graph if graph.is_dir() else graph.parent,
        heads=folder_contents.stored_heads(pruned, graph),
    )


@explained
def figure(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC",
            help="A TOML file that says which panels the page has (docs/figures.md).",
        ),
    ],
    out: Annotated[
        Path | None, own("--out", "-o", help="The file to write, by default SPEC with its ending.")
    ] = None,
    format: Annotated[
        str | None,
        own(
            "--format",
            values=formats.FIGURES,
            help=f"One of {', '.join(formats.FIGURES)}; by default as --out ends, or svg.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Compose a page of several panels (graphs, routes, curves) from a TOML file."""
    form = formats.form_of(out, format, formats.FIGURES, default="svg")
    formats.check_drawing([form])
    found = figure_pages.read_spec(spec)
    final = out or spec.with_suffix(f".{form}")
    if final.resolve() == spec.resolve():
        raise UsageError(f"{final} is the spec itself; give the page another name with --out")
    _write(
        final,
        drawing.bytes_of(figure_pages.page_of(found, spec.parent), form, found.width, found.theme),
        overwrite,
    )
    if json:
        print_json({"figure": str(final), "panels": len(found.panels), "width_mm": found.width})
    else:
        print(final)
