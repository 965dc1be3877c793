"""`show`, `render`, `export` and `prune`: read a traced graph again, without torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from circuit_tracer import graphs
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_without
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, say
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.experiments.trust import results_file
from circuit_tracer.experiments.trust.report import terminal as trust
from circuit_tracer.graphs import head_loadings
from circuit_tracer.render import edge_labels, route_lines, summary, tables, tree
from circuit_tracer.render import signed_routes as signed
from circuit_tracer.workbench import folder_contents, folders, formats, slugs

if TYPE_CHECKING:
    from circuit_tracer.graphs import PrunedGraph


@explained
def show(
    graph: options.GraphPath,
    nodes: Annotated[int, option("--nodes", min=0, help="How many nodes to list.")] = 15,
    edges: Annotated[int, option("--edges", min=0, help="How many edges to list.")] = 15,
    json: options.Json = False,
) -> None:
    """Show a traced graph: scores, routes, a tree from the target down, nodes and edges."""
    pruned = graphs.open_graph(graph)
    if json:
        info = pruned.graph.info
        print_json(
            {
                "prompt": info.prompt,
                "tokens": list(info.tokens),
                "targets": [asdict(target) for target in info.targets],
                "scores": asdict(pruned.scores),
                "counts": graphs.counts(pruned),
                "nodes": graphs.node_table(pruned, nodes),
                "edges": graphs.edge_table(pruned, edges),
            }
        )
        return
    width, routes = columns(), route_lines.leading_routes(pruned, 5)
    carried = edge_labels.carried_by(folder_contents.stored_heads(pruned, graph))
    verdict = results_file.read_verdict(graph if graph.is_dir() else graph.parent, pruned)
    print_rich(
        *([] if verdict is None else [trust.stored_verdict(verdict)]),
        summary.summary(
            pruned,
            routes,
            width=width,
            section=signed.why_not(pruned, 5, width=width, carried=carried),
            carried=carried,
        ),
        tree.tree(pruned, width=width),
        tables.node_table(pruned, limit=nodes),
        tables.edge_table(pruned, limit=edges),
    )


@explained
def export(
    graph: options.GraphPath,
    to: Annotated[
        str | None,
        own(
            "--to", help=f"One of {', '.join(formats.EXPORTED)}; by default as --out ends, or json."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        own("--out", "-o", help="The file to write (a folder for csv, parquet)."),
    ] = None,
    feature_examples: Annotated[
        bool,
        own(
            "--feature-examples",
            help="With json: also features/SCAN/INDEX.json beside it.",
        ),
    ] = False,
    cards: Annotated[
        Path | None,
        own("--cards", help="Dictionary folder whose feature cards to use."),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Export the kept graph: exchange JSON, GraphML, GEXF, node-link JSON, CSV or Parquet."""
    form = formats.form_of(out, to, formats.EXPORTED, where="--to", default="json")
    if feature_examples and form != "json":
        raise UsageError(f"--feature-examples goes with --to json, not with {form}")
    refuse_without("--cards", needed="--feature-examples", there=feature_examples)
    pruned = graphs.open_graph(graph)
    folder = graph if graph.is_dir() else graph.parent
    final = out or folder / formats.FILE_NAMES[form]
    examples = None
    if feature_examples:  # what is wrong with them is said before anything is written
        book = folder_contents.open_cards(pruned, cards)
        examples = folders.example_texts(pruned, final.parent, book, overwrite=overwrite)
    slug = graph.stem if graph.is_file() else graph.resolve().name
    folders.write_form(
        pruned, form, final, slug=slug, max_nodes=60, overwrite=overwrite, beside=folder
    )
    folders.write_texts(examples or {})
    place = final.parent / "features" / folders.scan_of(pruned)
    if json:
        at = None if examples is None else {"folder": str(place), "count": len(examples)}
        print_json({"file": str(final), "format": form, "feature_examples": at})
        return
    print(final)
    if examples is not None:
        print(f"{len(examples)} feature cards in {place}")


@explained
def prune(
    graph: options.GraphPath,
    node_threshold: options.NodeThreshold = 0.8,
    edge_threshold: options.EdgeThreshold = 0.98,
    out: Annotated[
        Path | None,
        own("--out", "-o", help="A new folder; by default GRAPH is rewritten."),
    ] = None,
    max_nodes: options.MaxNodes = 60,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Prune a traced graph again with other thresholds and write its files anew."""
    formats.check_folder_name(out)
    before = graphs.load_graph(graph)
    folder = graph if graph.is_dir() else graph.parent
    refuse(
        "--max-nodes",
        idle=not formats.draws_nodes(folders.formats_in(folder)),
        why=f"because {folder} holds no figure; leave it out",
    )
    after = graphs.prune(before.graph, node_threshold=node_threshold, edge_threshold=edge_threshold)
    final = out or folder
    loadings = head_loadings.load_heads(before, folder)
    heads = None if loadings is None else head_loadings.loadings_after(loadings, before, after)
    same = out is None and results_file.fingerprint(after) == results_file.fingerprint(before)
    if not (same or out is not None or overwrite):
        _check_loss(before, folder, heads_lost=loadings is not None and heads is None)
    if loadings is not None and heads is None:
        say(
            "note: edges are kept of whose heads nothing was stored; `circuit-tracer heads "
            f"{final} --save` takes them apart"
        )
    if out is None and not same and (folder / results_file.TRUST_FILE).is_file():
        say("note: the trust report is of other thresholds; `circuit-tracer trust` makes a new one")
    files = folders.write_trace(
        after,
        final,
        folders.formats_in(folder),
        slug=final.resolve().name or slugs.slug_of(after.graph.info.prompt),
        max_nodes=max_nodes,
        overwrite=overwrite or out is None,
        heads=heads,
        beside=folder,
        keeps_report=same,
    )
    now, then = graphs.counts(after), graphs.counts(before)
    if json:
        print_json({"counts": now, "before": then, "files": files})
        return
    _print_change(then, now, before, after)
    print(final)


def _check_loss(before: PrunedGraph, folder: Path, *, heads_lost: bool) -> None:
    """Refuse to drop without being asked what takes a model to make again; raises OutputError."""
    verdict = results_file.read_verdict(folder, before)
    lost = ["the full trust report"] if verdict is not None and not verdict.is_brief else []
    lost += ["the head loadings"] if heads_lost else []
    if lost:
        raise OutputError(
            f"{' and '.join(lost)} in {folder} would not fit the new thresholds and be lost; write "
            "a new folder with --out, or add --overwrite"
        )


def _print_change(
    then: dict[str, Any], now: dict[str, Any], before: PrunedGraph, after: PrunedGraph
) -> None:
    print(
        f"nodes {then['nodes_kept']} -> {now['nodes_kept']} of {now['nodes']} "
        f"(node threshold {before.node_threshold:g} -> {after.node_threshold:g})"
    )
    print(
        f"edges {then['edges_kept']} -> {now['edges_kept']} of {now['edges']} "
        f"(edge threshold {before.edge_threshold:g} -> {after.edge_threshold:g})"
    )
