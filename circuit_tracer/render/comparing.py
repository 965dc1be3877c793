"""A comparison of graphs in the terminal: overlaps, and the features that are shared or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from circuit_tracer.graphs.comparing.calibrated import Comparison
from circuit_tracer.graphs.comparing.merging import MergedGraph, Owner, merge
from circuit_tracer.graphs.comparing.overlap import Overlap
from circuit_tracer.graphs.graph import NodeKind
from circuit_tracer.graphs.pruning import PrunedGraph
from circuit_tracer.graphs.token_text import prompt_texts, target_text
from circuit_tracer.render.describe import short_label, value_text
from circuit_tracer.render.numbers import decimals, percent, signed_percent
from circuit_tracer.render.terminal import LABEL_CELLS, plain_table, titled
from circuit_tracer.render.text import printable, shorten

PROMPT_CELLS = 56
EXPLAINED = (
    "Overlap of what two graphs give their influence to: 100 % for equal ones. features: the same "
    "at the same place; anywhere: at any place; edges: between the same nodes; paths: share of all "
    "paths through features that runs along shared edges; places: layers and positions, whatever "
    "the features; tokens: words of the prompts. p: random labels overlap as much so often."
)


TWO_DICTIONARIES = (
    "The graphs are of different dictionaries, whose features have nothing to do with each other: "
    "only places and tokens can be compared."
)


def letters(count: int) -> list[str]:
    """What graphs are called in tables: A, B, ... Z, G27, ..."""
    return [chr(65 + i) if i < 26 else f"G{i + 1}" for i in range(count)]


def page(comparison: Comparison, limit: int) -> list[RenderableType]:
    """The graphs, their overlaps, and `limit` features of each owner where there are two graphs."""
    names = letters(len(comparison.graphs))
    rows: list[tuple[str, Overlap, float | None]] = []
    for (first, second), pair in comparison.pairs.items():
        both = f"{names[first]}, {names[second]}"
        rows.append((f"{both} whole graphs", pair.whole, pair.p_whole))
        rows.append((f"{both} after pruning", pair.kept, pair.p_kept))
    for name in ("ceiling", "floor"):
        if (mean := comparison.bound(name)[1]) is not None:
            rows.append((f"{name}, after pruning", mean, None))
    place = comparison.place(comparison.pairs[0, 1])
    if place is not None:
        rows.append(("A, B from floor 0 to ceiling 1", place, None))
    parts: list[RenderableType] = [
        graphs_table(comparison.graphs, names),
        overlap_table(rows, place=-1 if place is None else len(rows) - 1),
        explained([overlap for _, overlap, _ in rows]),
    ]
    if len(comparison.graphs) == 2 and limit:
        parts += _features(comparison, limit)
        if comparison.of_two_models:
            parts += _changes(comparison, limit)
    return parts


def _changes(comparison: Comparison, limit: int) -> list[RenderableType]:
    """Edges, then nodes, that appeared, vanished or flipped."""
    found, parts = comparison.changes(), []
    for title, is_edge, kinds in (
        ("Edges that appeared or vanished", True, ("appeared", "vanished")),
        ("Edges that flipped their sign", True, ("flipped",)),
        ("Nodes whose effect on the target appeared or vanished", False, ("appeared", "vanished")),
        ("Nodes whose effect on the target flipped", False, ("flipped",)),
    ):
        some = [one for one in found if bool(one.target) == is_edge and one.kind in kinds]
        table = plain_table(f"{len(some):,} in all." if len(some) > limit else "")
        table.texts("from" if is_edge else "node", *(("to",) if is_edge else ()), "change")
        table.numbers(*(("share in A", "in B") if is_edge else ("effect in A", "in B")))
        for one in some[:limit]:
            shown = [_signed(value, is_edge) for value in (one.first, one.second)]
            ends = (one.source, one.target) if is_edge else (one.source,)
            table.line(*map(printable, ends), one.kind, *shown)
        parts += titled(f"{title}: {len(some)}", *([table] if some else []))
    return parts


def _signed(value: float | None, is_share: bool) -> str:
    if value is None:
        return "-"
    return signed_percent(value) if is_share else decimals(value, sign=True)


def _features(comparison: Comparison, limit: int) -> list[RenderableType]:
    """The strongest features of both graphs, of A alone, of B alone."""
    pair, graphs = comparison.pairs[0, 1], comparison.graphs
    merged = merge(graphs[0], graphs[1], pair.columns)
    parts: list[RenderableType] = []
    for owner, title, count in (
        (Owner.BOTH, "Features that both keep", pair.counts.shared),
        (Owner.FIRST, "Only A keeps", pair.counts.first),
        (Owner.SECOND, "Only B keeps", pair.counts.second),
    ):
        table = [features_table(merged, owner, graphs, limit=limit)] if count else []
        parts += titled(f"{title}: {count}", *table)
    return parts


def overlap_sentence(overlap: Overlap) -> str:
    """How much two graphs share, for the legend of their figure; "" where it cannot be said."""
    shares = overlap.features, overlap.edges, overlap.paths
    if None in shares:
        return ""
    features, edges, paths = (percent(share) for share in shares if share is not None)
    return (
        f"Overlap by influence: {features} of features, {edges} of edges; {paths} of the paths "
        "through features run along shared edges."
    )


def graphs_table(graphs: Sequence[PrunedGraph], names: Sequence[str]) -> Table:
    """One line a graph: its letter, prompt, first target, scores."""
    table = plain_table()
    dictionaries = {pruned.graph.info.dictionary.name for pruned in graphs}
    models = {pruned.graph.info.model.name for pruned in graphs}
    table.texts("", "prompt", "target")
    for name in ("features kept", "replacement", "completeness"):
        table.add_column(name, justify="right")
    for name, pruned in zip(names, graphs, strict=True):
        target = pruned.graph.info.targets[0]
        features = pruned.graph.nodes.kind[pruned.node_kept] == NodeKind.FEATURE
        value = value_text(target)
        info = pruned.graph.info
        named = [(info.model.name, len(models)), (info.dictionary.name, len(dictionaries))]
        through = "".join(f" ({printable(name)})" for name, count in named if count > 1)
        table.line(
            name,
            f"{shorten(printable(pruned.graph.info.prompt).strip(), 36)}{through}",
            shorten(f"{target_text(target)} {value}", 18),
            str(int(features.sum())),
            f"{pruned.scores.replacement:.2f}",
            f"{pruned.scores.completeness:.2f}",
        )
    return table


def overlap_table(rows: Sequence[tuple[str, Overlap, float | None]], *, place: int = -1) -> Table:
    """One line an overlap: what it is of, its figures, its p; line `place` holds plain numbers."""
    table = plain_table().texts("overlap")
    names = [field.name for field in fields(Overlap)]
    table.numbers(*names, "p")
    for number, (name, overlap, p) in enumerate(rows):
        values = [getattr(overlap, one) for one in names]
        shown = [_figure(value, as_place=number == place) for value in values]
        table.line(name, *shown, "" if p is None else f"{p:.3f}")
    return table


def explained(overlaps: Sequence[Overlap]) -> Text:
    """What the figures of `overlap_table` mean."""
    differ = any(overlap.features is None and overlap.places is not None for overlap in overlaps)
    return Text(f" {EXPLAINED}{f' {TWO_DICTIONARIES}' if differ else ''}", style="dim")


def features_table(
    merged: MergedGraph, owner: Owner, graphs: Sequence[PrunedGraph], *, limit: int
) -> Table:
    """The features of most influence that both graphs, or one of them alone, keep."""
    pruned, nodes = merged.pruned, merged.pruned.graph.nodes
    rows = [
        row
        for row in nodes.of_kind(NodeKind.FEATURE).tolist()
        if int(merged.node_owner[row]) == owner
    ]
    rows.sort(key=lambda row: (-float(pruned.influence[row]), row))
    more = f"{len(rows):,} in all." if len(rows) > limit else ""
    table = plain_table(more)
    words = prompt_texts(pruned.graph.info.tokens)
    table.add_column("feature", no_wrap=True, min_width=8)
    table.add_column("label", no_wrap=True, min_width=24)
    table.texts("token").numbers("influence in A", "in B")
    for row in rows[:limit]:
        values = [
            percent(float(graph.influence[at])) if at >= 0 else "-"
            for graph, at in zip(graphs, merged.rows[row], strict=True)
        ]
        table.line(
            f"L{nodes.layer[row]}/{nodes.feature[row]}",
            shorten(short_label(pruned.graph, row), LABEL_CELLS),
            shorten(words[int(nodes.position[row])], 18),
            *values,
        )
    return table


def _figure(value: float | None, *, as_place: bool) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if as_place else percent(value)
