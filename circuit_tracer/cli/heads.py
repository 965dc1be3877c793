"""`heads`: through which attention heads a graph's influence flows, and the parts of its edges."""

from __future__ import annotations

from typing import Annotated

from circuit_tracer import graphs
from circuit_tracer.attribution import head_loadings as attribution
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_report
from circuit_tracer.cli.reopened import reopened
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import head_loadings
from circuit_tracer.workbench import folder_contents, listings, named_nodes


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
    wanted = named_nodes.edges_asked(pruned, edge, route)
    loadings = None if save else folder_contents.stored_heads(pruned, graph)
    if loadings is None or not (wanted is None or head_loadings.are_strongest(pruned, wanted)):
        with reopened(pruned, "taking edges apart") as opened:
            loadings = attribution.head_loadings(opened.model, opened.dictionary, pruned, wanted)
    else:
        refuse(
            *("--model", "--transcoders", "--device", "--threads"),
            idle=True,
            why=f"because the loadings are stored with {graph}; leave it out",
        )
    if save:
        head_loadings.save_heads(loadings, graph)
    print_report(listings.heads_listed(pruned, loadings, top, wanted), json=json)
    if save and not json:
        print(f"\n{graph / head_loadings.HEADS_FILE}")
