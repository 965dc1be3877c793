"""`circuit-tracer view GRAPH|RUN`: look at graphs in the browser."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer import graphs
from circuit_tracer.batch import store
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, say
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation import results_file
from circuit_tracer.experiments.trust import results_file as trust_results_file
from circuit_tracer.graphs.files import storage
from circuit_tracer.render import html
from circuit_tracer.workbench import formats, index_pages, serving, viewing

if TYPE_CHECKING:
    from circuit_tracer.workbench.index_pages import Pages

MARKER = ".circuit-tracer-pages"
"""Tells a folder of pages, which --overwrite may replace, from anybody's folder."""


@explained
def view(
    graph: Annotated[
        Path,
        typer.Argument(
            metavar="GRAPH",
            help="A traced folder, a graph JSON file, a run of `batch`, or a folder of traces.",
        ),
    ],
    other: Annotated[
        Path | None,
        typer.Argument(metavar="OTHER", help="A second graph of the same model, side by side."),
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
    pins: Annotated[
        Path | None, own("--pins", help="Pins and groups that were exported in the viewer.")
    ] = None,
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
    """Look at a graph, or two, as one HTML page; at a run's graphs from an index, served locally.

    The page holds all it needs: it opens anywhere, also from a mail, and asks for nothing.
    """
    for one in (graph, *([] if other is None else [other])):
        _refuse_report(one)
    many = other is None and _is_many(graph)
    if many and (cards is not None or pins is not None):
        raise UsageError("--cards and --pins go with one graph; name one of them")
    refuse(
        "--port",
        idle=not many or out is not None,
        why="on pages that are written; leave it out (only many graphs are served)",
    )
    if not many:
        formats.form_of(out, None, ("html",), default="html")
        page = _write_page(graph, other, out, cards, pins, overwrite=overwrite)
        _tell(str(page), page.resolve().as_uri(), browser=browser, json=json)
        return
    formats.check_folder_name(out)
    pages = _pages(graph)
    if out is not None:
        index = _write_pages(pages, out, overwrite=overwrite)
        _tell(str(index), index.resolve().as_uri(), browser=browser, json=json)
        return
    _serve(pages, port, browser=browser, json=json)


def _refuse_report(path: Path) -> None:
    """Reports are no graphs: raises UsageError with the command that shows them."""
    if path.is_file() and path.name in (
        trust_results_file.TRUST_FILE,
        trust_results_file.TRUST_FIGURE,
    ):
        raise UsageError(
            f"{path} is the trust report of a graph; `circuit-tracer view {path.parent}` shows "
            f"both, `circuit-tracer show {path.parent}` in the terminal"
        )
    folder = path if path.is_dir() else path.parent
    of_report = path.is_dir() or path.name in (results_file.DISSOCIATION_FILE, "report.md")
    if of_report and (folder / results_file.DISSOCIATION_FILE).is_file():
        raise UsageError(
            f"{path} is a report of dissociate, no graph: read {folder / 'report.md'}; "
            f"`circuit-tracer view {folder / 'graphs'}` shows its graphs, `circuit-tracer compare "
            f"{folder} OTHER` sets two reports side by side"
        )


def _is_many(path: Path) -> bool:
    """Whether the path is a run or a folder of traced folders."""
    return path.is_dir() and not (path / storage.TRACE_FILE).is_file()


def _pages(path: Path) -> Pages:
    return (
        index_pages.run_pages(store.open_run(path))
        if store.is_run(path)
        else index_pages.folder_pages(path)
    )


def _write_page(
    graph: Path,
    other: Path | None,
    out: Path | None,
    cards: Path | None,
    pins: Path | None,
    *,
    overwrite: bool,
) -> Path:
    """One page of one or two graphs; without `out` it lies beside the first, in place of an earlier
    page."""
    first = viewing.shown_at(graph, cards=cards, pins=pins)
    second = None if other is None else viewing.shown_at(other, cards=cards)
    text = viewing.graph_page(first, second)
    folder = graph if graph.is_dir() else graph.parent
    name = formats.FILE_NAMES["html"] if graph.is_dir() else f"{graph.stem}.html"
    if second is not None:
        name = f"{first.slug}-beside-{second.slug}.html"
    final = out or folder / name
    with graphs.new_file(final, overwrite or (out is None and _is_page(final))) as file:
        file.write_text(text, encoding="utf-8")
    return final


def _is_page(path: Path) -> bool:
    """Whether a page of ours is there, which may be made anew."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return html.is_ours(file.read(1000))
    except OSError:
        return False


def _write_pages(pages: Pages, folder: Path, *, overwrite: bool) -> Path:
    """The index and all pages in a folder, whole or not at all; returns the index."""
    from urllib.parse import unquote

    from circuit_tracer.cli.output import progress_line

    with graphs.new_folder(folder, overwrite, marker=MARKER) as partial, progress_line() as report:
        (partial / MARKER).write_text("Written by circuit-tracer view.\n", encoding="utf-8")
        (partial / "index.html").write_text(pages.index, encoding="utf-8")
        for done, (address, make) in enumerate(pages.graphs.items()):
            report("writing pages", done, len(pages.graphs))
            path = partial / unquote(address)
            path.parent.mkdir(exist_ok=True)
            path.write_text(make(), encoding="utf-8")
    return folder / "index.html"


def _serve(pages: Pages, port: int, *, browser: bool, json: bool) -> None:
    with serving.serving(pages, port) as server:
        _tell(server.address, server.address, browser=browser, json=json)
        say(f"{len(pages.graphs):,} graphs; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


def _tell(place: str, address: str, *, browser: bool, json: bool) -> None:
    """Print where the page is, and open it."""
    import webbrowser

    if json:
        print_json({"page": place, "address": address})
    else:
        print(place)
    sys.stdout.flush()
    if browser and not webbrowser.open(address):
        say("note: no browser was found here; open that page in one")
