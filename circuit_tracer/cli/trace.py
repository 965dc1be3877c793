"""`circuit-tracer trace PROMPT`: from a prompt to a pruned graph, a figure and files."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tracer import attribution, graphs
from circuit_tracer.attribution import head_loadings
from circuit_tracer.cli import options, trace_options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import option
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line, say
from circuit_tracer.errors import PromptError, UsageError
from circuit_tracer.experiments.trust import measurements
from circuit_tracer.experiments.trust.report import terminal as trust_terminal
from circuit_tracer.graphs import pruning
from circuit_tracer.processes import is_first, processes
from circuit_tracer.render import edge_labels, route_lines, summary
from circuit_tracer.render import signed_routes as signed
from circuit_tracer.workbench import folders, opening, slugs, token_notes
from circuit_tracer.workbench import formats as workbench_formats

_WORK = ("forward", "encode", "sweep", "prune", "heads")
"""Stages that are tracing; the others open and write files."""
SMALL_GRAPH = 3000
"""Nodes up to which the graph of a bundled model is tested without being asked."""
LONG_SWEEP = 5.0
"""Seconds from which it is worth saying beforehand what a sweep will take."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from circuit_tracer.attribution import Progress, Trace, TraceSettings
    from circuit_tracer.experiments.trust.run import Trust
    from circuit_tracer.graphs import PrunedGraph
    from circuit_tracer.graphs.head_loadings import HeadLoadings


