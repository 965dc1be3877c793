"""The files of a traced prompt: own storage, exchange JSON, figure, networks."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit_tracer.errors import OutputError
from circuit_tracer.experiments.trust.report.figure import trust_svg
from circuit_tracer.experiments.trust.results_file import (
    TRUST_FIGURE,
    TRUST_FILE,
    as_stored,
    read_verdict,
    stored_report,
    verdict_in,
)
from circuit_tracer.graphs import (
    NodeKind,
    new_file,
    new_folder,
    save_graph,
    to_exchange,
    write_exchange,
)
from circuit_tracer.graphs.files.atomic import resolved
from circuit_tracer.graphs.files.json_values import to_json
from circuit_tracer.graphs.files.network_formats import write
from circuit_tracer.graphs.files.q_params import pins_of
from circuit_tracer.graphs.files.storage import EDGES_FILE, NODES_FILE, TRACE_FILE
from circuit_tracer.graphs.head_loadings import HEADS_FILE, HeadLoadings, save_heads
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.dot import dot
from circuit_tracer.render.selection import MAX_NODES
from circuit_tracer.render.svg import drawn_graph
from circuit_tracer.render.trust_panel import StoredVerdict
from circuit_tracer.transcoders.cards import CardBook, feature_json, feature_path
from circuit_tracer.transcoders.published_cards import PublishedCards
from circuit_tracer.workbench.drawing import bytes_of
from circuit_tracer.workbench.folder_contents import (
    open_cards,
    open_labelled,
    place_of,
    stored_heads,
    supernodes_in,
)
from circuit_tracer.workbench.formats import DRAWN, EXPORTED, FILE_NAMES, check_formats
from circuit_tracer.workbench.slugs import ascii_name, check_prompt, slug_of
from circuit_tracer.workbench.viewing import graph_page, shown

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from circuit_tracer.experiments.trust.results import Trust
    from circuit_tracer.transcoders.neuron_cards import NeuronCards

DEFAULT_FORMATS = ("json", "svg", "graphml")
MANY_KEPT_EDGES = 100_000
"""From here on GraphML is written where it is asked for alone: networkx writes some 20,000 edges a
second, so that it would take longer than the trace."""


def default_formats(pruned: PrunedGraph) -> Sequence[str]:
    """What is written of a graph where nobody says."""
    n_edges = int(pruned.edge_kept.sum())
    if n_edges <= MANY_KEPT_EDGES:
        return DEFAULT_FORMATS
    logger.info(
        f"no GraphML is written of {n_edges:,} kept edges, which would take long; "
        "circuit-tracer export --to graphml writes it"
    )
    return [form for form in DEFAULT_FORMATS if form != "graphml"]


def check_place(folder: Path, overwrite: bool, prompt: str) -> None:
    """Refuse before minutes of work what would be refused at the end; raises OutputError."""
    resolved(folder)
    check_prompt(folder, prompt)
    if folder.is_file():
        raise OutputError(f"{folder} is a file; choose another `slug` or `out`")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise OutputError(
                f"{folder} is there already; add `overwrite` to replace it, or choose another "
                "`slug`"
            )
        if not (folder / TRACE_FILE).is_file():
            raise OutputError(
                f"{folder} holds no earlier trace, so `overwrite` leaves it alone; choose another "
                "`slug` or `out`"
            )
    check_writable(folder)


def check_writable(place: Path) -> None:
    """Refuse a place that could not be written to; raises OutputError."""
    there = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        problem = "you may not write there" if there.is_dir() else "it is a file"
        raise OutputError(f"{there} cannot be written to: {problem}; choose another `out`")


@dataclass(frozen=True)
class Extras:
    """What goes into the files of a graph besides the graph itself."""

    max_nodes: int = MAX_NODES
    """Most features and errors that a figure shows."""
    heads: HeadLoadings | None = None
    """For the edges of figures and of the viewer's page."""
    beside: Path | None = None
    """The folder whose supernodes go into the exchange form and the page."""
    report: Mapping[str, Any] | None = None
    """The trust report for figures and the page; by default the one that lies `beside`."""


