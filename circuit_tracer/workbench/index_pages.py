"""The pages of many graphs: those of a run, or of a folder of traced folders, and their index.

Pages are made when they are asked for, so that an index of ten thousand graphs opens at once.
"""

from __future__ import annotations

import logging
import math
import os
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from circuit_tracer.batch.stored_run import Run, is_run, open_run
from circuit_tracer.errors import CircuitTracerError, GraphFileError, reason
from circuit_tracer.graphs import new_folder, token_text
from circuit_tracer.graphs.files.storage import TRACE_FILE, stored_facts
from circuit_tracer.graphs.head_loadings import LeadingHead, Move
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.reading import readable
from circuit_tracer.render.html import error_page
from circuit_tracer.render.html_data import ExportCommand
from circuit_tracer.render.html_index import (
    SCORES,
    Dot,
    FailedRow,
    Index,
    IndexRow,
    Thumbnail,
    index_page,
)
from circuit_tracer.workbench.slugs import slug_of
from circuit_tracer.workbench.viewing import graph_page, shown, shown_at

logger = logging.getLogger(__name__)

PAGES = "graphs"
"""Folder of the graphs' pages, beside the index."""
MARKER = ".circuit-tracer-pages"
"""Tells a folder of pages, which `overwrite` may replace, from anybody's folder."""
MOST_DOTS = 26
"""Nodes of a thumbnail, those of most influence."""
SPREAD = (0, -5, 5, -10, 10, -15, 15)
"""How far to the side nodes of the same place stand, one after another."""


@dataclass(frozen=True)
class Pages:
    """The index, and how the page of each graph is made."""

    index: str
    graphs: Mapping[str, Callable[[], str]]
    """By the path of the page below the index: "graphs/a-banana-is.html"."""


def is_many(path: Path) -> bool:
    """Whether the path is a run or a folder of traced folders."""
    return path.is_dir() and not (path / TRACE_FILE).is_file()


def pages_of(path: Path) -> Pages:
    """The pages of a run, or of a folder of traced folders."""
    return run_pages(open_run(path)) if is_run(path) else folder_pages(path)


def write_pages(
    pages: Pages, folder: Path, *, overwrite: bool = False, on_progress: OnStage | None = None
) -> Path:
    """Write the index and all pages to a folder, whole or not at all; returns the index.

    Of a graph that cannot be read the page says why, and so does a warning.
    """
    report = on_progress or silent
    with new_folder(folder, overwrite, marker=MARKER) as partial:
        (partial / MARKER).write_text("Written by circuit-tracer view.\n", encoding="utf-8")
        (partial / "index.html").write_text(pages.index, encoding="utf-8")
        for done, (address, make) in enumerate(pages.graphs.items()):
            report("writing pages", done, len(pages.graphs))
            path = partial / unquote(address)
            path.parent.mkdir(exist_ok=True)
            try:
                page = make()
            except (CircuitTracerError, OSError) as error:
                said = str(error) if isinstance(error, CircuitTracerError) else reason(error)
                logger.warning(f"{unquote(address)} has no graph: {said}")
                page = error_page(said)
            path.write_text(page, encoding="utf-8")
    return folder / "index.html"


def run_pages(run: Run) -> Pages:
    """The pages of a run."""
    routes, contrasts = _routes(run), _contrasts(run)
    drawings = _thumbnails(run, routes)
    heads = cache(lambda: run.rows("heads"))
    named = Counter(run.graphs.column("name").to_pylist())
    rows, pages = [], {}
    for record in run.graphs.to_pylist():
        key = record["id"]
        href = _href(key)
        pages[href] = _of_run(run, key, _name(record["name"], key, named), heads)
        rows.append(
            IndexRow(
                href=href,
                prompt=record["prompt"],
                answer=_answer(record["answer"], key in contrasts),
                probability=record["probability"],
                scores={score.key: record[score.key] for score in SCORES},
                tags=record["tags"] or (),
                route=routes[key].words if key in routes else "",
                thumbnail=drawings.get(key),
            )
        )
    info = run.info
    failures = [
        FailedRow(one["line"], one["prompt"] or "", f"{one['class']}: {one['message']}")
        for one in run.failures.to_pylist()
    ]
    about = (
        f"{info.model.name} through {info.dictionary.name} · node threshold "
        f"{info.node_threshold:g}, edge threshold {info.edge_threshold:g}"
    )
    return Pages(index_page(Index(run.name, about, rows, failures=failures)), pages)


def _name(name: str | None, key: str, named: Mapping[str | None, int]) -> str:
    """What a prompt is called in commands: its own id where that is a plain word and its alone."""
    return name if name and named[name] == 1 and slug_of(name) == name else key


def _of_run(run: Run, key: str, name: str, heads: Callable[[], pa.Table]) -> Callable[[], str]:
    def made() -> str:
        words = f"circuit-tracer runs export {shlex.quote(run.name)} {name} -o {name}"
        found = shown(run.graph(key), name)
        found = replace(found, leading=_leading(heads(), key), export=ExportCommand(words, name))
        return graph_page(found, run=run.name)

    return made


def _leading(table: pa.Table, key: str) -> list[LeadingHead]:
    """The heads that `batch --heads` stored of a prompt, without their largest moves' shares."""
    return [
        LeadingHead(
            layer=one["layer"],
            head=one["head"],
            share=one["share"],
            moves=(Move(one["key"], one["query"], math.nan),) if one["key"] >= 0 else (),
        )
        for one in table.filter(pc.equal(table.column("id"), key)).to_pylist()
    ]


