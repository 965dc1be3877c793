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

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit.spec_reader import read_table
from circuit_tracer.graphs import open_graph
from circuit_tracer.graphs.comparing.alignment import align
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.graphs.files.json_values import stored_as
from circuit_tracer.reading import read_bytes, read_toml, readable
from circuit_tracer.render.composing import Panel, checked, compose, paper_grid
from circuit_tracer.render.legend import LegendKind
from circuit_tracer.render.merged import merged_svg
from circuit_tracer.render.page_size import Theme, check_width
from circuit_tracer.workbench.drawing import Level, View, graph_svg

WIDTH = 180.0
"""Millimetres: the two columns of most journals."""
TWO_COLUMNS = 150.0
"""Millimetres: narrower pages have one column of panels."""
MOST_PANELS = 26
LARGEST = 16 << 20
"""Bytes of an SVG file that is read."""


@dataclass(frozen=True)
class PanelSpec:
    """One panel: one of `graph`, `merged` and `svg`, and how it is drawn; None where nothing is
    said."""

    graph: str | None = None
    """A traced folder or graph JSON."""
    merged: tuple[str, str] | None = None
    """Two of them."""
    svg: str | None = None
    title: str = ""
    span: int = 1
    """Columns that it takes."""
    top_n: int | None = field(default=None, metadata=stored_as("top-n"))
    routes: int | None = None
    level: Level | None = None
    legend: bool | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it names to draw: one of three, if it is right."""
        return tuple(kind for kind in ("graph", "merged", "svg") if getattr(self, kind) is not None)


@dataclass(frozen=True)
class Spec:
    """The whole page."""

    panels: tuple[PanelSpec, ...] = field(default=(), metadata=stored_as("panel"))
    width: float = WIDTH
    """Millimetres."""
    columns: int | None = None
    """As many as there are panels, two at most, if None; one on a narrow page."""
    title: str = ""
    theme: Theme = "print"


def read_spec(path: Path) -> Spec:
    """The page that a TOML file describes. Raises UsageError that names what is wrong."""
    record = read_toml(path, UsageError, "fix it, or give a file as docs/figures.md shows")
    tables, given = record.get("panel"), {}
    if isinstance(tables, dict):
        raise UsageError(f"{path} has one table [panel]; write [[panel]], once for each")
    if isinstance(tables, list):
        places = (f"panel {number} of {path}" for number in range(1, len(tables) + 1))
        given["panels"] = tuple(map(_panel, tables, places))
    spec = read_table(Spec, record, str(path), **given)
    if not 1 <= len(spec.panels) <= MOST_PANELS:
        raise UsageError(
            f"{path} needs 1 to {MOST_PANELS} tables [[panel]]; docs/figures.md shows some"
        )
    if spec.columns is not None and not 1 <= spec.columns <= 6:
        raise UsageError(f"{path} has {spec.columns} columns; give 1 to 6")
    return spec


def _panel(record: Any, where: str) -> PanelSpec:
    panel = read_table(PanelSpec, record, where)
    if len(panel.kinds) != 1:
        raise UsageError(f"{where} needs one of graph, merged, svg, and only one")
    (kind,) = panel.kinds
    if "" in (panel.graph, panel.svg):
        raise UsageError(f'"{kind}" in {where} is empty; name a traced folder or a file')
    for key, value, goes_with in (
        ("span", panel.span, ("graph", "merged", "svg")),
        ("top-n", panel.top_n, ("graph", "merged")),
        ("routes", panel.routes, ("graph",)),
        ("level", panel.level, ("graph",)),
        ("legend", panel.legend, ("graph",)),
    ):
        if value is not None and kind not in goes_with:
            raise UsageError(f'"{key}" in {where} does not go with "{kind}"; leave it out')
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise UsageError(f'"{key}" in {where} must be at least 1, not {value}')
    return panel


def page_of(spec: Spec, folder: Path) -> str:
    """The page as SVG on white, laid out for its width; places are relative to the folder."""
    check_width(spec.width)
    usual = min(1 if spec.width < TWO_COLUMNS else 2, len(spec.panels))
    grid = paper_grid(spec.width, spec.columns or usual)
    panels = []
    for number, panel in enumerate(spec.panels, start=1):
        span = min(max(panel.span, 1), grid.columns)  # `compose` refuses any other
        try:
            figure = _drawn(panel, folder, grid.across_mm(span))
        except UsageError as e:
            raise UsageError(f"panel {number}: {e}") from e
        panels.append(Panel(figure, panel.title, panel.span))
    return compose(panels, grid, name=spec.title)


def _drawn(panel: PanelSpec, folder: Path, width: float) -> str:
    """The panel's figure, for so many millimetres on paper."""
    max_nodes = panel.top_n or 60
    if panel.graph is not None:
        level = panel.level or "nodes"
        legend: LegendKind = "full" if panel.legend else "none"
        view = View(max_nodes, panel.routes, level, width, legend, None)
        return graph_svg(folder / panel.graph, view)
    if panel.merged is not None:
        first, second = (open_graph(folder / place) for place in panel.merged)
        merged = merge(first, second, align(first.graph, second.graph))
        return merged_svg(merged, first, second, max_nodes=max_nodes, width_mm=width)
    path = folder / (panel.svg or "")
    content = read_bytes(path, UsageError, "draw it first", LARGEST)
    with readable(path, UsageError, "draw it again", problem="is no SVG"):
        return checked(content.decode("utf-8"), str(path))
