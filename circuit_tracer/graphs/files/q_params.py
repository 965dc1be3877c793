"""Pins and supernodes in the form the viewers keep them in: the exchange form's `qParams`.

    {"qParams": {"pinnedIds": ["0_117_3", ...], "supernodes": [["banana", "0_117_3", ...]],
                 "sg_pos": "120 40 300 95 ...", "clerps": [["0_7020_3", "a name"], ...], ...},
     "metadata": {"circuit_tracer_cli": {"notes": {"0_117_3": "a note", ...}}}}

A viewer's export (that object, or what is in it) is put on a graph by `with_pins`; from there
`export` writes it into the graph JSON, which brings it back when it is read. The file is
anybody's text: every field is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit_tracer.errors import GraphFileError
from circuit_tracer.graphs.files.clerps import NOTES, cleaned_notes, notes_in
from circuit_tracer.graphs.files.exchange import exchange_id, with_names
from circuit_tracer.graphs.files.json_values import whole_text
from circuit_tracer.graphs.graph import Graph
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.reading import read_json

LARGEST = 16 << 20
"""Bytes of a file that is read."""


@dataclass(frozen=True)
class Pins:
    """What a viewer's user pinned and grouped."""

    rows: tuple[int, ...]
    """Pinned rows of the graph's node table, members of supernodes among them; ascending."""
    groups: tuple[tuple[str, tuple[int, ...]], ...]
    """Supernodes: names with rows, no row twice."""
    unknown: tuple[str, ...]
    """Ids that are no kept node of this graph."""
    positions: str = ""
    """`sg_pos`: where the boxes of pins and groups stand in a viewer's route diagram, "x y x y ..."
    in thousandths of its width and height (viewer/positions.js has the order)."""


def with_pins(pruned: PrunedGraph, path: Path) -> PrunedGraph:
    """The graph with a file's pins, supernodes, names and notes, in place of those it had.

    A feature that the file does not name keeps its label.

    Raises GraphFileError for a file that holds none, or names nodes that are not kept.
    """
    record = read_json(path, GraphFileError, "export the pins again in the viewer", LARGEST)
    record = record if isinstance(record, Mapping) else {}
    params = record.get("qParams", record)
    pins = pins_in(pruned, params)
    if pins is None:
        raise GraphFileError(
            f"{path} holds no pins: it needs pinnedIds and supernodes, as the viewer exports them"
        )
    if pins.unknown:
        more = f" and {len(pins.unknown) - 1} more" if len(pins.unknown) > 1 else ""
        raise GraphFileError(
            f"{path} names {pins.unknown[0]}{more}, no kept node of this graph; give the graph it "
            "was exported from, or prune less"
        )
    info = pruned.graph.info
    settings = {**info.settings, "qParams": dict(params), NOTES: notes_in(record)}
    graph = replace(pruned.graph, info=replace(info, settings=settings))
    return with_names(replace(pruned, graph=graph), params)


def notes_of(graph: Graph) -> dict[int, str]:
    """What people wrote on nodes in a viewer, by rows of the node table."""
    notes = cleaned_notes(graph.info.settings.get(NOTES))
    if not notes:
        return {}
    ids = {exchange_id(graph, row): row for row in range(len(graph.nodes))}
    return {ids[name]: note for name, note in notes.items() if name in ids}


def note_of(graph: Graph, row: int) -> str:
    """What people wrote on a node; "" for nothing."""
    notes = cleaned_notes(graph.info.settings.get(NOTES))
    return notes.get(exchange_id(graph, row), "") if notes else ""


def pins_of(pruned: PrunedGraph) -> Pins | None:
    """The pins that a graph carries from its file; None for none, or of another shape."""
    return pins_in(pruned, pruned.graph.info.settings.get("qParams"))


def pins_in(pruned: PrunedGraph, params: Any) -> Pins | None:
    """The pins in a `qParams` object; None for anything else."""
    if not isinstance(params, Mapping) or not {"pinnedIds", "supernodes"} <= set(params):
        return None
    pinned, listed = params["pinnedIds"], params["supernodes"]
    if not _are_texts(pinned) or not isinstance(listed, list):
        return None
    if not all(_are_texts(one) and one for one in listed):
        return None
    row_of = {exchange_id(pruned.graph, row): row for row in pruned.kept_rows.tolist()}
    ids = [*pinned, *(name for one in listed for name in one[1:])]
    taken: set[int] = set()
    groups = []
    for name, *members in listed:
        rows = sorted({row_of[one] for one in members if one in row_of} - taken)
        taken |= set(rows)
        if rows:
            groups.append((whole_text(name), tuple(rows)))
    rows = sorted({row_of[one] for one in ids if one in row_of})
    unknown = tuple(dict.fromkeys(whole_text(one)[:60] for one in ids if one not in row_of))
    positions = params.get("sg_pos")
    if unknown or not isinstance(positions, str):
        positions = ""  # those of other boxes, or none
    return Pins(tuple(rows), tuple(groups), unknown, positions)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
