"""`circuit-tracer trace PROMPT`: from a prompt to a pruned graph, a figure and files."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer.cli import invocation, options, reports, trace_options
from circuit_tracer.cli.app import explained, if_interrupted
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import PromptError
from circuit_tracer.experiments.trust.report import terminal as trust_terminal
from circuit_tracer.graphs.files import records
from circuit_tracer.processes import processes
from circuit_tracer.render import edge_labels, route_lines, summary
from circuit_tracer.workbench import directions, folders, formats, listings, opening, slugs, tracing

if TYPE_CHECKING:
    from circuit_tracer.attribution.totals_tracing import TracedTotals

OF_A_GRAPH = (
    *("--out", "--slug", "--overwrite", "--max-feature-nodes", "--coverage", "--node-threshold"),
    *("--edge-threshold", "--edge-floor", "--format", "--max-nodes", "--heads", "--routes"),
    "--trust",
)
"""Options that have no effect with `--total`, which makes no graph."""


@explained
def trace(
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="The prompt, or - to read it from stdin.")
    ],
    model: options.Model = "sprout",
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    labels: options.Labels = None,
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
    target_feature: trace_options.TargetFeature = None,
    target_direction: trace_options.TargetDirection = None,
    target_prompts: trace_options.TargetPrompts = None,
    target_layer: trace_options.TargetLayer = None,
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
    total_only: Annotated[
        bool,
        own(
            "--total", help="Only what each token does to the targets, all paths summed: no graph."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Trace a prompt: exact attribution edges, pruned, scored, drawn and written to a folder."""
    started = time.perf_counter()
    refuse_with(*OF_A_GRAPH, other="--total, which makes no graph", there=total_only)
    text = _prompt(prompt)
    wanted, folder = _formats(format), _folder(out, slug, text)
    refuse_with("--routes", other="--json", there=json)
    trace_options.refuse_idle(target, contrast, why_not)
    output = invocation.as_asked(tracing.FolderSettings, formats=wanted)
    wanted_direction = target_feature, target_direction, target_prompts, target_layer
    directions.check_directions(*wanted_direction)
    if not total_only:
        output.check(folder, text, explains_logits=wanted_direction[:3] == (None, None, None))
    computed_in, cotangents = opening.parse_dtype(dtype)
    is_lowered = total_only and cotangents is not None
    refuse_with("--dtype", other="--total, which computes as the model does", there=is_lowered)
    settings = trace_options.trace_settings(cotangents)
    nothing = "nothing was written, and the same command starts from the beginning"
    with if_interrupted(nothing), progress_line() as report:
        opened = reports.opened(report, dtype=computed_in)
        direction = directions.direction_target(opened, *wanted_direction)
        load = time.perf_counter() - started
        if total_only:
            tell = tracing.telling(report)
            totals = tracing.totals_only(opened, text, settings, direction, tell)
        else:
            done = tracing.trace_into(
                folder, opened, text, settings, output, direction=direction, on_progress=report
            )
    if total_only:
        _print_totals(totals, json=json)
        return
    if done is None:
        return  # the first process prints and writes, the others only computed
    total = time.perf_counter() - started
    done = replace(done, seconds={"load": load, **done.seconds, "total": total})
    if json:
        print_json(done.record())
    else:
        _print(done, routes)


def _formats(asked: list[str] | None) -> list[str] | None:
    """What to write, all of it possible here; None where nobody says."""
    wanted = formats.check_formats(asked or folders.DEFAULT_FORMATS, list(formats.FILE_NAMES))
    formats.check_drawing(wanted)
    draws = formats.draws_nodes(wanted)
    refuse_without("--max-nodes", needed="a --format that draws", there=draws)
    return wanted if asked else None


def _folder(out: Path, slug: str | None, text: str) -> Path:
    """The prompt's own."""
    formats.check_folder_name(out)
    named = slugs.folder_for(out, slugs.slug_of(text), text)
    return named if slug is None else out / slugs.check_slug(slug)


def _prompt(argument: str) -> str:
    if argument == "-" and processes().count > 1:
        raise PromptError(
            "several processes cannot share one stdin; give the prompt as an argument"
        )
    text = sys.stdin.read().removesuffix("\n") if argument == "-" else argument
    if not text.strip():
        raise PromptError("the prompt is empty; give some text to trace")
    return text


def _print(done: tracing.TracedFolder, n_routes: int) -> None:
    pruned, seconds = done.pruned, done.seconds
    paths = route_lines.leading_routes(pruned, n_routes) if n_routes > 0 else None
    carried = edge_labels.carried_by(done.heads)
    width, section, tested = columns(), None, []
    if n_routes > 0:
        section = route_lines.why_not(pruned, n_routes, width=width, carried=carried)
    if done.trust is not None:
        brief = done.trust.settings.quick
        tested = [trust_terminal.verdict(done.trust.verdict, width=width, brief=brief)]
    shown = summary.summary(pruned, paths, width=width, section=section, carried=carried)
    print_rich(shown, *tested)
    work = sum(seconds.get(stage, 0) for stage in tracing.TRACING)
    print(f"\n{done.folder}: {', '.join(Path(file).name for file in done.files.values())}")
    print(f"{seconds['total']:.1f} s in all, {work:.2f} s of it tracing")


def _print_totals(traced: TracedTotals, *, json: bool) -> None:
    """The table of each target on stdout, or all of them as JSON."""
    info = traced.info
    if json:
        record = {
            "prompt": info.prompt,
            "tokens": info.tokens,
            "totals": records.totals_table(info),
            "conservation": {
                "max_relative_residual": info.conservation_residual,
                "tolerance": info.conservation_tolerance,
            },
            "seconds": {stage: round(value, 4) for stage, value in traced.seconds.items()},
        }
        print_json(record)
        return
    print_rich(*listings.totals_page(info))
    work = sum(traced.seconds.values())
    print(
        f"\n{work:.2f} s of tracing; tokens, errors and constants miss the values by a share of "
        f"{info.conservation_residual:.0e} at most"
    )
