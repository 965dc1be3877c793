"""The files of a traced prompt: own storage, exchange JSON, figure, networks."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from circuit_tracer.graphs.files.json_values import to_json
from circuit_tracer.graphs.files.network_formats import write
from circuit_tracer.graphs.files.q_params import pins_of
from circuit_tracer.graphs.files.storage import EDGES_FILE, NODES_FILE, TRACE_FILE
from circuit_tracer.graphs.head_loadings import HEADS_FILE, HeadLoadings, save_heads
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.render.dot import dot
from circuit_tracer.render.svg import svg
from circuit_tracer.render.trust_panel import StoredVerdict
from circuit_tracer.transcoders.cards import CardBook, feature_json, feature_path
from circuit_tracer.transcoders.published_cards import PublishedCards
from circuit_tracer.workbench.drawing import bytes_of
from circuit_tracer.workbench.folder_contents import (
    open_cards,
    open_labelled,
    stored_heads,
    supernodes_in,
)
from circuit_tracer.workbench.formats import DRAWN, EXPORTED, FILE_NAMES
from circuit_tracer.workbench.slugs import ascii_name, check_prompt
from circuit_tracer.workbench.viewing import graph_page, shown

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from circuit_tracer.experiments.trust.results import Trust
    from circuit_tracer.transcoders.neuron_cards import NeuronCards

DEFAULT_FORMATS = ("json", "svg", "graphml")


def check_place(folder: Path, overwrite: bool, prompt: str) -> None:
    """Refuse before minutes of work what would be refused at the end; raises OutputError."""
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
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputError(f"{there} cannot be written to; choose another place with `out`")


def write_form(
    pruned: PrunedGraph,
    form: str,
    path: Path,
    *,
    slug: str,
    max_nodes: int,
    overwrite: bool = False,
    beside: Path | None = None,
    trust: StoredVerdict | None = None,
    heads: HeadLoadings | None = None,
    report: Mapping[str, Any] | None = None,
) -> None:
    """One form of a graph to one file (a folder, for tables), whole or not at all.

    The exchange form gets the supernodes that lie in the folder `beside`, a figure the panel of
    what `trust` concluded (by default the report that lies there) and the `heads` on its edges.
    """
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
            if trust is None and beside is not None:
                trust = read_verdict(beside, pruned)
            file.write_bytes(_drawn(pruned, form, max_nodes, trust, heads))


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
    overwrite: bool = False,
) -> Exported:
    """One form of a traced folder or graph JSON; into its folder by default.

    With `feature_examples` also the cards of all kept features, found as `open_cards` finds them.
    `labels` is a file of feature labels to use in place of the graph's own, `pins` what the viewer
    exported: pins, groups, names and notes.
    """
    pruned = open_labelled(graph, labels, pins)
    folder = graph if graph.is_dir() else graph.parent
    file = out or folder / FILE_NAMES[form]
    texts: Mapping[Path, str] = {}
    if feature_examples:  # what is wrong with them is reported before anything is written
        book = open_cards(pruned, cards)
        texts = example_texts(pruned, file.parent, book, overwrite=overwrite)
    slug = graph.stem if graph.is_file() else graph.resolve().name
    write_form(pruned, form, file, slug=slug, max_nodes=60, overwrite=overwrite, beside=folder)
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
    return bytes_of(svg(pruned, max_nodes=max_nodes, trust=trust, heads=heads), form)


def write_trace(
    pruned: PrunedGraph,
    folder: Path,
    formats: Sequence[str],
    *,
    slug: str,
    max_nodes: int,
    overwrite: bool,
    heads: HeadLoadings | None = None,
    trust: Trust | None = None,
    beside: Path | None = None,
) -> dict[str, str]:
    """All files of one traced prompt, whole or not at all; returns what was written where.

    The exchange form gets the supernodes that lie in the folder `beside`, and without a fresh
    `trust` the report that lies there comes along, if it is of this very graph.
    """
    check_prompt(folder, pruned.graph.info.prompt)
    ours = {TRACE_FILE, NODES_FILE, EDGES_FILE, HEADS_FILE, *FILE_NAMES.values()}
    ours |= {TRUST_FILE, TRUST_FIGURE}
    report = None if trust is None else as_stored(trust)
    found = None if report is None else verdict_in(report)
    with new_folder(folder, overwrite, ours=ours) as partial:
        save_graph(pruned, partial)
        if heads is not None:
            save_heads(heads, partial)
        for form in formats:
            path = partial / FILE_NAMES[form]
            write_form(
                pruned,
                form,
                path,
                slug=slug,
                max_nodes=max_nodes,
                beside=beside,
                trust=found,
                heads=heads,
                report=report,
            )
        if trust is not None:
            write_report(trust, partial)
        elif beside is not None and stored_report(beside, pruned) is not None:
            for name in (TRUST_FILE, TRUST_FIGURE):
                if (beside / name).is_file():
                    shutil.copyfile(beside / name, partial / name)
        has_report = (partial / TRUST_FILE).is_file()
    names = {"trace": TRACE_FILE, "nodes": NODES_FILE, "edges": EDGES_FILE}
    names |= {} if heads is None else {"heads": HEADS_FILE}
    names |= {"trust": TRUST_FILE} if has_report else {}
    names |= {form: FILE_NAMES[form] for form in formats}
    return {name: os.path.join(folder, file) for name, file in names.items()}


def write_report(found: Trust, folder: Path) -> None:
    """trust.json and, of a full report, trust.svg, in place of earlier ones."""
    with new_file(folder / TRUST_FILE, overwrite=True) as file:
        file.write_text(to_json(as_stored(found), indent=2) + "\n", encoding="utf-8")
    if found.settings.quick:
        (folder / TRUST_FIGURE).unlink(missing_ok=True)  # of an earlier report
        return
    with new_file(folder / TRUST_FIGURE, overwrite=True) as file:
        file.write_text(trust_svg(found), encoding="utf-8")


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
        known = dict.fromkeys(
            (panel, loadings is not None) for panel in (verdict, None) for loadings in (heads, None)
        )
        content = (folder / FILE_NAMES[form]).read_bytes()
        if any(
            content == _drawn(pruned, form, max_nodes, panel, heads if with_heads else None)
            for panel, with_heads in known
        ):
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
    heads = stored_heads(pruned, folder)
    for form in forms:
        path = folder / FILE_NAMES[form]
        write_form(
            pruned,
            form,
            path,
            slug=folder.name,
            max_nodes=max_nodes,
            overwrite=True,
            beside=folder,
            heads=heads,
        )
    return [FILE_NAMES[form] for form in forms]


def formats_in(folder: Path) -> list[str]:
    """Which forms a traced folder holds beside its own storage."""
    return [form for form, name in FILE_NAMES.items() if (folder / name).exists()]
