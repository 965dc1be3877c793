"""`paths`: the k best signed routes of a traced graph, through features, and heads with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from circuit_tracer import graphs
from circuit_tracer.attribution import head_ways
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import columns, print_json, print_rich
from circuit_tracer.cli.reopened import reopened
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs.files import records
from circuit_tracer.graphs.routes import head_paths, k_best
from circuit_tracer.render import attention, edge_labels, route_lines
from circuit_tracer.workbench import folder_contents, named_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuit_tracer.graphs.routes.k_best import Sign
    from circuit_tracer.graphs.routes.paths import Path

SIGNS: dict[str, Sign] = {"any": "any", "+": "+", "up": "+", "-": "-", "down": "-"}
"""What `--sign` takes."""


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
    if sign not in SIGNS:
        raise UsageError(f'--sign "{sign}" is none; give + (pushes up), - (pushes down) or any')
    starts = None if source is None else named_nodes.source_rows(pruned.graph, source, "--from")
    ends = None if target is None else named_nodes.target_rows(pruned.graph, target, "--to")
    asked, parts, carried = SIGNS[sign], None, None
    routes: Sequence[Path]
    if heads:
        k_best.check_count(k)
        with reopened(pruned, "taking edges apart") as opened:
            parts = head_ways.head_parts(opened.model, opened.dictionary, pruned, floor=floor)
        routes = head_paths.best_head_paths(
            pruned, parts, sources=starts, targets=ends, k=k, sign=asked
        )
    else:
        routes = graphs.best_paths(pruned, sources=starts, targets=ends, k=k, sign=asked)
        carried = edge_labels.carried_by(folder_contents.stored_heads(pruned, graph))
    ends = pruned.graph.target_rows.tolist() if ends is None else ends
    if json:
        record = {
            "routes": records.route_table(pruned, routes),
            "all_routes": records.mass_table(pruned, ends, starts),
        }
        left = {} if parts is None else {"not_followed": head_paths.unfollowed_share(pruned, parts)}
        print_json(record | left)
        return
    origin = source or "tokens"
    shown = route_lines.routes(
        pruned, routes, width=columns(), origin=origin, sign=asked, carried=carried
    )
    notes = [] if parts is None else [attention.ways_explained(pruned, parts)]
    print_rich(shown, *notes, route_lines.totals(pruned.graph, ends, starts))
