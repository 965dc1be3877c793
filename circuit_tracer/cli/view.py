"""`circuit-tracer view GRAPH|RUN|REPORT`: look at graphs and reports in the browser."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer.cli import invocation, options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, progress_line, say
from circuit_tracer.errors import UsageError
from circuit_tracer.workbench import formats, index_pages, report_pages, serving, viewing

if TYPE_CHECKING:
    from circuit_tracer.workbench.index_pages import Pages


@explained
def view(
    graph: Annotated[
        Path,
        typer.Argument(
            metavar="GRAPH",
            help="A traced folder, a graph JSON file, a run of `batch`, a folder of traces, or the "
            "report of `dissociate`, `diff`, `steps` or `edits`.",
        ),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(
            metavar="OTHER",
            help="A second graph, side by side; of another model of the same depth, too.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        own(
            "--out",
            "-o",
            help="The file to write, by default graph.html in the traced folder; for many graphs a "
            "new folder to write all pages to, instead of serving them.",
        ),
    ] = None,
    cards: Annotated[
        Path | None, own("--cards", help="Dictionary folder whose feature cards to show.")
    ] = None,
    pins: options.Pins = None,
    labels: options.Labels = None,
    browser: Annotated[
        bool,
        own("--browser/--no-browser", help="Open the page; without, its place is just printed."),
    ] = True,
    port: Annotated[
        int, own("--port", min=0, max=65535, help="Where many graphs are served; 0 takes a free.")
    ] = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Look at a graph, or two, as one HTML page; at a run's graphs from an index, served locally;
    at an experiment's report as a page with its figures.

    The page holds all it needs: it opens anywhere, also from a mail, and asks for nothing.
    """
    found = None if other is not None else report_pages.report_in(graph)
    if found is not None:
        idle = {"--cards": cards, "--pins": pins, "--labels": labels, "--port": port or None}
        for flag, value in idle.items():
            if value is not None:
                raise UsageError(f"{flag} is for graphs, and {graph} is a report; leave it out")
        page = report_pages.write_report_page(found, out, overwrite=overwrite)
        _tell(str(page), page.resolve().as_uri(), browser=browser, json=json)
        return
    for one in (graph, *([] if other is None else [other])):
        viewing.check_graph(one)
    many = other is None and index_pages.is_many(graph)
    if many and (cards, pins, labels) != (None, None, None):
        raise UsageError("--cards, --pins and --labels go with one graph; name one of them")
    refuse(
        "--port",
        idle=not many or out is not None,
        why="on pages that are written; leave it out (only many graphs are served)",
    )
    refuse(
        "--overwrite",
        idle=many and out is None,
        why="on pages that are served; leave it out, or give a folder with --out",
    )
    if not many:
        formats.form_of(out, None, ("html",), default="html")
        page = invocation.as_asked(viewing.write_page, graph, other)
        _tell(str(page), page.resolve().as_uri(), browser=browser, json=json)
        return
    formats.check_folder_name(out)
    pages = index_pages.pages_of(graph)
    if out is not None:
        with progress_line() as report:
            index = index_pages.write_pages(pages, out, overwrite=overwrite, on_progress=report)
        _tell(str(index), index.resolve().as_uri(), browser=browser, json=json)
        return
    _serve(pages, port, browser=browser, json=json)


def _serve(pages: Pages, port: int, *, browser: bool, json: bool) -> None:
    with serving.serving(pages, port) as server:
        _tell(server.address, server.address, browser=browser, json=json)
        say(f"{len(pages.graphs):,} graphs; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _tell(place: str, address: str, *, browser: bool, json: bool) -> None:
    """Print where the page is, and open it."""
    if json:
        print_json({"page": place, "address": address})
    else:
        print(place)
    sys.stdout.flush()
    if browser and not webbrowser.open(address):
        say("note: no browser was found here; open that page in one")