@explained
def trace(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="The prompt, or - to read it from stdin.")
    ],
    model: options.Model = "sprout",
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    out: Annotated[Path, option("--out", "-o", help="Where the prompt's own folder goes.")] = Path(
        "outputs"
    ),
    slug: Annotated[
        str | None, option("--slug", help="Name of that folder; made of the prompt by default.")
    ] = None,
    overwrite: options.Overwrite = False,
    chat: trace_options.Chat = False,
    system: trace_options.System = None,
    target: trace_options.Target = None,
    contrast: trace_options.Contrast = None,
    why_not: trace_options.WhyNot = None,
    position: trace_options.Position = -1,
    max_n_logits: trace_options.MaxNLogits = 10,
    desired_logit_prob: trace_options.DesiredLogitProb = 0.95,
    max_feature_nodes: trace_options.MaxFeatureNodes = None,
    coverage: trace_options.Coverage = None,
    node_threshold: options.NodeThreshold = 0.8,
    edge_threshold: options.EdgeThreshold = 0.98,
    edge_floor: trace_options.EdgeFloor = None,
    zero_positions: trace_options.ZeroPositions = None,
    batch_size: trace_options.BatchSize = 64,
    dtype: options.Dtype = "float32",
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    threads: options.Threads = None,
    format: options.Formats = None,
    max_nodes: options.MaxNodes = 60,
    heads: Annotated[
        bool, option("--heads", help="Store through which attention heads every kept edge passes.")
    ] = False,
    routes: Annotated[
        int, option("--routes", "-k", min=0, help="How many routes to print per target.")
    ] = 5,
    trust: Annotated[
        bool | None,
        option(
            "--trust/--no-trust",
            help="Test the graph by intervening, in full; by default briefly with bundled models.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Trace a prompt: exact attribution edges, pruned, scored, drawn and written to a folder."""
    given, started = dict(locals()), time.perf_counter()
    text = _prompt(prompt)
    formats = workbench_formats.check_formats(
        format if format is not None else folders.DEFAULT_FORMATS,
        list(workbench_formats.FILE_NAMES),
    )
    workbench_formats.check_folder_name(out)
    folder = (
        slugs.folder_for(out, slugs.slug_of(text), text)
        if slug is None
        else out / slugs.check_slug(slug)
    )
    folders.check_place(folder, overwrite, text)
    workbench_formats.check_drawing(formats)
    refuse_without(
        "--max-nodes", needed="a --format that draws", there=workbench_formats.draws_nodes(formats)
    )
    refuse_with("--routes", other="--json", there=json)
    trace_options.refuse_idle(target, contrast, why_not)
    if heads and processes().count > 1:
        raise UsageError(
            "--heads does not work under torchrun; trace without it, then run circuit-tracer "
            "heads GRAPH --save in one process"
        )
    if trust and processes().count > 1:
        raise UsageError(
            "--trust does not work under torchrun; trace without it, then run circuit-tracer trust "
            "GRAPH in one process"
        )

    pruning.check_thresholds(node_threshold, edge_threshold)
    computed_in, cotangents = opening.parse_dtype(dtype)
    settings = trace_options.trace_settings(given, cotangents)
    nothing = "nothing was written, and the same command starts from the beginning"
    with if_interrupted(nothing), progress_line() as report:
        report(f"opening {model}", 0, 0)
        clock = time.perf_counter()
        opened = opening.open_pair(
            model,
            transcoders,
            transcoders_format=transcoders_format,
            dtype=computed_in,
            device=device,
            device_map=device_map,
            threads=threads,
        )
        neurons = "a model's own neurons"
        refuse_with("--transcoders-format", other=neurons, there=opened.relabel)
        load_seconds = time.perf_counter() - clock
        token_notes.say_forms(opened.model, token_notes.given_tokens(settings))
        traced = _traced(opened, text, settings, report)
        if not is_first():
            return  # the first process prints and writes, the others only computed
        report("pruning", 0, 0)
        clock = time.perf_counter()
        pruned = graphs.prune(
            traced.graph, node_threshold=node_threshold, edge_threshold=edge_threshold
        )
        if opened.relabel is not None:
            pruned = opened.relabel(pruned)
        seconds = {"load": load_seconds, **traced.seconds, "prune": time.perf_counter() - clock}
        loadings = _loadings(opened, pruned, seconds, report) if heads else None
        found = _trust(opened, pruned, seconds, report, asked=trust)
        report("writing", 0, 0)
        clock = time.perf_counter()
        files = folders.write_trace(
            pruned,
            folder,
            formats,
            slug=folder.name,
            max_nodes=max_nodes,
            overwrite=overwrite,
            heads=loadings,
            trust=found,
        )
    seconds["write"] = time.perf_counter() - clock
    seconds["total"] = time.perf_counter() - started
    if json:
        print_json(_record(traced, pruned, seconds, files, found))
    else:
        _print(pruned, routes, seconds, folder, files, found, loadings)


def _prompt(argument: str) -> str:
    if argument == "-" and processes().count > 1:
        raise PromptError(
            "several processes cannot share one stdin; give the prompt as an argument"
        )
    text = sys.stdin.read().removesuffix("\n") if argument == "-" else argument
    if not text.strip():
        raise PromptError("the prompt is empty; give some text to trace")
    return text


def _traced(
    opened: opening.Opened,
    text: str,
    settings: TraceSettings,
    report: Callable[[str, int, int], None],
) -> Trace:
    def progress(now: Progress) -> None:
        if now.note and now.seconds > LONG_SWEEP:
            say(now.note)  # stays to be read, also where there is no terminal
        report(now.stage, now.done, now.total)

    return attribution.trace(
        opened.model,
        opened.dictionary,
        text,
        settings,
        labels=opened.labels,
        on_progress=progress,
    )


def _loadings(
    opened: opening.Opened,
    pruned: PrunedGraph,
    seconds: dict[str, float],
    report: Callable[[str, int, int], None],
) -> HeadLoadings:
    """Every kept edge by head; fills in `seconds`."""
    report("taking edges apart by head", 0, 0)
    clock = time.perf_counter()
    loadings = head_loadings.head_loadings(opened.model, opened.dictionary, pruned)
    seconds["heads"] = time.perf_counter() - clock
    return loadings


def _trust(
    opened: opening.Opened,
    pruned: PrunedGraph,
    seconds: dict[str, float],
    report: Callable[[str, int, int], None],
    *,
    asked: bool | None,
) -> Trust | None:
    """The trust report: in full where it was asked for, a brief one of bundled models, or none."""
    if asked is False or (asked is None and not _is_brief(pruned)):
        return None
    from circuit_tracer.cli.trust import LONG, measure, other_dictionary

    settings = measurements.TrustSettings(quick=not asked)
    clock = time.perf_counter()
    other = other_dictionary(opened, pruned, "auto") if asked else None
    found = measure(opened, pruned, settings, other, report, least_said=LONG)
    seconds["trust"] = time.perf_counter() - clock
    return found


def _is_brief(pruned: PrunedGraph) -> bool:
    """Whether a brief report takes a second or so: a bundled model, a prompt of some words."""
    info = pruned.graph.info
    small = len(pruned.graph.nodes) <= SMALL_GRAPH
    return small and info.model.source == "bundled" and processes().count == 1


def _record(
    traced: Trace,
    pruned: PrunedGraph,
    seconds: dict[str, float],
    files: dict[str, str],
    found: Trust | None,
) -> dict[str, Any]:
    """What `--json` prints."""
    info = pruned.graph.info
    return {
        "prompt": info.prompt,
        "tokens": list(info.tokens),
        "targets": [
            {
                "token": target.token,
                "position": target.position,
                "probability": target.probability,
                "logit": target.logit,
            }
            for target in info.targets
        ],
        "scores": asdict(pruned.scores),
        "conservation": {
            "max_relative_residual": info.conservation_residual,
            "tolerance": info.conservation_tolerance,
        },
        "counts": {
            "active_features": traced.n_active,
            "expanded_features": traced.n_expanded,
            "nodes": len(pruned.graph.nodes),
            "edges": len(pruned.graph.edges),
            "kept_nodes": int(pruned.node_kept.sum()),
            "kept_edges": int(pruned.edge_kept.sum()),
        },
        "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
        "settings": {
            **info.settings,
            "model": info.model.as_plain(),
            "dictionary": info.dictionary.as_plain(),
            "dtype": info.dtype,
            "node_threshold": pruned.node_threshold,
            "edge_threshold": pruned.edge_threshold,
            "versions": dict(info.versions),
        },
        "trust": None if found is None else asdict(found.verdict),
        "files": files,
    }


def _print(
    pruned: PrunedGraph,
    n_routes: int,
    seconds: dict[str, float],
    folder: Path,
    files: dict[str, str],
    found: Trust | None,
    loadings: HeadLoadings | None,
) -> None:
    paths = route_lines.leading_routes(pruned, n_routes) if n_routes > 0 else None
    carried = edge_labels.carried_by(loadings)
    width, section, tested = columns(), None, []
    if n_routes > 0:
        section = signed.why_not(pruned, n_routes, width=width, carried=carried)
    if found is not None:
        tested = [trust_terminal.verdict(found.verdict, width=width, brief=found.settings.quick)]
    shown = summary.summary(pruned, paths, width=width, section=section, carried=carried)
    print_rich(shown, *tested)
    work = sum(seconds.get(stage, 0) for stage in _WORK)
    print(f"\n{folder}: {', '.join(Path(file).name for file in files.values())}")
    print(f"{seconds['total']:.1f} s in all, {work:.2f} s of it tracing")
