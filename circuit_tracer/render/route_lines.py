"""Routes in the terminal: the strongest, one a line, each up or down with its share.

A trace with `--why-not TOKEN` explains two targets: the token that was not chosen, and the contrast
of the chosen one and it. Each gets its strongest routes up and down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.text import Text

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.head_paths import HeadPath, Way
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import Path, best_paths, direct_shares, signed_mass
from circuit_tracer.graphs.token_text import prompt_texts, target_text
from circuit_tracer.render.describe import feature_id, short_label
from circuit_tracer.render.numbers import percent, signed_percent
from circuit_tracer.render.terminal import LABEL_CELLS, WIDTH, in_lines, note, sign_style, titled
from circuit_tracer.render.text import printable, shorten

ROUTED_TARGETS = 3
"""Targets whose routes are listed; the others are far less likely."""


def leading_routes(pruned: PrunedGraph, k: int) -> list[Path]:
    """The k strongest routes through features to each of the first `ROUTED_TARGETS` targets."""
    targets = pruned.graph.target_rows[:ROUTED_TARGETS].tolist()
    return best_paths(pruned, k=k, targets=targets, direct=False)


def routes(
    pruned: PrunedGraph,
    paths: Sequence[Path],
    *,
    width: int = WIDTH,
    origin: str = "tokens",
    sign: Sign = "any",
    explained: bool = True,
    carried: Mapping[tuple[int, int], str] | None = None,
) -> RenderableType:
    """The strongest signed routes, one a line; a route that is too long goes on indented.

    A gap parts the routes to one target from those to the next. `origin` says in words what the
    paths' sources are, which their shares are of; the line that says so is left out unless
    `explained`. `sign` is what was asked for. `carried` are words for edges by (source, target):
    which heads carry them. Routes through heads name their own.
    """
    if not paths:
        kind = {"+": " that pushes it up", "-": " that pushes it down"}.get(sign, "")
        return Text(f"  No route from a token to a target{kind} was kept: lower the pruning.")
    shares = [_share(path) for path in paths]
    room = max(len(share) for share in shares)
    text = Text(no_wrap=True, overflow="ignore")
    target = paths[0].rows[-1]
    for path, share in zip(paths, shares, strict=True):
        if path.rows[-1] != target:
            text.append("\n")
            target = path.rows[-1]
        text.append(f"  {share:>{room}}  ", style=sign_style(path.sign))
        pieces = _pieces(pruned.graph, path.rows, _on_edges(path, carried or {}))
        lines = in_lines(pieces, width - room - 4)
        text.append(("\n" + " " * (room + 4)).join(lines) + "\n")
    if not explained:
        return text
    text.rstrip()
    notes = [
        "+/-: pushes the target up or down; share of all paths from "
        f"{shorten(printable(origin), LABEL_CELLS)} to it."
    ]
    if carried and any(pair in carried for path in paths for pair in pairwise(path.rows)):
        notes.append("─L3.H2 62 %→: the head that brings most of the edge over, and how much.")
    return Group(text, *map(note, notes))


def straight(graph: Graph) -> RenderableType:
    """One line on the routes that meet no feature: the listed ones in proportion."""
    shares = list(zip(graph.info.targets, direct_shares(graph), strict=True))[:ROUTED_TARGETS]
    named = [f"{target_text(t)} {percent(float(share))}" for t, share in shares]
    return note(
        "Straight from a token, through attention alone, go of all paths: " + ", ".join(named)
    )


def token_with_position(graph: Graph, position: int) -> str:
    """The token's text, with its position where the prompt has it more than once."""
    tokens = graph.info.tokens
    words = shorten(prompt_texts(tokens)[position], LABEL_CELLS)
    return words if tokens.count(tokens[position]) == 1 else f"{words}@{position}"


def _share(path: Path) -> str:
    """ "+12 %", and for a way through heads what part it is of the whole path."""
    share = signed_percent(path.sign * path.share)
    return f"{share} {percent(path.path_share):>6}" if isinstance(path, HeadPath) else share


def _on_edges(path: Path, carried: Mapping[tuple[int, int], str]) -> Sequence[str]:
    """What is written on each edge of a route."""
    if isinstance(path, HeadPath):
        return [way_words(way) for way in path.ways]
    return [carried.get(pair, "") for pair in pairwise(path.rows)]


def way_words(way: Way) -> str:
    """ "L1.H3@2─L3.H0": heads one after the other; "@2" where one brings it halfway."""
    words = [f"{hop.name}@{hop.query}" if hop.query != way[-1].query else hop.name for hop in way]
    return "─".join(words)


def _pieces(graph: Graph, rows: Sequence[int], on_edges: Sequence[str]) -> list[str]:
    """The steps of `banana → L0/7 "fruit" ─L2.H1→ L3/1@4 "say yellow" ⟹ yellow`, with arrows.

    "@4" is written where a route moves on to another token.
    """
    positions = graph.nodes.position[list(rows)].tolist()
    pieces = [_stop(graph, rows[0], moved=False)]
    for i, words in enumerate(on_edges, start=1):
        line, head = ("═", "⟹") if i == len(on_edges) else ("─", "→")
        arrow = f"{line}{words}{head}" if words else head
        moved = positions[i] != positions[i - 1]
        pieces.append(f" {arrow} {_stop(graph, rows[i], moved=moved)}")
    return pieces


def _stop(graph: Graph, row: int, *, moved: bool) -> str:
    """A node on a route: tokens and targets by their text, features by id and label."""
    nodes = graph.nodes
    kind, layer, position = NodeKind(int(nodes.kind[row])), nodes.layer[row], nodes.position[row]
    at = f"@{position}" if moved else ""
    if kind is NodeKind.ERROR:
        return f"L{layer}{at} error"
    if kind is NodeKind.EMBEDDING:
        return token_with_position(graph, int(position))
    if kind is NodeKind.LOGIT:
        return shorten(short_label(graph, row), LABEL_CELLS)
    label = printable(nodes.label[row]).strip()
    if not label:
        return f"{feature_id(graph, row)}{at}"
    label = shorten(label, LABEL_CELLS)
    name = f"{feature_id(graph, row)}{at}"
    return f"{name} {label}" if '"' in label else f'{name} "{label}"'


def one_line(graph: Graph, path: Path) -> str:
    """A route on one line with every feature's number: token -> L5/717 "label" -> target."""
    nodes, stops = graph.nodes, []
    for row in path.rows:
        kind, layer = NodeKind(int(nodes.kind[row])), nodes.layer[row]
        words = short_label(graph, row)
        if kind is NodeKind.EMBEDDING:
            words = token_with_position(graph, int(nodes.position[row]))
        elif kind is NodeKind.ERROR:
            words = f"L{layer}/error"
        elif kind is NodeKind.FEATURE:
            name = feature_id(graph, row)
            label = printable(nodes.label[row]).strip()
            words = f'{name} "{label}"' if label else name
        stops.append(words)
    return f"{' -> '.join(stops)}  {signed_percent(path.sign * path.share)}"


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
