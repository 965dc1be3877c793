"""`render` and `figure`: graphs drawn for papers, alone or several on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer.cli import invocation, options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_with
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
        float | None,
        own(
            "--width",
            help="Width on paper in millimetres. The figure is laid out for it: letters of 6 pt "
            "and more, as many nodes as then fit, the bare graph unless asked otherwise.",
        ),
    ] = None,
    legend: Annotated[
        str | None,
        own(
            "--legend",
            help="none, short (the marks) or full (scores and settings, too); full by default, "
            "none with --width.",
        ),
    ] = None,
    trust: Annotated[
        bool | None,
        own(
            "--trust/--no-trust",
            help="The trust report's panel below; by default where there is a report, and not "
            "with --width.",
        ),
    ] = None,
    caption: Annotated[
        bool,
        own(
            "--caption",
            help="Print a caption for the paper: what is drawn, in words. The figure is written "
            "only with --out or --format.",
        ),
    ] = False,
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
    view = invocation.as_asked(drawing.View)
    colors = one_of("--theme", theme, page_size.THEMES)
    figures = formats.FIGURES
    if form not in figures and (view != drawing.View(max_nodes) or theme != "print" or caption):
        raise UsageError(
            "--routes, --level, --width, --legend, --trust, --caption and --theme are for "
            f"{', '.join(figures)}; leave them out with {form}"
        )
    refuse_with("--max-nodes", other=f"the form {form}", there=not formats.draws_nodes([form]))
    final = out or folder_contents.place_of(graph)[1] / formats.FILE_NAMES[form]
    if form not in figures:
        folders.export_graph(graph, form, final, max_nodes=max_nodes, overwrite=overwrite)
        _print_written(final, form, None, as_json=json)
        return
    is_written = not caption or out is not None or format is not None
    refuse(
        *("--overwrite", "--theme"),
        idle=not is_written,
        why="with --caption alone, which writes no figure; add --out or --format, or leave it out",
    )
    formats.check_drawing([form] if is_written else [])
    figure = drawing.drawing_of(graph, view)
    if is_written:
        drawing.write_figure(
            figure.svg, final, form, width_mm=width, theme=colors, overwrite=overwrite
        )
    words = figure.caption if caption else None
    _print_written(final if is_written else None, form, words, as_json=json)


def _print_written(file: Path | None, form: str, caption: str | None, *, as_json: bool) -> None:
    """The caption, if asked for, else where the figure is."""
    if as_json:
        record = {} if file is None else {"file": str(file), "format": form}
        print_json(record if caption is None else {**record, "caption": caption})
    else:
        print(file if caption is None else caption)


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
    drawing.write_figure(
        figure_pages.page_of(found, spec.parent),
        final,
        form,
        width_mm=found.width,
        theme=found.theme,
        overwrite=overwrite,
    )
    if json:
        print_json({"figure": str(final), "panels": len(found.panels), "width_mm": found.width})
    else:
        print(final)
