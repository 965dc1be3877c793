"""What a terminal shows of a trace: tokens, targets, scores with their meaning, routes.

Every function returns a rich renderable that reads the same without colour and fits 80 columns;
`as_text` turns one into plain text. Text of prompts and labels is never read as rich markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from typing import TYPE_CHECKING

from circuit_tracer.graphs.graph import Graph, NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.routes.head_paths import HeadPath, Way
from circuit_tracer.graphs.routes.k_best import Sign
from circuit_tracer.graphs.routes.paths import Path, best_paths, direct_shares
from circuit_tracer.graphs.token_text import prompt_texts, target_text, target_texts
from circuit_tracer.render.describe import features_there, score_lines, softcap_line
from circuit_tracer.render.text import percent, printable, shorten

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

WIDTH = 80
LABEL_CELLS = 30
ROUTED_TARGETS = 3
"""Targets whose routes are listed; the others are far less likely."""
UP, DOWN = "cyan", "yellow"

_Called = tuple[int, str]  # (layer, label)


def as_text(renderable: RenderableType, *, width: int = WIDTH, color: bool = False) -> str:
    """The renderable as text of `width` columns, with colour codes only if asked for.

    Only what can be neither wrapped nor cut is wider: numbers, names, the steps of a route.
    """
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(renderable, end="", crop=False)
    lines = out.getvalue().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines)


def leading_routes(pruned: PrunedGraph, k: int) -> list[Path]:
    """The k strongest routes through features to each of the first `ROUTED_TARGETS` targets."""
    targets = pruned.graph.target_rows[:ROUTED_TARGETS].tolist()
    return best_paths(pruned, k=k, targets=targets, direct=False)


def summary(
    pruned: PrunedGraph,
    paths: Sequence[Path] | None,
    *,
    width: int = WIDTH,
    section: RenderableType | None = None,
    carried: Mapping[tuple[int, int], str] | None = None,
) -> RenderableType:
    """The trace on one screen: tokens, targets, scores, strongest routes (none if None).

    `section` is shown in place of the routes, where it is given; `carried` as in `routes`.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    capped = softcap_line(pruned.graph)
    for name, part, below in (
        ("Tokens", tokens(pruned.graph, width=width), ""),
        ("Targets", targets(pruned.graph), capped),
        ("Scores", scores(pruned), ""),
    ):
        parts += [Text(name, style="bold"), part]
        parts += [note(below)] if below else []
        parts.append(Text(""))
    if section is not None:
        parts += [section, Text("")]
    elif paths is not None:
        parts += [
            Text("Strongest routes through features", style="bold"),
            routes(pruned, paths, width=width, carried=carried),
            straight(pruned.graph),
            Text(""),
        ]
    return Group(*parts, counts(pruned))


def counts(pruned: PrunedGraph) -> Text:
    """One line on how much of the graph was kept."""
    from rich.text import Text

    kinds = pruned.graph.nodes.kind
    features = kinds == NodeKind.FEATURE
    kept = int(pruned.node_kept[features].sum())
    return Text(
        f"{kept:,} of {int(features.sum()):,} {features_there(pruned.graph)} and "
        f"{int(pruned.edge_kept.sum()):,} of {len(pruned.edge_kept):,} edges kept "
        f"(thresholds {pruned.node_threshold:g}, {pruned.edge_threshold:g}).",
        style="dim",
    )


