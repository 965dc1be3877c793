"""`compare A B ...`: what graphs of several prompts or dictionaries have in common."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from circuit_tracer import graphs as graphs_library
from circuit_tracer.batch import prompt_file
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.compare_reports import are_reports, compare_reports
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.comparing import alignment, comparison, merging
from circuit_tracer.graphs.comparing import overlap as comparing_overlap
from circuit_tracer.render import comparing, numbers
from circuit_tracer.render import merged as render_merged
from circuit_tracer.workbench import drawing, folder_contents, formats

if TYPE_CHECKING:
    from rich.console import RenderableType

    from circuit_tracer.graphs import PrunedGraph
    from circuit_tracer.graphs.comparing.comparison import Pair
    from circuit_tracer.graphs.comparing.overlap import Overlap
    from circuit_tracer.graphs.head_loadings import HeadLoadings


class _Compared(NamedTuple):
    """All that is compared."""

    graphs: list[PrunedGraph]
    pairs: dict[tuple[int, int], Pair]
    """By the numbers of the two graphs."""
    ceiling: list[Pair]
    """The first graph with each paraphrase."""
    floor: list[Pair]
    """Every graph with each unrelated one."""


@explained
def compare(
    graphs: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [C ...]",
            help="Traced folders or graph JSON files; or reports of dissociate.",
        ),
    ],
    ceiling: Annotated[
        list[Path] | None,
        own("--ceiling", help="Graph of a paraphrase of A: what much overlap is; repeatable."),
    ] = None,
    floor: Annotated[
        list[Path] | None,
        own("--floor", help="Graph of an unrelated prompt: what little overlap is; repeatable."),
    ] = None,
    roles: Annotated[
        Path | None,
        own("--roles", help="Prompt file (JSON lines) that names roles of positions."),
    ] = None,
    figure: Annotated[
        Path | None,
        own("--figure", help="Draw A and B as one figure: a .svg, .pdf or .png file."),
    ] = None,
    max_nodes: options.MaxNodes = 50,
    nodes: Annotated[int, own("--nodes", min=0, help="Features to list of A and B.")] = 8,
    shuffles: Annotated[
        int, own("--shuffles", min=0, help="Random labellings behind p; 0 for no p.")
    ] = 200,
    seed: Annotated[int, own("--seed", min=0, help="Seed of these.")] = 0,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Compare graphs: features, edges, paths they share, between a ceiling and a floor."""
    if len(graphs) < 2:
        raise UsageError("compare needs two graphs or more; give two traced folders")
    refuse_without("--max-nodes", "--overwrite", needed="--figure", there=figure)
    if are_reports(graphs):
        if ceiling or floor or roles:
            raise UsageError("--ceiling, --floor and --roles are for graphs, not for reports")
        refuse_with(
            *("--max-nodes", "--nodes", "--shuffles", "--seed"),
            other="reports of dissociate",
            there=True,
        )
        form = _form(figure, 2, overwrite)
        compare_reports(graphs, figure, form, overwrite=overwrite, json=json)
        return
    form = _form(figure, len(graphs), overwrite)
    refuse_with("--nodes", other="--json", there=json)
    refuse_with("--nodes", other="more than two graphs", there=len(graphs) > 2)
    refuse_with("--seed", other="--shuffles 0", there=shuffles == 0)
    given = (graphs, ceiling or [], floor or [])
    with progress_line() as report:
        report("comparing", 0, 0)
        compared = _compared(given, roles, shuffles, seed)
        if figure is not None and form is not None:
            stored = [
                folder_contents.stored_heads(*one)
                for one in zip(compared.graphs, graphs, strict=True)
            ]
            heads = stored[0], stored[1]
            _draw(compared, figure, form, heads, max_nodes=max_nodes, overwrite=overwrite)
    if json:
        print_json(_record(compared, graphs))
        return
    _print(compared, nodes)
    if figure is not None:
        print(f"\n{figure}")


def _form(figure: Path | None, count: int, overwrite: bool) -> str | None:
    """What the figure's name asks for, before any work."""
    if figure is not None and count != 2:
        raise UsageError(f"--figure shows two graphs, not {count}; give two of them")
    return formats.check_figure(figure, overwrite=overwrite)


def _compared(
    given: tuple[list[Path], list[Path], list[Path]],
    roles: Path | None,
    shuffles: int,
    seed: int,
) -> _Compared:
    named = {} if roles is None else prompt_file.read_roles(roles)
    graphs, ceiling, floor = (
        [graphs_library.open_graph(path) for path in paths] for paths in given
    )

    def pair(first: PrunedGraph, second: PrunedGraph, deals: int) -> Pair:
        at = (
            alignment.roles_of(first.graph, named),
            alignment.roles_of(second.graph, named),
        )
        return comparison.compare(first, second, roles=at, shuffles=deals, seed=seed)

    numbers = [(i, j) for i in range(len(graphs)) for j in range(i + 1, len(graphs))]
    return _Compared(
        graphs=graphs,
        pairs={(i, j): pair(graphs[i], graphs[j], shuffles) for i, j in numbers},
        ceiling=[pair(graphs[0], other, 0) for other in ceiling],
        floor=[pair(one, other, 0) for other in floor for one in graphs],
    )