def folder_pages(root: Path) -> Pages:
    """The pages of the traced folders in a folder. Raises GraphFileError where there is none.

    Damaged ones are listed as failed, with a warning. Folders and files that are links leading out
    of it are ignored.
    """
    rows: list[IndexRow] = []
    damaged: list[FailedRow] = []
    pages: dict[str, Callable[[], str]] = {}
    for folder in sorted(one for one in root.iterdir() if one.is_dir()):
        if not (folder / TRACE_FILE).is_file() or not stays_inside(root, folder):
            continue
        try:
            row = _row_of(folder)
        except GraphFileError as error:
            logger.warning(f"left out: {error}")
            damaged.append(FailedRow(0, folder.name, str(error)))
            continue
        rows.append(row)
        pages[row.href] = _of_folder(root, folder)
    if not rows:
        raise GraphFileError(
            f"{root} holds no traced folder that can be read and is none; give a folder that "
            "circuit-tracer trace or batch wrote"
        )
    name = root.resolve().name or "graphs"
    about = f"{len(rows):,} traced prompts"
    return Pages(index_page(Index(name, about, rows, failures=damaged)), pages)


def _row_of(folder: Path) -> IndexRow:
    """A traced folder's line; GraphFileError for a damaged one."""
    record = stored_facts(folder)
    with readable(folder, GraphFileError, "trace the prompt again", problem="is damaged"):
        info, scores = record["info"], record["scores"]
        first = info["targets"][0]
        return IndexRow(
            href=_href(folder.name),
            prompt=str(info["prompt"]),
            answer=_answer(str(first["token"]), len(first["vocabulary_ids"]) != 1),
            probability=_number(first.get("probability")),
            scores={score.key: _number(scores.get(score.key)) for score in SCORES},
            tags=[str(info["model"]["name"])],
        )


def _of_folder(root: Path, folder: Path) -> Callable[[], str]:
    def made() -> str:
        if not stays_inside(root, folder):
            raise GraphFileError(f"{folder.name} leads out of the folder that is shown")
        return graph_page(shown_at(folder), run=root.resolve().name or "graphs")

    return made


def stays_inside(root: Path, folder: Path) -> bool:
    """Whether a folder and every file in it really lie below `root`, wherever links lead."""
    inside = os.path.realpath(root)
    places = [folder, *folder.iterdir()]
    return all(Path(os.path.realpath(place)).is_relative_to(inside) for place in places)


def _href(name: str) -> str:
    return f"{PAGES}/{quote(name, safe='')}.html"


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None


def _answer(token: str, is_named: bool) -> str:
    """A first target as it is shown; a contrast or a direction is stored so."""
    return token if is_named else token_text.shown(token)


def _contrasts(run: Run) -> set[str]:
    """Ids of the prompts whose first target is a contrast: by their lines, else by the run."""
    by_run = run.info.settings.get("contrast") is not None
    return {
        entry.key
        for entry in run.entries
        if entry.contrast is not None or (by_run and not entry.targets)
    }


class _Route(NamedTuple):
    """A prompt's strongest route to its first target."""

    words: str
    rows: Sequence[int]
    """In the column `row` of the prompt's nodes."""


def _routes(run: Run) -> dict[str, _Route]:
    """By prompt."""
    found: dict[str, _Route] = {}
    for record in run.rows("paths", ["id", "rank", "labels", "rows"]).to_pylist():
        if record["rank"] == 1 and record["id"] not in found:
            words = " › ".join(label.strip() or "?" for label in record["labels"])
            found[record["id"]] = _Route(words, record["rows"])
    return found


def _thumbnails(run: Run, routes: Mapping[str, _Route]) -> dict[str, Thumbnail]:
    """By prompt: its strongest kept nodes and its strongest route."""
    columns = ["id", "row", "kind", "layer", "position", "influence", "kept"]
    table = run.rows("nodes", columns).combine_chunks()
    if not len(table):
        return {}
    keys = table.column("id").combine_chunks().dictionary_encode()
    names, code = keys.dictionary.to_pylist(), keys.indices.to_numpy()
    row, kind, layer, position, influence, kept = (
        table.column(name).to_numpy() for name in columns[1:]
    )
    top = int(layer.max()) + 1
    drawings = {}
    order = np.lexsort((-influence, ~kept, code))
    ends = np.searchsorted(code[order], np.arange(len(names) + 1))
    for number, key in enumerate(names):
        mine = order[ends[number] : ends[number + 1]]
        nodes = _Nodes(kind[mine].tolist(), layer[mine].tolist(), position[mine].tolist(), top)
        at = {one: i for i, one in enumerate(row[mine].tolist())}
        line = [at[one] for one in routes[key].rows if one in at] if key in routes else []
        drawings[key] = _thumbnail(nodes, line, min(int(kept[mine].sum()), MOST_DOTS))
    return drawings


class _Nodes(NamedTuple):
    """One prompt's nodes, those of most influence first."""

    kind: list[int]
    layer: list[int]
    position: list[int]
    top: int
    """One more than the targets' layer."""


def _thumbnail(nodes: _Nodes, route: Sequence[int], count: int) -> Thumbnail:
    """The first so many nodes, those of one place side by side, and the nodes of a route."""
    wide = max(1, *nodes.position)
    here: Counter[tuple[int, int]] = Counter()
    placed = {}
    for i in dict.fromkeys([*route, *range(count)]):
        position, layer = place = nodes.position[i], nodes.layer[i]
        x = 15 + 69 * position / wide + SPREAD[here[place] % len(SPREAD)]
        placed[i] = Dot(round(x), round(99 * (layer + 1) / nodes.top), nodes.kind[i])
        here[place] += 1
    return Thumbnail(tuple(placed[i] for i in range(count)), tuple(placed[i] for i in route))
