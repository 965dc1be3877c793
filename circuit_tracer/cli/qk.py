"""`qk`: why a head looks where it looks, in exact source x source terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from circuit_tracer import graphs
from circuit_tracer.attribution import qk as attribution_qk
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.graphs import named_tokens, qk_terms
from circuit_tracer.render import attention
from circuit_tracer.workbench import opening

if TYPE_CHECKING:
    from circuit_tracer.graphs.qk_terms import Parts, QkAttribution, Term


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
    layer, number = _head(head)
    info = pruned.graph.info
    at = (
        named_tokens.named_position(info, query, "--query"),
        named_tokens.named_position(info, key, "--key"),
    )
    named = [named_tokens.named_position(info, text, "--against") for text in against or ()]
    others = list(dict.fromkeys(named))
    with progress_line() as report:
        report("opening the model", 0, 0)
        opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
        report("taking the score apart", 0, 0)
        found = attribution_qk.explain_score(
            opened.model,
            opened.dictionary,
            pruned,
            layer=layer,
            head=number,
            query=at[0],
            key=at[1],
            against=others or None,
            n_terms=top,
        )
    if json:
        print_json(_qk_record(found))
        return
    print_rich(*attention.qk_parts(pruned.graph, found, top=top))


def _head(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"[Ll]?(\d+)\.[Hh]?(\d+)", text.strip())
    if match is None:
        raise UsageError(f'--head "{text}" is no head; give LAYER.HEAD, such as 3.2')
    return int(match[1]), int(match[2])


def _qk_record(found: QkAttribution) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "layer": found.layer,
        "head": found.head,
        "query": found.query,
        "key": found.key,
        "attention": found.attention,
        "softcap": found.softcap,
        "window": found.window,
        "sees": list(found.sees),
        **_parts_record(found.parts),
        "keys": [key._asdict() for key in found.keys],
        "against": [{"key": one.key, **_parts_record(one.parts)} for one in found.against],
    }


def _parts_record(parts: Parts) -> dict[str, Any]:
    return {
        "score": parts.value,
        "feature_share": parts.feature_share,
        "residual": parts.residual,
        "by_kind": {
            query: dict(zip(qk_terms.KINDS, row, strict=True))
            for query, row in zip(qk_terms.KINDS, parts.by_kind.tolist(), strict=True)
        },
        "positive": [_term(term) for term in parts.positive],
        "negative": [_term(term) for term in parts.negative],
        "complete": parts.complete,
        "query_sources": [{"source": s.source.name, "value": s.value} for s in parts.query_sources],
        "key_sources": [{"source": s.source.name, "value": s.value} for s in parts.key_sources],
    }


def _term(term: Term) -> dict[str, Any]:
    return {"query": term.query.name, "key": term.key.name, "value": term.value}