def _draw(
    compared: _Compared,
    path: Path,
    form: str,
    heads: tuple[HeadLoadings | None, HeadLoadings | None],
    *,
    max_nodes: int,
    overwrite: bool,
) -> None:
    first, second = compared.graphs
    pair = compared.pairs[0, 1]
    kept = pair.kept
    said = ""
    if kept.features is not None and kept.edges is not None and kept.paths is not None:
        features, edges, paths = map(numbers.percent, (kept.features, kept.edges, kept.paths))
        said = (
            f"Overlap by influence: {features} of features, {edges} of edges; {paths} of the paths "
            "through features run along shared edges."
        )
    drawn = render_merged.merged_svg(
        merging.merge(first, second, pair.columns),
        first,
        second,
        overlap=said,
        max_nodes=max_nodes,
        heads=heads,
    )
    with graphs_library.new_file(path, overwrite) as file:
        file.write_bytes(drawing.bytes_of(drawn, form))


def _means(pairs: list[Pair]) -> tuple[Overlap | None, Overlap | None]:
    """Before and after pruning."""
    return comparing_overlap.mean_overlap([p.whole for p in pairs]), comparing_overlap.mean_overlap(
        [p.kept for p in pairs]
    )


def _print(compared: _Compared, nodes: int) -> None:
    names = comparing.letters(len(compared.graphs))
    floor, ceiling = _means(compared.floor), _means(compared.ceiling)
    rows: list[tuple[str, Overlap, float | None]] = []
    for (i, j), pair in compared.pairs.items():
        rows.append((f"{names[i]}, {names[j]} whole graphs", pair.whole, pair.p_whole))
        rows.append((f"{names[i]}, {names[j]} after pruning", pair.kept, pair.p_kept))
    for name, mean in (("ceiling", ceiling[1]), ("floor", floor[1])):
        if mean is not None:
            rows.append((f"{name}, after pruning", mean, None))
    first = compared.pairs[0, 1]
    place = comparing_overlap.between(first.kept, floor[1], ceiling[1])
    if place is not None:
        rows.append(("A, B from floor 0 to ceiling 1", place, None))
    parts: list[RenderableType] = [
        comparing.graphs_table(compared.graphs, names),
        comparing.overlap_table(rows, place=-1 if place is None else len(rows) - 1),
        comparing.explained([overlap for _, overlap, _ in rows]),
    ]
    if len(compared.graphs) == 2 and nodes:
        parts += _features(compared, nodes)
    print_rich(*parts)


def _features(compared: _Compared, nodes: int) -> list[RenderableType]:
    """The strongest features of both, of A alone, of B alone."""
    from rich.text import Text

    pair = compared.pairs[0, 1]
    merged = merging.merge(compared.graphs[0], compared.graphs[1], pair.columns)
    counts = pair.counts
    parts: list[RenderableType] = []
    for owner, heading in (
        (merging.Owner.BOTH, f"Features that both keep: {counts.shared}"),
        (merging.Owner.FIRST, f"Only A keeps: {counts.first}"),
        (merging.Owner.SECOND, f"Only B keeps: {counts.second}"),
    ):
        parts.append(Text(heading, style="bold"))
        if (counts.shared, counts.first, counts.second)[owner]:
            table = comparing.features_table(merged, owner, compared.graphs, limit=nodes)
            parts.append(table)
    return parts


def _record(compared: _Compared, paths: list[Path]) -> dict[str, Any]:
    """What `--json` prints."""
    floor, ceiling = _means(compared.floor), _means(compared.ceiling)
    return {
        "graphs": [
            {"path": str(path), "prompt": one.graph.info.prompt, "scores": asdict(one.scores)}
            for path, one in zip(paths, compared.graphs, strict=True)
        ],
        "pairs": [
            {
                "first": i,
                "second": j,
                "columns": [column._asdict() for column in pair.columns],
                "whole": {**asdict(pair.whole), "p": pair.p_whole},
                "kept": {**asdict(pair.kept), "p": pair.p_kept},
                "features": asdict(pair.counts),
                "place": _plain(comparing_overlap.between(pair.kept, floor[1], ceiling[1])),
            }
            for (i, j), pair in compared.pairs.items()
        ],
        "ceiling": {"whole": _plain(ceiling[0]), "kept": _plain(ceiling[1])},
        "floor": {"whole": _plain(floor[0]), "kept": _plain(floor[1])},
    }


def _plain(overlap: Overlap | None) -> dict[str, float | None] | None:
    return None if overlap is None else asdict(overlap)
