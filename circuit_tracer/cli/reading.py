"""`show`, `export` and `prune`: read a traced graph again, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from circuit_tracer.cli import invocation, options
from circuit_tracer.cli.app import explained
from circuit_tracer.cli.invocation import refuse, refuse_without
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust import results_file
from circuit_tracer.experiments.trust.report import terminal as trust
from circuit_tracer.graphs.files import records
from circuit_tracer.render import edge_labels, route_lines, summary, tables, tree
from circuit_tracer.workbench import folder_contents, folders, formats, pruning


@explained
def show(
    graph: options.GraphPath,
    nodes: Annotated[int, option("--nodes", min=0, help="How many nodes to list.")] = 15,
    edges: Annotated[int, option("--edges", min=0, help="How many edges to list.")] = 15,
    labels: options.Labels = None,
    json: options.Json = False,
) -> None:
    """Show a traced graph: scores, routes, a tree from the target down, nodes and edges."""
    pruned = folder_contents.open_labelled(graph, labels)
    if json:
        print_json(records.graph_record(pruned, nodes, edges))
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
            section=route_lines.why_not(pruned, 5, width=width, carried=carried),
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
            "--to",
            values=formats.EXPORTED,
            help=f"One of {', '.join(formats.EXPORTED)}; by default as --out ends, or json.",
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
    labels: options.Labels = None,
    pins: options.Pins = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Export the kept graph: exchange JSON, GraphML, GEXF, node-link JSON, CSV or Parquet."""
    form = formats.form_of(out, to, formats.EXPORTED, where="--to", default="json")
    if feature_examples and form != "json":
        raise UsageError(f"--feature-examples goes with --to json, not with {form}")
    refuse_without("--cards", needed="--feature-examples", there=feature_examples)
    exported = invocation.as_asked(folders.export_graph, graph, form, out)
    if json:
        print_json(exported)
        return
    print(exported.file)
    if exported.feature_examples is not None:
        print("{count} feature cards in {folder}".format(**exported.feature_examples))


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
    """Prune a traced graph again with other thresholds and rewrite its files."""
    formats.check_folder_name(out)
    folder = graph if graph.is_dir() else graph.parent
    refuse(
        "--max-nodes",
        idle=graph.exists() and not formats.draws_nodes(folders.formats_in(folder)),
        why=f"because {folder} holds no figure; leave it out",
    )
    repruned = invocation.as_asked(pruning.prune_folder, graph, out)
    if json:
        print_json(repruned.record())
        return
    print("\n".join([*repruned.changes(), str(repruned.folder)]))