def write_form(
    pruned: PrunedGraph,
    form: str,
    path: Path,
    slug: str,
    extras: Extras = Extras(),
    *,
    overwrite: bool = False,
) -> None:
    """One form of a graph to one file (a folder, for tables), whole or not at all."""
    beside, heads, report = extras.beside, extras.heads, extras.report
    if form in EXPORTED and form != "json":
        write(pruned, path, form, overwrite=overwrite)
        return
    with new_file(path, overwrite) as file:
        if form == "json":
            has_pins = pins_of(pruned) is not None  # these come first, as in the viewer
            groups = None if beside is None or has_pins else supernodes_in(beside, pruned)
            name, scan = ascii_name(slug), scan_of(pruned)
            record = to_exchange(pruned, slug=name, scan=scan, supernodes=groups)
            write_exchange(record, file)
        elif form == "html":
            found = shown(pruned, slug, beside=beside, heads=heads, report=report)
            file.write_text(graph_page(found), encoding="utf-8")
        else:
            if report is None and beside is not None:
                report = stored_report(beside, pruned)
            verdict = None if report is None else verdict_in(report)
            file.write_bytes(_drawn(pruned, form, extras.max_nodes, verdict, heads))


def scan_of(pruned: PrunedGraph) -> str:
    """What the exchange form calls the features' dictionary: "sprout-plt"."""
    info = pruned.graph.info
    return ascii_name(f"{info.model.name}-{info.dictionary.name}")


def example_texts(
    pruned: PrunedGraph,
    folder: Path,
    book: CardBook | PublishedCards | NeuronCards,
    *,
    overwrite: bool,
) -> dict[Path, str]:
    """The cards of all kept features, by their files `features/SCAN/INDEX.json`.

    Raises OutputError where another card is there, which only `overwrite` replaces.
    """
    nodes, scan = pruned.graph.nodes, scan_of(pruned)
    kept = pruned.kept_rows[nodes.kind[pruned.kept_rows] == NodeKind.FEATURE]
    features = sorted({(int(nodes.layer[row]), int(nodes.feature[row])) for row in kept})
    texts = {
        folder / feature_path(card, scan): to_json(feature_json(card, scan)) + "\n"
        for card in book.cards(features)
    }
    for path, text in texts.items():
        if not overwrite and path.exists() and path.read_bytes() != text.encode():
            raise OutputError(
                f"{path} is there already and says something else; add `overwrite` to replace it, "
                "or give another place with `out`"
            )
    return texts


def write_texts(texts: Mapping[Path, str]) -> None:
    """Files of text, each whole or not at all, in place of earlier ones."""
    for path, text in texts.items():
        with new_file(path, overwrite=True) as file:
            file.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Exported:
    """What was written of a graph."""

    file: str
    format: str
    feature_examples: Mapping[str, Any] | None
    """The "folder" of the features' cards and their "count", where they were asked for."""


def export_graph(
    graph: Path,
    form: str,
    out: Path | None = None,
    *,
    feature_examples: bool = False,
    cards: Path | None = None,
    labels: Path | None = None,
    pins: Path | None = None,
    max_nodes: int = MAX_NODES,
    overwrite: bool = False,
) -> Exported:
    """One form of a traced folder or graph JSON, drawn or not; into its folder by default.

    With `feature_examples` also the cards of all kept features, found as `open_cards` finds them.
    `labels` is a file of feature labels to use in place of the graph's own, `pins` what the viewer
    exported: pins, groups, names and notes.
    """
    pruned = open_labelled(graph, labels, pins)
    slug, folder = place_of(graph)
    file = out or folder / FILE_NAMES[form]
    texts: Mapping[Path, str] = {}
    if feature_examples:  # what is wrong with them is reported before anything is written
        book = open_cards(pruned, cards)
        texts = example_texts(pruned, file.parent, book, overwrite=overwrite)
    heads = stored_heads(pruned, graph) if form in DRAWN else None
    write_form(pruned, form, file, slug, Extras(max_nodes, heads, folder), overwrite=overwrite)
    write_texts(texts)
    place = {"folder": str(file.parent / "features" / scan_of(pruned)), "count": len(texts)}
    return Exported(str(file), form, place if feature_examples else None)


def _drawn(
    pruned: PrunedGraph,
    form: str,
    max_nodes: int,
    trust: StoredVerdict | None,
    heads: HeadLoadings | None,
) -> bytes:
    if form == "dot":
        return dot(pruned, max_nodes=max_nodes).encode()
    figure = drawn_graph(pruned, max_nodes=max_nodes, trust=trust, heads=heads)
    return bytes_of(figure.svg, form)


