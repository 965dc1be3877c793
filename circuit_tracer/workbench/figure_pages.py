"""The TOML file that `figure` reads: a page's width, columns and panels.

    width = 180
    columns = 2

    [[panel]]
    graph = "outputs/a-banana-is"
    routes = 3
    title = "recall"

    [[panel]]
    svg = "outputs/a-banana-is/trust.svg"
    span = 2

A panel is a `graph` (a traced folder or graph JSON, drawn with `top-n`, `routes` and `level`, and
with `legend = true` as `render` draws it), two graphs `merged` as one, or an `svg` that the tool
drew (trust.svg, a dose curve of steer --plot, the figures of dissociate). Places are relative to
the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from circuit_tracer.errors import UsageError, reason
from circuit_tracer.graphs import open_graph
from circuit_tracer.graphs.comparing.alignment import align
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.render.composing import Panel, checked, compose
from circuit_tracer.render.merged import merged_svg
from circuit_tracer.render.page_size import Theme
from circuit_tracer.workbench.drawing import View, check_level, check_theme, graph_svg

WIDTH = 180.0
"""Millimetres: the two columns of most journals."""
MOST_PANELS = 26
PLACES = ("graph", "merged", "svg")
"""The kinds of panel: keys that name what is drawn."""
PAGE_KEYS = {"width": (int, float), "columns": int, "title": str, "theme": str, "panel": list}
PANEL_KEYS = {
    "graph": str,
    "merged": list,
    "svg": str,
    "title": str,
    "span": int,
    "top-n": int,
    "routes": int,
    "level": str,
    "legend": bool,
}
KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    bool: "true or false",
}
DRAWING = {
    "top-n": ("graph", "merged"),
    "routes": ("graph",),
    "level": ("graph",),
    "legend": ("graph",),
}
"""Which kinds of panel a key goes with."""
LARGEST = 16 << 20
"""Bytes of an SVG file that is read."""


@dataclass(frozen=True)
class PanelSpec:
    """One panel."""

    kind: str
    """One of `PLACES`."""
    places: tuple[Path, ...]
    """The traced folders or the file."""
    view: View
    title: str
    span: int


@dataclass(frozen=True)
class Spec:
    """The whole page."""

    panels: tuple[PanelSpec, ...]
    width: float
    """Millimetres."""
    columns: int
    title: str
    theme: Theme


def read_spec(path: Path) -> Spec:
    """The page that a TOML file describes. Raises UsageError that names what is wrong."""
    record = _read(path)
    if isinstance(record.get("panel"), dict):
        raise UsageError(f"{path} has one table [panel]; write [[panel]], once for each")
    _check(record, PAGE_KEYS, str(path))
    given = record.get("panel", [])
    if not 1 <= len(given) <= MOST_PANELS or not all(isinstance(one, dict) for one in given):
        raise UsageError(
            f"{path} needs 1 to {MOST_PANELS} tables [[panel]]; docs/figures.md shows some"
        )
    panels = tuple(
        _panel(one, path.parent, f"panel {number} of {path}")
        for number, one in enumerate(given, start=1)
    )
    columns = int(record.get("columns", min(2, len(panels))))
    if not 1 <= columns <= 6:
        raise UsageError(f"{path} has {columns} columns; give 1 to 6")
    return Spec(
        panels,
        width=float(record.get("width", WIDTH)),
        columns=columns,
        title=record.get("title", ""),
        theme=check_theme(record.get("theme", "print"), where=f'"theme" in {path}'),
    )


def page_of(spec: Spec) -> str:
    """The page as SVG, in its own units and on white."""
    panels = [_drawn(one, number) for number, one in enumerate(spec.panels, start=1)]
    return compose(panels, columns=spec.columns, name=spec.title)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as e:
        raise UsageError(
            f"{path} cannot be read ({reason(e)}); give a TOML file, as docs/figures.md shows"
        ) from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{path} is no text in UTF-8; give a TOML file") from e
    except (ValueError, RecursionError) as e:
        raise UsageError(f"{path} is no TOML ({reason(e)}); fix it") from e


def _check(record: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    for key, value in record.items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            advice = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
            raise UsageError(f'{where} sets "{key}", which means nothing; {advice}')
        kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
        if not isinstance(value, kinds) or isinstance(value, bool) != (bool in kinds):
            raise UsageError(f'"{key}" in {where} must be {KINDS[kinds[-1]]}, not {value!r:.60}')
        if value == "" and key in PLACES:
            raise UsageError(f'"{key}" in {where} is empty; name a traced folder or a file')


def _panel(record: Mapping[str, Any], folder: Path, where: str) -> PanelSpec:
    _check(record, PANEL_KEYS, where)
    kinds = [kind for kind in PLACES if kind in record]
    if len(kinds) != 1:
        raise UsageError(f"{where} needs one of {', '.join(PLACES)}, and only one")
    kind = kinds[0]
    places = record[kind] if kind == "merged" else [record[kind]]
    if len(places) != (2 if kind == "merged" else 1) or not all(isinstance(p, str) for p in places):
        raise UsageError(f'"merged" in {where} needs two traced folders: ["...", "..."]')
    numbers = {key: record[key] for key in ("top-n", "routes", "span") if key in record}
    for key, value in numbers.items():
        if value < 1:
            raise UsageError(f'"{key}" in {where} must be at least 1, not {value}')
    for key in [key for key in DRAWING if key in record and kind not in DRAWING[key]]:
        raise UsageError(f'"{key}" in {where} does not go with "{kind}"; leave it out')
    view = View(
        max_nodes=numbers.get("top-n", 60),
        routes=numbers.get("routes"),
        level=check_level(record.get("level", "nodes"), where=f'"level" in {where}'),
        alone=not record.get("legend", False),
    )
    return PanelSpec(
        kind,
        tuple(folder / place for place in places),
        view,
        title=record.get("title", ""),
        span=numbers.get("span", 1),
    )


def _drawn(panel: PanelSpec, number: int) -> Panel:
    draw = {"graph": _graph, "merged": _merged, "svg": _svg}[panel.kind]
    try:
        return Panel(draw(panel), panel.title, panel.span)
    except UsageError as e:
        raise UsageError(f"panel {number}: {e}") from e


def _graph(panel: PanelSpec) -> str:
    return graph_svg(panel.places[0], panel.view)


def _merged(panel: PanelSpec) -> str:
    first, second = (open_graph(place) for place in panel.places)
    merged = merge(first, second, align(first.graph, second.graph))
    return merged_svg(merged, first, second, max_nodes=panel.view.max_nodes)


def _svg(panel: PanelSpec) -> str:
    (path,) = panel.places
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UsageError(f"{path} is too large for a panel ({LARGEST >> 20} MiB at most)")
        return checked(content.decode("utf-8"), str(path))
    except OSError as e:
        raise UsageError(f"{path} cannot be read ({reason(e)}); draw it first") from e
    except ValueError as e:  # bytes that are no text, or a name that can be none
        raise UsageError(f"{path} is no SVG ({reason(e)}); draw it again") from e
