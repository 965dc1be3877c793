"""A traced folder as a figure: which part of the graph, how wide, in which colours."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.experiments.trust.results_file import read_verdict
from circuit_tracer.graphs import new_file, open_graph
from circuit_tracer.graphs.comparing.calibrated import Comparison
from circuit_tracer.graphs.comparing.merging import merge
from circuit_tracer.graphs.figure_levels import grouped, routes_alone
from circuit_tracer.graphs.head_loadings import HeadLoadings
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.supernodes.file import SUPERNODES_FILE, read_supernodes
from circuit_tracer.graphs.supernodes.grouping import Supernode, find_supernodes, similarity
from circuit_tracer.render.caption import caption
from circuit_tracer.render.comparing import overlap_sentence
from circuit_tracer.render.legend import LEGENDS, LegendKind
from circuit_tracer.render.merged import merged_svg
from circuit_tracer.render.page_size import Theme, check_width, finished, raster, smallest_letters
from circuit_tracer.render.route_lines import leading_routes
from circuit_tracer.render.svg import drawn_graph
from circuit_tracer.render.trust_panel import StoredVerdict
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.folder_contents import stored_heads
from circuit_tracer.workbench.formats import FIGURES, form_of

logger = logging.getLogger(__name__)

Level = Literal["nodes", "supernodes"]
LEVELS: tuple[Level, ...] = ("nodes", "supernodes")
LEGIBLE = 6.0
"""Points that the smallest letters should have on paper."""


@dataclass(frozen=True)
class View:
    """What of a graph is drawn, and for which width."""

    max_nodes: int = 60
    """Features and errors, or supernodes, those of most influence; fewer, where a `width` has no
    room for so many."""
    routes: int | None = None
    """So many strongest routes to each target alone; None draws the kept graph."""
    level: Level = "nodes"
    width: float | None = None
    """Millimetres on paper that the figure is laid out for; None takes the room that it needs."""
    legend: LegendKind | None = None
    """None is the full one, and none for a figure with a width."""
    trust: bool | None = None
    """Whether the trust report's panel stands below; None where there is a report and no width."""

    def __post_init__(self) -> None:
        """Refuse what is no level and no legend, and no numbers; raises UsageError."""
        numbers = {name: getattr(self, name) for name in ("max_nodes", "routes", "trust")}
        check_arguments(View, numbers)
        one_of("`level`", self.level, LEVELS)
        if self.legend is not None:
            one_of("`legend`", self.legend, LEGENDS)

    @property
    def is_whole(self) -> bool:
        """Whether the kept graph itself is drawn."""
        return self.routes is None and self.level == "nodes"


class Drawing(NamedTuple):
    """A figure and what it shows in words."""

    svg: str
    caption: str


def graph_svg(path: Path | str, view: View) -> str:
    """The figure of a traced folder or graph JSON."""
    check_arguments(graph_svg, locals())
    return drawing_of(Path(path), view).svg


def drawing_of(path: Path, view: View) -> Drawing:
    """The figure of a traced folder or graph JSON, with its caption."""
    pruned = open_graph(path)
    folder = path if path.is_dir() else path.parent
    trust, heads = read_verdict(folder, pruned), stored_heads(pruned, path)
    return pruned_drawing(pruned, view, folder=folder, trust=trust, heads=heads)


def pruned_drawing(
    pruned: PrunedGraph,
    view: View,
    *,
    folder: Path | None = None,
    trust: StoredVerdict | None = None,
    heads: HeadLoadings | None = None,
) -> Drawing:
    """The figure of a graph, with what `trust` concluded and the `heads` on its edges.

    Supernodes are those of the `folder`, else such as are found by edges alone. Raises UsageError
    for a width that no page has, or a trust panel without a report.
    """
    if view.width is not None:
        check_width(view.width)
    if view.trust and trust is None:
        raise UsageError(
            "there is no trust report of this graph; run circuit-tracer trust first, or leave out "
            "`trust`"
        )
    with_trust = view.width is None if view.trust is None else view.trust
    shown, said, routes = pruned, "", []
    if view.routes is not None:
        shown = routes_alone(pruned, view.routes)
        routes = leading_routes(pruned, view.routes)
        kept = int(shown.node_kept.sum()), int(pruned.node_kept.sum())
        said = (
            f"The {view.routes} strongest routes through features to each target alone: "
            f"{kept[0]:,} of {kept[1]:,} kept nodes; shares are of the whole graph."
        )
    if view.level == "supernodes":
        groups = _groups(shown, folder)
        before = int(shown.node_kept.sum())
        shown, heads = grouped(shown, groups), None
        said += (
            f" {len(groups):,} supernodes stand for their members, {len(shown.graph.nodes):,} "
            f"nodes for {before:,}; an edge is the share of what goes into a group."
        )
    drawn = drawn_graph(
        shown,
        max_nodes=view.max_nodes,
        trust=trust if with_trust else None,
        heads=heads,
        drawn=said.strip(),
        legend=view.legend or ("full" if view.width is None else "none"),
        width_mm=view.width,
    )
    words = caption(pruned, shown, drawn, drawn=said.strip(), routes=routes)
    return Drawing(drawn.svg, words)


def comparison_svg(comparison: Comparison, folders: Sequence[Path], *, max_nodes: int) -> str:
    """The first two graphs of a comparison as one figure, with the heads in their folders."""
    first, second = comparison.graphs[:2]
    pair = comparison.pairs[0, 1]
    heads = stored_heads(first, folders[0]), stored_heads(second, folders[1])
    return merged_svg(
        merge(first, second, pair.columns),
        first,
        second,
        overlap=overlap_sentence(pair.kept),
        max_nodes=max_nodes,
        heads=heads,
    )


def _groups(pruned: PrunedGraph, folder: Path | None) -> list[Supernode]:
    """Those of the folder's supernodes.toml, else such as are found by edges alone."""
    if folder is not None and (folder / SUPERNODES_FILE).is_file():
        return read_supernodes(pruned, folder / SUPERNODES_FILE, pruned_away="leave out")
    groups = find_supernodes(pruned, similarity(pruned))
    if not groups:
        raise UsageError(
            "no two features are alike enough to be grouped; write supernodes.toml with "
            "circuit-tracer supernodes --threshold, or leave out `level`"
        )
    logger.info(
        f"{len(groups)} supernodes found by their edges; circuit-tracer supernodes keeps them"
    )
    return groups


def write_figure(
    figure: str,
    path: Path,
    form: str | None = None,
    *,
    width_mm: float | None = None,
    theme: Theme = "print",
    overwrite: bool,
) -> None:
    """A figure into a file, by default in the form that its name says, whole or not at all."""
    content = bytes_of(figure, form or form_of(path, None, FIGURES), width_mm, theme)
    with new_file(path, overwrite) as file:
        file.write_bytes(content)


def bytes_of(svg: str, form: str, width_mm: float | None = None, theme: Theme = "print") -> bytes:
    """The finished figure as a file; says so where letters get too small to read."""
    done = finished(svg, width_mm=width_mm, theme=theme)
    if width_mm is not None and (points := smallest_letters(svg, width_mm)) < LEGIBLE:
        logger.info(
            f"at {width_mm:g} mm the smallest letters are {points:.1f} pt high; draw less (fewer "
            "routes, a shorter legend), or a wider figure"
        )
    return done.encode() if form == "svg" else raster(done, form)