def write_trace(
    pruned: PrunedGraph,
    folder: Path,
    formats: str | Sequence[str] | None = None,
    extras: Extras = Extras(),
    *,
    trust: Trust | None = None,
    overwrite: bool = False,
) -> dict[str, str]:
    """All files of one traced prompt, whole or not at all; returns what was written where.

    `formats` None is JSON, SVG and, of up to `MANY_KEPT_EDGES` kept edges, GraphML. Without a fresh
    `trust` the report that lies beside comes along, if it is of this very graph.
    """
    prompt = pruned.graph.info.prompt
    check_prompt(folder, prompt)
    formats = default_formats(pruned) if formats is None else formats
    formats = check_formats(formats, tuple(FILE_NAMES))
    ours = {TRACE_FILE, NODES_FILE, EDGES_FILE, HEADS_FILE, *FILE_NAMES.values()}
    ours |= {TRUST_FILE, TRUST_FIGURE}
    beside, slug = extras.beside, folder.resolve().name or slug_of(prompt)
    if trust is not None:
        extras = replace(extras, report=as_stored(trust))
    with new_folder(folder, overwrite, ours=ours) as partial:
        save_graph(pruned, partial)
        if extras.heads is not None:
            save_heads(extras.heads, partial)
        for form in formats:
            write_form(pruned, form, partial / FILE_NAMES[form], slug, extras)
        if trust is not None:
            write_report(trust, partial)
        elif beside is not None and stored_report(beside, pruned) is not None:
            for name in (TRUST_FILE, TRUST_FIGURE):
                if (beside / name).is_file():
                    shutil.copyfile(beside / name, partial / name)
        has_report = (partial / TRUST_FILE).is_file()
    names = {"trace": TRACE_FILE, "nodes": NODES_FILE, "edges": EDGES_FILE}
    names |= {} if extras.heads is None else {"heads": HEADS_FILE}
    names |= {"trust": TRUST_FILE} if has_report else {}
    names |= {form: FILE_NAMES[form] for form in formats}
    return {name: os.path.join(folder, file) for name, file in names.items()}


def write_report(found: Trust, folder: Path) -> None:
    """trust.json and, of a full report, trust.svg, in place of earlier ones."""
    texts = {folder / TRUST_FILE: to_json(as_stored(found), indent=2) + "\n"}
    if found.settings.quick:
        (folder / TRUST_FIGURE).unlink(missing_ok=True)  # of an earlier report
    else:
        texts[folder / TRUST_FIGURE] = trust_svg(found)
    write_texts(texts)


def figures_in(
    pruned: PrunedGraph, folder: Path, *, max_nodes: int, all_of_them: bool = False
) -> list[str]:
    """The forms of the figures in a traced folder that may be drawn again.

    A figure that was drawn otherwise (`render --routes`, another `max_nodes`) is somebody's work:
    it is left out, with a note, unless all of them are asked for.
    """
    verdict, heads = read_verdict(folder, pruned), stored_heads(pruned, folder)
    found = []
    for form in (one for one in formats_in(folder) if one in DRAWN and one != "dot"):
        if all_of_them or form == "html":
            found.append(form)
            continue
        # Heads may have been stored, or the report written, after the figure was drawn.
        carried = [None] if heads is None else [heads, None]
        known = product(dict.fromkeys((verdict, None)), carried)
        content = (folder / FILE_NAMES[form]).read_bytes()
        if any(content == _drawn(pruned, form, max_nodes, *one) for one in known):
            found.append(form)
        else:
            logger.info(
                f"{folder / FILE_NAMES[form]} was drawn otherwise and stays; circuit-tracer "
                "render draws it with the report"
            )
    return found


def draw_again(
    pruned: PrunedGraph, folder: Path, forms: Sequence[str], *, max_nodes: int
) -> list[str]:
    """Figures of a traced folder, with what is known of the graph now; returns their names."""
    extras = Extras(max_nodes, stored_heads(pruned, folder), folder)
    for form in forms:
        write_form(pruned, form, folder / FILE_NAMES[form], folder.name, extras, overwrite=True)
    return [FILE_NAMES[form] for form in forms]


def formats_in(folder: Path) -> list[str]:
    """Which forms a traced folder holds beside its own storage."""
    return [form for form, name in FILE_NAMES.items() if (folder / name).exists()]
