"""`circuit-tracer trust GRAPH`: how far a traced graph can be believed, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from circuit_tracer import bundled as bundled_library
from circuit_tracer import graphs
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.invocation import refuse, refuse_with
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line, say
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.trust import measurements, results_file, run
from circuit_tracer.experiments.trust.report import terminal
from circuit_tracer.graphs.files import json_values, storage
from circuit_tracer.processes import is_first
from circuit_tracer.transcoders import dictionary
from circuit_tracer.transcoders import opening as transcoders_opening
from circuit_tracer.workbench import folders, formats, opening

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from circuit_tracer.experiments.trust.estimate import Estimate
    from circuit_tracer.experiments.trust.measurements import TrustSettings
    from circuit_tracer.experiments.trust.run import Trust
    from circuit_tracer.graphs import PrunedGraph
    from circuit_tracer.transcoders.dictionary import Dictionary
    from circuit_tracer.workbench.opening import Opened

LONG = 5.0
"""Seconds from which it is worth saying beforehand what a report takes, where it was not asked."""


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
        own("--quick", help="Sums, direct edges, scores and knock-on effects alone, as in trace."),
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
            settings = settings_for(features, random_sets, draws, seed, quick)
            opened, _ = opening.reopen(pruned, model, transcoders, device=device, threads=threads)
            second = None if quick else other_dictionary(opened, pruned, other)
            found = measure(opened, pruned, settings, second, report, least_said=0.0)
        if not is_first():
            return
        written = _write(found, pruned, folder, max_nodes=max_nodes, overwrite=overwrite)
    if json:
        print_json(found.to_json())
        return
    print_rich(terminal.page(found, width=columns()))
    if written:
        print(f"\n{folder}: {', '.join(written)}")


def _write(
    found: Trust, pruned: PrunedGraph, folder: Path, *, max_nodes: int, overwrite: bool
) -> list[str]:
    """The report and the figures with it, but for what would lose something; their names."""
    stored = results_file.stored_report(folder, pruned)
    if (
        not overwrite
        and stored is not None
        and results_file.rests_on_more(stored, json_values.plain(found.to_json()))
    ):
        report = folder / results_file.TRUST_FILE
        say(f"note: {report} rests on more and stays; --overwrite replaces it")
        return []
    figures = folders.figures_in(pruned, folder, max_nodes=max_nodes, all_of_them=overwrite)
    folders.write_report(found, folder)
    drawn = folders.draw_again(pruned, folder, figures, max_nodes=max_nodes)
    return [
        results_file.TRUST_FILE,
        *([] if found.settings.quick else [results_file.TRUST_FIGURE]),
        *drawn,
    ]


def settings_for(
    features: int, random_sets: int, draws: int, seed: int, quick: bool
) -> measurements.TrustSettings:
    """The settings, checked before anything is opened."""
    return measurements.TrustSettings(
        features=features, random_sets=random_sets, draws=draws, seed=seed, quick=quick
    )


def measure(
    opened: Opened,
    pruned: PrunedGraph,
    settings: TrustSettings,
    other: Dictionary | None,
    report: Callable[[str, int, int], None],
    *,
    least_said: float,
) -> Trust:
    """The report; time and memory are said before where they are more than `least_said` seconds."""

    def estimated(expected: Estimate) -> None:
        if expected.seconds >= least_said:
            say(f"trust: {expected}")

    return run.trust(
        opened.model,
        opened.dictionary,
        pruned,
        settings,
        other=other,
        on_stage=lambda words: report(words, 0, 0),
        on_estimate=estimated,
    )


def other_dictionary(
    opened: Opened, pruned: PrunedGraph, name: str
) -> dictionary.Dictionary | None:
    """A second dictionary of the model: the one named, or the bundled one; None for neurons.

    Raises DictionaryError for one that cannot be opened, UsageError for the graph's own.
    """
    info = pruned.graph.info
    if name == "none" or not isinstance(opened.dictionary, dictionary.Dictionary):
        return None
    if name == "auto":
        own_name = info.dictionary.name.rpartition("/")[2]
        bundled = info.model.source == "bundled"
        names = bundled_library.bundled_dictionaries(info.model.name) if bundled else []
        others = [one for one in names if one != own_name]
        if not others:
            return None
        name = others[0]
    found = transcoders_opening.open_transcoders(name, model=opened.model)
    if found.identity.sha256 == opened.dictionary.identity.sha256:
        raise UsageError(f"--other {name} is the graph's own dictionary; name another one, or none")
    return found
