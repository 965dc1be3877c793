"""Every shipped prompt as figures for one column and two: letters, overlaps, margins.

    python -m benchmarks.figures [--every N] [--write]

Draws each graph whole, as its 1, 3 and 5 strongest routes, as supernodes and, with the next
prompt's, as a page of two panels; at 85, 120 and 180 mm, the heads on the edges. Prints a line a
kind and width, and every figure with a fault; `--write` puts the table into benchmarks/figures.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import circuit_tracer as ct
from benchmarks import pages
from benchmarks.figure_measures import Measures, measured
from benchmarks.prompts import prompts
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.render.composing import Panel, compose, paper_grid
from circuit_tracer.render.page_size import finished
from circuit_tracer.workbench.figure_pages import TWO_COLUMNS

PAGE = Path(__file__).with_suffix(".md")
WIDTHS = (85.0, 120.0, 180.0)
KINDS = ("plain", "routes 1", "routes 3", "routes 5", "supernodes", "two panels")
LEAST_POINTS = 6.0


class Drawn(NamedTuple):
    """One figure and what was measured of it."""

    kind: str
    width: float
    prompt: str
    seconds: float
    measures: Measures
    nodes: int
    """Features and errors that are drawn."""
    kept: int
    """Of so many."""


def drawn(graph: ct.TracedGraph, kind: str, width: float, other: ct.TracedGraph) -> Drawn | None:
    """A figure of the graph, measured; None where it has no such figure (no supernodes)."""
    start = time.perf_counter()
    try:
        svg = _svg(graph, kind, width, other)
    except UsageError:
        return None
    seconds = time.perf_counter() - start
    nodes = svg.count('class="node feature"') + svg.count('class="node error"')
    kinds = graph.pruned.graph.nodes.kind[graph.pruned.node_kept]
    kept = int(((kinds == NodeKind.FEATURE) | (kinds == NodeKind.ERROR)).sum())
    return Drawn(kind, width, graph.prompt, seconds, measured(svg), nodes, kept)


def _svg(graph: ct.TracedGraph, kind: str, width: float, other: ct.TracedGraph) -> str:
    if kind == "two panels":
        grid = paper_grid(width, 1 if width < TWO_COLUMNS else 2)
        across = grid.across_mm(1)
        panels = [Panel(_plain(one, across), one.prompt) for one in (graph, other)]
        return finished(compose(panels, grid), width_mm=width)
    if kind == "supernodes":
        return graph.svg(width_mm=width, level="supernodes")
    if kind == "plain":
        return _plain(graph, width)
    return graph.svg(width_mm=width, routes=int(kind.split()[1]))


@lru_cache(maxsize=12)
def _plain(graph: ct.TracedGraph, width: float) -> str:
    """The whole graph; a page of two panels draws the same again."""
    return graph.svg(width_mm=width)


def graphs(every: int) -> Iterator[ct.TracedGraph]:
    """The shipped prompts traced, with the heads of their edges."""
    for _, record in prompts()[::every]:
        graph = ct.trace(record["prompt"])
        graph.heads()
        yield graph


def table(figures: Sequence[Drawn]) -> str:
    """A line a kind and width."""
    head = ("figure", "mm", "figures", "smallest letters, pt", "label on label", "label on box")
    rows = []
    for kind in KINDS:
        for width in WIDTHS:
            some = [one for one in figures if (one.kind, one.width) == (kind, width)]
            if not some:
                continue
            found = [one.measures for one in some]
            heights = [one.height_mm for one in found]
            share = statistics.median(min(one.nodes / max(one.kept, 1), 1.0) for one in some)
            shown = f"{statistics.median(one.nodes for one in some):.0f}"
            if kind == "plain":
                shown += f" ({share:.0%} of the kept)".replace("%", " %")
            counts = ("text_on_text", "text_on_box", "outside")
            cells = (
                *(kind, f"{width:g}", f"{len(some)}"),
                f"{min(one.smallest_letters for one in found):.2f}",
                *(f"{sum(getattr(one, name) for one in found)}" for name in counts),
                *(shown, f"{statistics.median(heights):.0f}, {max(heights):.0f}"),
                f"{statistics.median(one.seconds for one in some):.1f}",
            )
            rows.append(cells)
    more = ("outside", "nodes drawn, median", "height, mm: median, most", "s, median")
    return "\n".join(pages.table((*head, *more), rows))


def main() -> None:
    """Draw, measure, print."""
    parser = pages.parser(__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every N-th prompt alone")
    options = parser.parse_args()
    figures: list[Drawn] = []
    before = None
    for graph in graphs(options.every):
        before = before or graph
        for kind in KINDS:
            for width in WIDTHS:
                one = drawn(graph, kind, width, before)
                if one is None:
                    continue
                figures.append(one)
                if one.measures.faults or one.measures.smallest_letters < LEAST_POINTS:
                    print(f"{kind}, {width:g} mm, {one.prompt!r}: {one.measures}", flush=True)
        before = graph
    page = table(figures)
    print(page)
    if options.write:
        pages.below_words(PAGE, page)


if __name__ == "__main__":
    main()
