"""Routes by sign in the terminal: what pushes a target up, what holds it down, and how much in all.

A trace with `--why-not TOKEN` explains two targets: the token that was not chosen, and the contrast
of the chosen one and it. Each gets its strongest routes up and down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import best_paths, signed_mass
from circuit_tracer.graphs.token_text import target_text
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.route_lines import routes
from circuit_tracer.render.terminal import LABEL_CELLS, WIDTH, note, titled
from circuit_tracer.render.text import printable, shorten


def why_not(
    pruned: PrunedGraph,
    k: int,
    *,
    width: int = WIDTH,
    carried: Mapping[tuple[int, int], str] | None = None,
) -> RenderableType | None:
    """The k strongest routes of each sign to a token that was not chosen, and to what beat it.

    None for a graph that was not traced with `--why-not`. `carried`: words for edges, as in
    `routes`.
    """
    if not _asked_why_not(pruned.graph):
        return None
    graph = pruned.graph
    other, contrast = graph.info.targets
    name = _named(target_text(other))
    chosen = _named(target_text(contrast).rpartition(" - ")[0])
    headings: tuple[tuple[int, Sign, str], ...] = (
        (0, "+", f"What speaks for {name}"),
        (0, "-", f"What holds {name} down"),
        (1, "+", f"What puts {chosen} before {name}"),
        (1, "-", f"What puts {name} before {chosen}"),
    )
    up, down = _shares(graph, graph.target_rows.tolist())
    parts: list[RenderableType] = []
    for target, sign, heading in headings:
        row = int(graph.target_rows[target])
        paths = best_paths(pruned, k=k, targets=[row], direct=False, sign=sign)
        share = percent((up if sign == "+" else down)[target])
        shown = routes(pruned, paths, width=width, sign=sign, explained=False, carried=carried)
        parts += titled(f"{heading}: {share} of all paths to it", shown)
    below = "Routes through features; share of all paths from tokens to the target."
    return Group(*parts, note(below))


def totals(
    graph: Graph, targets: Sequence[int], sources: Sequence[int] | None = None
) -> RenderableType:
    """One line a target: how much of all paths to it pushes it up, and how much down."""
    up, down = _shares(graph, targets, sources)
    lines = []
    for row, plus, minus in zip(targets, up, down, strict=True):
        name = _named(graph.nodes.label[row])
        rest = 1 - plus - minus
        open_part = f", {percent(rest)} of unknown sign" if rest > 1e-9 else ""
        lines.append(
            f"Of all paths to {name}, {percent(plus)} push it up, "
            f"{percent(minus)} push it down{open_part}."
        )
    return Group(*map(note, lines))


def _asked_why_not(graph: Graph) -> bool:
    targets = graph.info.targets
    is_pair = len(targets) == 2 and targets[0].is_token and targets[1].is_contrast
    return is_pair and bool(graph.info.settings.get("why_not"))


def _shares(
    graph: Graph, targets: Sequence[int], sources: Sequence[int] | None = None
) -> tuple[list[float], list[float]]:
    """Shares of all paths to each target that push it up, and down; 0 where there are none."""
    tokens = graph.nodes.of_kind(NodeKind.EMBEDDING).tolist()
    mass = signed_mass(graph, sources=tokens if sources is None else sources)
    whole = [max(float(mass.total[row]), 1e-300) for row in targets]
    up = [float(mass.up[row]) / all_ for row, all_ in zip(targets, whole, strict=True)]
    down = [float(mass.down[row]) / all_ for row, all_ in zip(targets, whole, strict=True)]
    return up, down


def _named(token: str) -> str:
    return shorten(printable(token).strip(), LABEL_CELLS)