def tokens(graph: Graph, *, width: int = WIDTH) -> Text:
    """The prompt's tokens with their positions, as many to a line as fit."""
    from rich.text import Text

    lines = [""]
    for position, token in enumerate(prompt_texts(graph.info.tokens)):
        item = f"{position}:{shorten(token, LABEL_CELLS)}"
        longer = f"{lines[-1]}  {item}"
        if lines[-1] and cell_width(longer) > width:
            lines.append(f"  {item}")
        else:
            lines[-1] = longer
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def targets(graph: Graph) -> Table:
    """What the graph explains: each target with its probability, logit and weight."""
    table = plain_table()
    table.add_column("target", no_wrap=True, min_width=12)
    table.add_column("at", justify="right")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("logit", justify="right", no_wrap=True)
    table.add_column("weight", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    texts = target_texts(graph.info.targets)
    rows = graph.target_rows.tolist()
    for row, target, words in zip(rows, graph.info.targets, texts, strict=True):
        note = "difference of two logits" if target.is_contrast else f"choice {target.rank + 1}"
        add_plain(
            table,
            shorten(words, LABEL_CELLS),
            str(target.position),
            percent(target.probability),
            f"{target.logit:+.2f}" if target.is_contrast else f"{target.logit:.2f}",
            percent(float(graph.nodes.weight[row])),
            note,
        )
    return table


def scores(pruned: PrunedGraph) -> Table:
    """Every score with one sentence on what its value means."""
    table = plain_table(header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for score in score_lines(pruned):
        add_plain(table, score.name, score.value, score.meaning)
    return table


def routes(
    pruned: PrunedGraph,
    paths: Sequence[Path | HeadPath],
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
    from rich.console import Group
    from rich.text import Text

    if not paths:
        kind = {"+": " that pushes it up", "-": " that pushes it down"}.get(sign, "")
        return Text(f"  No route from a token to a target{kind} was kept: lower the pruning.")
    shares = [_share(path) for path in paths]
    room = max(len(share) for share in shares)
    shared = _shared_labels(pruned.graph)
    text = Text(no_wrap=True, overflow="ignore")
    target = paths[0].rows[-1]
    for path, share in zip(paths, shares, strict=True):
        if path.rows[-1] != target:
            text.append("\n")
            target = path.rows[-1]
        text.append(f"  {share:>{room}}  ", style=sign_style(path.sign))
        words = _on_edges(path, carried or {})
        route = _route(pruned.graph, path.rows, words, shared, width - room - 4, room + 4)
        text.append(route + "\n")
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


def note(words: str) -> RenderableType:
    """A line of explanation, indented also where it wraps."""
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(words, style="dim"), (0, 0, 0, 2))


def _share(path: Path | HeadPath) -> str:
    """ "+12 %", and for a way through heads what part it is of the whole path."""
    share = f"{'+' if path.sign > 0 else '-'}{percent(path.share)}"
    return share if isinstance(path, Path) else f"{share} {percent(path.path_share):>6}"


def _on_edges(path: Path | HeadPath, carried: Mapping[tuple[int, int], str]) -> Sequence[str]:
    """What is written on each edge of a route."""
    if isinstance(path, Path):
        return [carried.get(pair, "") for pair in pairwise(path.rows)]
    return [way_words(way) for way in path.ways]


def way_words(way: Way) -> str:
    """ "L1.H3@2─L3.H0": heads one after the other; "@2" where one brings it halfway."""
    words = [f"{hop.name}@{hop.query}" if hop.query != way[-1].query else hop.name for hop in way]
    return "─".join(words)


def straight(graph: Graph) -> RenderableType:
    """One line on the routes that meet no feature: the listed ones in proportion."""
    shares = list(zip(graph.info.targets, direct_shares(graph), strict=True))[:ROUTED_TARGETS]
    named = [f"{target_text(t)} {percent(float(share))}" for t, share in shares]
    return note(
        "Straight from a token, through attention alone, go of all paths: " + ", ".join(named)
    )


def _route(
    graph: Graph,
    rows: Sequence[int],
    on_edges: Sequence[str],
    shared: Set[_Called],
    width: int,
    indent: int,
) -> str:
    """`banana → L0 "fruit" ─L2.H1→ L3@4 "say yellow" ⟹ yellow`, broken before arrows only.

    "@4" is written where a route moves on to another token.
    """
    lines, at = [""], -1
    for i, row in enumerate(rows):
        position = int(graph.nodes.position[row])
        stop = _stop(graph, row, shared, moved=0 <= at != position)
        arrow = "" if i == 0 else _arrow(on_edges[i - 1], is_last=i == len(rows) - 1)
        longer = f"{lines[-1]} {arrow}{stop}".lstrip()
        if lines[-1] and cell_width(longer) > width:
            lines.append(f"  {arrow}{stop}")
        else:
            lines[-1] = longer if len(lines) == 1 else f"  {longer}"
        at = position
    return ("\n" + " " * indent).join(lines)


def _arrow(words: str, *, is_last: bool) -> str:
    line, head = ("═", "⟹") if is_last else ("─", "→")
    return f"{line}{words}{head} " if words else f"{head} "


def _stop(graph: Graph, row: int, shared: Set[_Called], *, moved: bool) -> str:
    """A node on a route: tokens and targets by their text, features by layer and label."""
    nodes = graph.nodes
    kind, layer, position = NodeKind(int(nodes.kind[row])), nodes.layer[row], nodes.position[row]
    at = f"@{position}" if moved else ""
    if kind is NodeKind.ERROR:
        return f"L{layer}{at} error"
    if kind is NodeKind.EMBEDDING:
        tokens = graph.info.tokens
        words = shorten(prompt_texts(tokens)[position], LABEL_CELLS)
        return words if tokens.count(tokens[position]) == 1 else f"{words}@{position}"
    if kind is NodeKind.LOGIT:
        texts = target_texts(graph.info.targets)
        return shorten(texts[graph.target_rows.tolist().index(row)], LABEL_CELLS)
    label = printable(nodes.label[row]).strip()
    if not label:
        return f"L{layer}/{nodes.feature[row]}{at}"
    is_shared = (int(layer), nodes.label[row]) in shared
    name = f"L{layer}/{nodes.feature[row]}" if is_shared else f"L{layer}"
    label = shorten(label, LABEL_CELLS)
    return f"{name}{at} {label}" if '"' in label else f'{name}{at} "{label}"'


def _shared_labels(graph: Graph) -> Set[_Called]:
    """Labels that several features of one layer bear: the index has to tell them apart."""
    nodes = graph.nodes
    features = {
        (int(nodes.layer[row]), nodes.label[row], int(nodes.feature[row]))
        for row in nodes.of_kind(NodeKind.FEATURE).tolist()
    }
    bearers = Counter((layer, label) for layer, label, _ in features)
    return {called for called, count in bearers.items() if count > 1}


def plain_table(caption: str = "", *, header: bool = True) -> Table:
    """A table without lines; the caption, if any, stands below."""
    from circuit_tracer.render.fitted_table import FittedTable

    return FittedTable(
        box=None,
        show_header=header,
        header_style="dim",
        pad_edge=True,
        padding=(0, 1, 0, 1),
        caption=caption or None,
        caption_justify="left",
        caption_style="dim",
    )


def add_plain(table: Table, *cells: str, style: str = "") -> None:
    """Add a row of plain text: nothing in it is read as rich markup."""
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def sign_style(sign: int) -> str:
    """The colour of a sign; the sign itself is always written too."""
    return UP if sign > 0 else DOWN


def cell_width(text: str) -> int:
    """Terminal columns the text takes."""
    from rich.cells import cell_len

    return cell_len(text)
