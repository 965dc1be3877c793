"""`heads`: through which attention heads a graph's influence flows, and the parts of its edges."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from circuit_tracer import graphs
from circuit_tracer.attribution import head_loadings as attribution_head_loadings
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import head_loadings
from circuit_tracer.render import attention
from circuit_tracer.workbench import folder_contents, named_nodes, opening

if TYPE_CHECKING:
    from circuit_tracer.graphs import Edges, Graph, PrunedGraph
    from circuit_tracer.graphs.head_loadings import HeadLoadings, LeadingHead


@explained
def heads(
    graph: options.GraphPath,
    edge: Annotated[
        tuple[str, str] | None,
        own(
            "--edge",
            metavar="SOURCE TARGET",
            help="One edge: two tokens, positions (@4) or node names.",
        ),
    ] = None,
    route: Annotated[
        int | None, own("--route", min=1, help="Every edge of the n-th best route; 1 is the best.")
    ] = None,
    top: Annotated[int, own("--top", "-k", min=1, help="How many heads to list.")] = 15,
    save: Annotated[
        bool, own("--save", help="Store the loadings with the graph, as trace --heads does.")
    ] = False,
    model: options.GraphsModel = None,
    transcoders: options.GraphsTranscoders = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """The attention heads that carry a graph's influence, or the parts of one edge by head."""
    if (edge is not None) + (route is not None) + save > 1:
        raise UsageError("--edge, --route and --save exclude each other; give one of them")
    if save and not graph.is_dir():
        raise UsageError("--save stores into the folder of a trace; give that folder")
    refuse_with("--top", other="--edge and --json", there=edge and json)
    refuse_with("--top", other="--route and --json", there=route and json)
    pruned = graphs.open_graph(graph)
    wanted = _wanted(pruned, edge, route)
    loadings = None if save else folder_contents.stored_heads(pruned, graph)
    if loadings is None or not _all_stored(pruned, wanted):
        loadings = _computed(pruned, wanted, model, transcoders, device, threads)
    else:
        refuse(
            *("--model", "--transcoders", "--device", "--threads"),
            idle=True,
            why=f"because the loadings are stored with {graph}; leave it out",
        )
    if save:
        head_loadings.save_heads(loadings, graph)
    if wanted is not None:
        _print_edges(pruned.graph, wanted, loadings, top, json)
        return
    leading = head_loadings.leading_heads(pruned, loadings, most=top)
    if json:
        print_json(_leading_record(pruned, leading))
        return
    print_rich(attention.leading_table(pruned, leading))
    if save:
        print(f"\n{graph / head_loadings.HEADS_FILE}")


def _leading_record(pruned: PrunedGraph, leading: list[LeadingHead]) -> dict[str, Any]:
    edges = head_loadings.strongest_edges(pruned)
    return {
        "kept_edges": int(pruned.edge_kept.sum()),
        "edges_taken_apart": len(edges),
        "influence_share_of_these": head_loadings.influence_share(pruned, edges),
        "heads": [
            asdict(head) | {"moves": [move._asdict() for move in head.moves]} for head in leading
        ],
    }


def _wanted(pruned: PrunedGraph, edge: tuple[str, str] | None, route: int | None) -> Edges | None:
    """The edges asked for; None for all kept ones."""
    graph = pruned.graph
    if edge is not None:
        starts = named_nodes.source_rows(graph, edge[0], "--edge")
        ends = named_nodes.target_rows(graph, edge[1], "--edge")
        rows = (
            named_nodes.one_row(graph, edge[0], starts, "--edge"),
            named_nodes.one_row(graph, edge[1], ends, "--edge"),
        )
        return _between(graph, [rows])
    if route is None:
        return None
    first = int(graph.target_rows[0])
    paths = graphs.best_paths(pruned, k=max(1, route), targets=[first], direct=False)
    if not 1 <= route <= len(paths):
        raise UsageError(
            f"--route {route}: the kept graph has {len(paths)} route(s) through features to its "
            "first target; choose one of them, from 1"
        )
    return _between(graph, list(pairwise(paths[route - 1].rows)))


def _between(graph: Graph, ends: list[tuple[int, int]]) -> Edges:
    import numpy as np

    found = []
    for source, target in ends:
        into = graph.edges.into(target, target + 1)
        at = np.flatnonzero(graph.edges.source[into] == source)
        if not len(at):
            start, end = graphs.node_name(graph, source), graphs.node_name(graph, target)
            raise UsageError(
                f"there is no edge from {start} to {end}; circuit-tracer show lists the strongest"
            )
        found.append(into.start + int(at[0]))
    return graph.edges.take(np.array(found))


def _all_stored(pruned: PrunedGraph, wanted: Edges | None) -> bool:
    """Whether stored loadings have all that is wanted."""
    if wanted is None:
        return True
    stored = head_loadings.strongest_edges(pruned)
    pairs = set(zip(stored.source.tolist(), stored.target.tolist(), strict=True))
    return all(
        pair in pairs for pair in zip(wanted.source.tolist(), wanted.target.tolist(), strict=True)
    )


def _computed(
    pruned: PrunedGraph,
    wanted: Edges | None,
    model: str | None,
    transcoders: str | None,
    device: str,
    threads: int | None,
) -> HeadLoadings:
    with progress_line() as report:
        report("opening the model", 0, 0)
        opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
        report("taking edges apart", 0, 0)
        return attribution_head_loadings.head_loadings(
            opened.model, opened.dictionary, pruned, wanted
        )


def _print_edges(graph: Graph, wanted: Edges, loadings: HeadLoadings, top: int, json: bool) -> None:
    ends = list(zip(wanted.source.tolist(), wanted.target.tolist(), strict=True))
    weights = wanted.weight.tolist()
    parts = [loadings.of_edge(*pair) for pair in ends]
    if json:
        print_json(
            [
                _edge_record(graph, *pair, weight, part)
                for pair, weight, part in zip(ends, weights, parts, strict=True)
            ]
        )
        return
    for number, (pair, weight, part) in enumerate(zip(ends, weights, parts, strict=True)):
        if number:
            print()
        print_rich(*attention.edge_heads(graph, *pair, weight, part, most=top))


def _edge_record(
    graph: Graph, source: int, target: int, weight: float, part: HeadLoadings
) -> dict[str, Any]:
    import numpy as np

    layers = []
    for layer in np.unique(part.layer).tolist():
        here = part.take(part.layer == layer)
        own = here.take(here.head >= 0)
        names = ("head", "loading", "key", "query", "peak")
        columns = zip(*(getattr(own, name).tolist() for name in names), strict=True)
        layers.append(
            {
                "layer": layer,
                "residual": float(here.loading[here.head == head_loadings.RESIDUAL].sum()),
                "others": float(here.loading[here.head == head_loadings.OTHERS].sum()),
                "heads": [dict(zip(names, row, strict=True)) for row in columns],
            }
        )
    ends = {"source": graphs.node_name(graph, source), "target": graphs.node_name(graph, target)}
    return ends | {"weight": weight, "layers": layers}
