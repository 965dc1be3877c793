"""What the viewer's page of a graph is made of: the graph and what lies beside it, and the page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from circuit_tracer.errors import GraphFileError, UsageError
from circuit_tracer.experiments.dissociation.results import DISSOCIATION_FILE
from circuit_tracer.experiments.trust.report.page_record import trust_record
from circuit_tracer.experiments.trust.results_file import TRUST_FIGURE, TRUST_FILE, stored_report
from circuit_tracer.graphs import PrunedGraph, new_file
from circuit_tracer.graphs.files.exchange import named_rows
from circuit_tracer.graphs.files.q_params import notes_of, pins_of
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.render.html import is_ours, page
from circuit_tracer.render.html_cards import MOST_CARDS
from circuit_tracer.render.html_data import Shown, record
from circuit_tracer.transcoders.cards import Card
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.folder_contents import (
    are_cards_at_hand,
    open_cards,
    open_labelled,
    place_of,
    stored_heads,
    supernodes_in,
)
from circuit_tracer.workbench.formats import FILE_NAMES

logger = logging.getLogger(__name__)


def shown_at(
    path: Path,
    *,
    cards: Path | None = None,
    pins: Path | None = None,
    labels: Path | None = None,
) -> Shown:
    """A traced folder or graph JSON with its heads, trust report, cards, supernodes and pins.

    `labels` is a file of feature labels to show in place of the graph's own.

    Raises GraphFileError for what is no graph, or pins that are not of this one.
    """
    pruned = open_labelled(path, labels, pins)
    slug, folder = place_of(path)
    return shown(pruned, slug, beside=folder, heads=_heads(pruned, path), cards=cards)


def shown(
    pruned: PrunedGraph,
    slug: str,
    *,
    beside: Path | None = None,
    heads: HeadLoadings | None = None,
    report: Mapping[str, Any] | None = None,
    cards: Path | None = None,
) -> Shown:
    """A graph with what is known of it.

    The trust `report` and the supernodes are by default those that lie in the folder `beside`, the
    pins those that the graph carries; these come before that folder's supernodes.
    """
    pinned = pins_of(pruned)
    groups: Sequence[tuple[str, Sequence[int]]] = () if pinned is None else pinned.groups
    if beside is not None:
        groups = groups if pinned is not None else supernodes_in(beside, pruned) or ()
        report = report if report is not None else stored_report(beside, pruned)
    return Shown(
        pruned,
        slug,
        heads=heads,
        trust=trust_record(report),
        cards=_cards(pruned, cards),
        supernodes=groups,
        pins=() if pinned is None else pinned.rows,
        positions="" if pinned is None else pinned.positions,
        named=named_rows(pruned.graph, pruned.kept_rows.tolist()),
        notes=notes_of(pruned.graph),
    )


def check_graph(path: Path) -> None:
    """Reports are no graphs: raises UsageError with the command that shows them."""
    if path.is_file() and path.name in (TRUST_FILE, TRUST_FIGURE):
        raise UsageError(
            f"{path} is the trust report of a graph; `circuit-tracer view {path.parent}` shows "
            f"both, `circuit-tracer show {path.parent}` in the terminal"
        )
    folder = path if path.is_dir() else path.parent
    of_report = path.is_dir() or path.name in (DISSOCIATION_FILE, "report.md")
    if of_report and (folder / DISSOCIATION_FILE).is_file():
        raise UsageError(
            f"{path} is a report of dissociate, no graph: `circuit-tracer view {folder}` shows it, "
            f"`circuit-tracer view {folder / 'graphs'}` its graphs, `circuit-tracer compare "
            f"{folder} OTHER` sets two reports side by side"
        )


def write_page(
    graph: Path | str,
    other: Path | str | None = None,
    *,
    out: Path | str | None = None,
    cards: Path | str | None = None,
    pins: Path | str | None = None,
    labels: Path | str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page of one graph, or of two of one model side by side; returns its file.

    By default that is graph.html in the first one's folder, in place of an earlier page. `cards`
    is a dictionary's folder with feature cards, `pins` a file that the viewer exported, `labels`
    one of feature labels, which are shown in place of the graphs' own.
    """
    check_arguments(write_page, locals())
    graph, given = Path(graph), {"cards": cards, "pins": pins, "labels": labels}
    beside = {name: None if one is None else Path(one) for name, one in given.items()}
    first = shown_at(graph, **beside)
    second = None if other is None else shown_at(Path(other), **{**beside, "pins": None})
    text = graph_page(first, second)
    folder = graph if graph.is_dir() else graph.parent
    name = FILE_NAMES["html"] if graph.is_dir() else f"{graph.stem}.html"
    if second is not None:
        name = f"{first.slug}-beside-{second.slug}.html"
    final = folder / name if out is None else Path(out)
    return write_text_page(text, final, overwrite=overwrite or (out is None and is_page(final)))


def write_text_page(text: str, path: Path, *, overwrite: bool) -> Path:
    """A page into a file, whole or not at all; returns the file."""
    with new_file(path, overwrite) as file:
        file.write_text(text, encoding="utf-8")
    return path


def is_page(path: Path) -> bool:
    """Whether a page of ours is there, which may be replaced."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return is_ours(file.read(1000))
    except OSError:
        return False


def graph_page(found: Shown, second: Shown | None = None, *, run: str = "") -> str:
    """The HTML page of one graph, or of two of one model; `run` names the index above it."""
    return page(record(found, second, run=run))


def _heads(pruned: PrunedGraph, path: Path) -> HeadLoadings | None:
    """Heads of another pruning are no reason not to look at a graph."""
    try:
        return stored_heads(pruned, path)
    except GraphFileError as error:
        logger.info(f"{error}")
        return None


def _cards(pruned: PrunedGraph, cards: Path | None) -> list[Card] | None:
    """Cards of the most influential kept features; None where the dictionary has none at hand."""
    if cards is None and not are_cards_at_hand(pruned):
        return None
    nodes, kept = pruned.graph.nodes, pruned.kept_rows
    rows = kept[nodes.kind[kept] == NodeKind.FEATURE]
    rows = rows[np.argsort(-pruned.influence[rows], kind="stable")]
    features = dict.fromkeys((int(nodes.layer[row]), int(nodes.feature[row])) for row in rows)
    try:
        return open_cards(pruned, cards).cards(list(features)[:MOST_CARDS])
    except UsageError as error:
        if cards is not None:
            raise
        logger.info(f"the page has no feature cards: {error}")
        return None
