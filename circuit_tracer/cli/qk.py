"""`qk`: why a head looks where it looks, in exact source x source terms."""

from __future__ import annotations

from typing import Annotated

from circuit_tracer import graphs
from circuit_tracer.attribution import qk as attribution
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich
from circuit_tracer.cli.reopened import reopened
from circuit_tracer.graphs import named_tokens
from circuit_tracer.render import attention


@explained
def qk(
    graph: options.GraphPath,
    head: Annotated[str, own("--head", help="The head as LAYER.HEAD: 3.2 or L3.H2.")],
    query: Annotated[
        str,
        own(
            "--query",
            help="Token that looks, or its position: @4, @-1 (4 is a token).",
        ),
    ],
    key: Annotated[str, own("--key", help="Token that is looked at, or its position.")],
    against: Annotated[
        list[str] | None,
        own(
            "--against",
            help="A competing key position; repeatable. Those with most attention by default.",
        ),
    ] = None,
    top: Annotated[int, own("--top", "-k", min=1, help="How many terms of each sign.")] = 5,
    model: options.GraphsModel = None,
    transcoders: options.GraphsTranscoders = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Why a head looks where it looks: its score in exact source x source terms."""
    pruned = graphs.open_graph(graph)
    layer, number = named_tokens.named_head(head, "--head")
    info = pruned.graph.info
    query_position = named_tokens.named_position(info, query, "--query")
    key_position = named_tokens.named_position(info, key, "--key")
    others = [named_tokens.named_position(info, text, "--against") for text in against or ()]
    with reopened(pruned, "taking the score apart") as opened:
        explanation = attribution.explain_score(
            opened.model,
            opened.dictionary,
            pruned,
            layer=layer,
            head=number,
            query=query_position,
            key=key_position,
            against=list(dict.fromkeys(others)) or None,
            n_terms=top,
        )
    if json:
        print_json(explanation.record())
        return
    print_rich(*attention.qk_parts(pruned.graph, explanation, top=top))
