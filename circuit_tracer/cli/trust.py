"""`circuit-tracer trust GRAPH`: how far a traced graph can be believed, and why."""

from __future__ import annotations

from typing import Annotated

from circuit_tracer import graphs
from circuit_tracer.cli import invocation, options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.invocation import refuse, refuse_with
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust import results_file, spec
from circuit_tracer.experiments.trust.report import terminal
from circuit_tracer.graphs.files import storage
from circuit_tracer.processes import is_first
from circuit_tracer.workbench import folders, formats, opening, trust_reports


@explained
def trust(
    graph: options.GraphPath,
    features: Annotated[
        int, own("--features", help="Features ablated one by one, weak ones among them.")
    ] = 40,
    random_sets: Annotated[
        int, own("--random-sets", help="Matched random sets at every node threshold.")
    ] = 20,
    draws: Annotated[
        int, own("--draws", help="Perturbations of each layer for the response by distance.")
    ] = 4,
    seed: Annotated[int, own("--seed", help="Of everything that is drawn at random.")] = 0,
    quick: Annotated[
        bool,
        own("--quick", help="Sums, direct edges, scores and indirect effects alone, as in trace."),
    ] = False,
    other: Annotated[
        str,
        own(
            "--other",
            help="Dictionary to compare stories with: a name or folder; auto takes the bundled "
            "one, none leaves it out.",
        ),
    ] = "auto",
    max_nodes: options.MaxNodes = 60,
    overwrite: Annotated[
        bool,
        option(
            "--overwrite",
            help="Replace a report that rests on more, and figures that were drawn otherwise.",
        ),
    ] = False,
    model: options.GraphsModel = None,
    transcoders: options.GraphsTranscoders = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Test a graph by intervening, and say in words how far to believe it; writes trust.json.

    A figure in the folder (graph.svg, .pdf, .png) is drawn again with the report's panel. A report
    that rests on more than this one stays.
    """
    if graph.is_file() and graph.name != storage.TRACE_FILE:
        raise UsageError(
            f"{graph.name} holds the kept graph alone, and trust needs all of it; give a folder "
            "that `circuit-tracer trace` wrote"
        )
    folder = graph if graph.is_dir() else graph.parent
    refuse_with("--random-sets", "--draws", "--other", other="--quick", there=quick)
    refuse(
        "--max-nodes",
        idle=not formats.draws_nodes(folders.formats_in(folder)),
        why=f"because {folder} holds no figure; leave it out",
    )
    with progress_line() as report:
        with if_interrupted(f"{folder} is as it was; --quick takes less"):
            report("opening the model", 0, 0)
            pruned = graphs.open_graph(graph)
            refuse(
                "--other",
                idle=pruned.graph.info.dictionary.kind == "neurons",
                why="on a graph of neurons; leave it out",
            )
            settings = invocation.as_asked(spec.TrustSettings)
            opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
            second = None if quick else trust_reports.other_dictionary(opened, pruned, other)
            found = trust_reports.measure(opened, pruned, settings, second, report)
        if not is_first():
            return
        written = trust_reports.write_trust(
            found, pruned, folder, max_nodes=max_nodes, overwrite=overwrite
        )
    if json:
        print_json(results_file.as_stored(found))
        return
    print_rich(terminal.page(found, width=columns()))
    if written:
        print(f"\n{folder}: {', '.join(written)}")
