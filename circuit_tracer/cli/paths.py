"""`paths`: the k best signed routes of a traced graph, through features, and heads with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from circuit_tracer import graphs
from circuit_tracer.attribution import head_ways
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.routes import head_paths, k_best
from circuit_tracer.render import attention, edge_labels, route_lines
from circuit_tracer.render import signed_routes as signed
from circuit_tracer.workbench import folder_contents, named_nodes, opening

if TYPE_CHECKING:
    from circuit_tracer.graphs import PrunedGraph
    from circuit_tracer.graphs.routes.head_paths import HeadParts, HeadPath
    from circuit_tracer.graphs.routes.k_best import Sign
    from circuit_tracer.graphs.routes.paths import Path as Route


@explained
def paths(
    graph: options.GraphPath,
    source: Annotated[
        str | None, own("--from", help="A prompt token, a position (@4) or a node name.")
    ] = None,
    target: Annotated[str | None, own("--to", help="A target token or a node name.")] = None,
    k: Annotated[int, own("-k", "--top", min=1, help="How many routes per target.")] = 10,
    sign: Annotated[
        str, own("--sign", help="+ for routes that push the target up, - for down, or any.")
    ] = "any",
    heads: Annotated[
        bool,
        own("--heads", help="Through attention heads, too: opens the model to split the edges."),
    ] = False,
    floor: Annotated[
        float,
        own("--floor", help="With --heads: parts of an edge below this share are only summed."),
    ] = 0.02,
    model: options.GraphsModel = None,
    transcoders: options.GraphsTranscoders = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """The k best signed routes from tokens to a target, with their shares of all routes."""
    refuse_without(
        *("--floor", "--model", "--transcoders", "--device", "--threads"),
        needed="--heads",
        there=heads,
    )
    pruned = graphs.open_graph(graph)
    if k < 1:
        raise UsageError(f"-k {k} must be at least 1")
    if not 0 <= floor < 1:
        raise UsageError(f"--floor {floor:g} is no share of an edge; give 0 or more, below 1")
    asked = _sign(sign)
    starts = None if source is None else named_nodes.source_rows(pruned.graph, source, "--from")
    ends = None if target is None else named_nodes.target_rows(pruned.graph, target, "--to")
    found: list[Route] | list[HeadPath]
    parts = None
    if heads:
        k_best.check_count(k)
        parts = _parts(pruned, floor, model, transcoders, device, threads)
        found = head_paths.best_head_paths(
            pruned, parts, sources=starts, targets=ends, k=k, sign=asked
        )
    else:
        found = graphs.best_paths(pruned, sources=starts, targets=ends, k=k, sign=asked)
    ends = pruned.graph.target_rows.tolist() if ends is None else ends
    if json:
        print_json(_record(pruned, found, starts, ends, parts))
        return
    shown = route_lines.routes(
        pruned,
        found,
        width=columns(),
        origin=source or "tokens",
        sign=asked,
        carried=None
        if heads
        else edge_labels.carried_by(folder_contents.stored_heads(pruned, graph)),
    )
    notes = [] if parts is None else [attention.ways_explained(pruned, parts)]
    print_rich(shown, *notes, signed.totals(pruned.graph, ends, starts))


def _parts(
    pruned: PrunedGraph,
    floor: float,
    model: str | None,
    transcoders: str | None,
    device: str,
    threads: int | None,
) -> HeadParts:
    """The kept edges by the heads on their way."""
    with progress_line() as report:
        report("opening the model", 0, 0)
        opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
        report("taking edges apart", 0, 0)
        return head_ways.head_parts(opened.model, opened.dictionary, pruned, floor=floor)


def _sign(text: str) -> Sign:
    """`--sign` as the library has it; words are understood, too."""
    signs: dict[str, Sign] = {"any": "any", "+": "+", "up": "+", "-": "-", "down": "-"}
    if text not in signs:
        raise UsageError(f'--sign "{text}" is none; give + (pushes up), - (pushes down) or any')
    return signs[text]


def _record(
    pruned: PrunedGraph,
    found: list[Route] | list[HeadPath],
    sources: list[int] | None,
    targets: list[int],
    parts: HeadParts | None,
) -> dict[str, Any]:
    """What `--json` prints."""
    graph = pruned.graph
    names, labels = graphs.node_names(graph), graph.nodes.label
    starts = graph.nodes.of_kind(graphs.NodeKind.EMBEDDING).tolist() if sources is None else sources
    mass = graphs.signed_mass(graph, sources=starts)
    record: dict[str, Any] = {
        "routes": [
            {
                "nodes": [names[row] for row in path.rows],
                "labels": [labels[row] for row in path.rows],
                "strength": path.strength,
                "sign": path.sign,
                "share": path.share,
                **_ways(path),
            }
            for path in found
        ],
        "all_routes": [
            {
                "target": names[row],
                "up": float(mass.up[row]),
                "down": float(mass.down[row]),
                "unsigned": float(mass.unsigned[row]),
            }
            for row in targets
        ],
    }
    return (
        record
        if parts is None
        else record | {"not_followed": head_paths.unfollowed_share(pruned, parts)}
    )


def _ways(path: Route | head_paths.HeadPath) -> dict[str, Any]:
    """The heads along each edge of a route, and its part of the whole path."""
    if not isinstance(path, head_paths.HeadPath):
        return {}
    heads = [[hop._asdict() | {"name": hop.name} for hop in way] for way in path.ways]
    return {"heads": heads, "path_share": path.path_share}
