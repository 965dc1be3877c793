"""`circuit-tracer batch FILE`: trace all prompts of a file into one store."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.batch import prompt_file, ray_cluster, shards
from circuit_tracer.cli import completion, invocation, options, trace_options
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import print_json, progress_line
from circuit_tracer.errors import UsageError, one_of
from circuit_tracer.graphs import pruning
from circuit_tracer.workbench import batch_job, formats, opening, shipped, slugs

if TYPE_CHECKING:
    from circuit_tracer.batch.prompt_file import PromptFile
    from circuit_tracer.batch.shards import Outcome, Shard, Work

SOME_FAILED = 3
"""Exit code when some prompts of a batch failed."""
ENGINES = ("local", "ray")
STORED = ("kept", "whole")
OF_THE_RUN = (
    *("model", "transcoders", "transcoders_format", "dtype", "store", "routes", "heads"),
    *("node_threshold", "edge_threshold", *trace_options.TRACED),
)
"""Options that a run is made by; the others say where and how."""


@explained
def batch(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            autocompletion=completion.offered(partial(bundled.shipped_prompts, ".jsonl")),
            help="A .txt, .jsonl, .csv or .parquet file, - (stdin), or one that ships: facts, ...",
        ),
    ],
    model: options.Model = "sprout",
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    labels: options.Labels = None,
    out: options.RunsOut = Path("outputs"),
    name: Annotated[
        str | None, own("--name", help="Name of that folder; by default that of the file.")
    ] = None,
    file_format: Annotated[
        str | None, own("--file-format", help="txt, jsonl, csv or parquet, if the name lies.")
    ] = None,
    limit: Annotated[
        int | None, own("--limit", min=1, help="Only the first so many lines of the file.")
    ] = None,
    retry_failed: options.RetryFailed = False,
    overwrite: options.Overwrite = False,
    shard: options.Shard = None,
    save_every: options.SaveEvery = 256,
    engine: Annotated[
        str, own("--engine", help="local, or ray: spread over a running Ray cluster.")
    ] = "local",
    ray_workers: Annotated[
        int | None, own("--ray-workers", min=1, help="With ray; by default one a GPU or core.")
    ] = None,
    store: Annotated[
        str, own("--store", help="kept: what pruning keeps of a graph; whole: all of it.")
    ] = "kept",
    routes: Annotated[
        int, own("--routes", "-k", min=0, help="How many routes to store per target.")
    ] = 5,
    heads: Annotated[
        bool, own("--heads", help="Store which attention heads carry each graph's influence.")
    ] = False,
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
    batch_size: trace_options.BatchSize = 256,
    dtype: options.Dtype = "float32",
    device: options.Device = "auto",
    device_map: options.DeviceMap = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Trace every prompt of a file into one store; the same command goes on where it stopped."""
    formats.check_folder_name(out)
    refuse_without("--ray-workers", needed="--engine ray", there=engine == "ray")
    refuse_with("--retry-failed", other="--overwrite", there=overwrite)
    trace_options.refuse_idle(target, contrast, why_not)
    one_of("--engine", engine, ENGINES)
    one_of("--store", store, STORED)
    pruning.check_thresholds(node_threshold, edge_threshold)
    path = Path("stdin") if file == "-" else shipped.find_given(file, ".jsonl", "a prompt file")
    prompts = _prompts(path, file_format, stdin=file == "-")
    named = batch_job.run_folder(out, path)
    folder = named if name is None else out / slugs.check_slug(name, where="`name`")
    ours = _shard(shard, engine)
    batch_job.check_place(folder, overwrite, ours)
    computed_in, cotangents = opening.parse_dtype(dtype)
    job = batch_job.Job(
        opening={
            "model_name": model,
            "transcoders": transcoders,
            "transcoders_format": transcoders_format,
            "labels": labels,
            "dtype": computed_in,
            "device": batch_job.own_device(device),
            "device_map": device_map,
            "threads": threads,
            "together": False,
        },
        folder=folder.absolute(),
        prompts=prompts,
        settings=trace_options.trace_settings(cotangents),
        run={
            "dtype": computed_in,
            "node_threshold": node_threshold,
            "edge_threshold": edge_threshold,
            "graphs": store,
            "routes": routes,
            "heads": heads,
            "prompt_file": path.name,
        },
        options={
            **{name.replace("_", "-"): invocation.values()[name] for name in OF_THE_RUN},
            "labels": None if labels is None else str(labels),
        },
    )
    batch_job.note_bad_lines(prompts)
    work = shards.Work(shard=ours, limit=limit, retry_failed=retry_failed, part_prompts=save_every)
    with if_interrupted(goes_on(folder, overwrite)):
        outcome = _done(job, work, engine, ray_workers, overwrite)
    if json:
        print_json({"run": str(folder), **outcome._asdict(), "shard": str(ours)})
    else:
        _print(folder, outcome, ours)
    if outcome.failed:
        raise typer.Exit(SOME_FAILED)


def _done(
    job: batch_job.Job, work: Work, engine: str, workers: int | None, overwrite: bool
) -> Outcome:
    with progress_line() as report:
        if engine == "ray":
            return ray_cluster.run_on_ray(
                job.open, work, workers=workers, overwrite=overwrite, on_progress=report
            )
        report(f"opening {job.opening['model_name']}", 0, 0)
        with job.open(overwrite=overwrite) as opened:
            return opened.go(work, on_progress=report, on_failure=batch_job.Failures().note)


def _prompts(path: Path, format: str | None, *, stdin: bool) -> PromptFile:
    known = None if format is None else one_of("--file-format", format, prompt_file.FORMATS)
    if stdin:
        return prompt_file.parse_prompts(sys.stdin.buffer.read(), known)
    return prompt_file.read_prompts(path, format=known)


def _shard(text: str | None, engine: str) -> Shard:
    if engine == "ray":
        if text is not None:
            raise UsageError("--shard and --engine ray exclude each other: Ray shares the work out")
        return shards.WHOLE
    return shards.shard_here() if text is None else shards.parse_shard(text)


def _print(folder: Path, outcome: Outcome, shard: Shard) -> None:
    share = "" if shard.of == 1 else f" of shard {shard}"
    print(f"{outcome.done:,} of {outcome.total:,} prompts{share} have a graph in {folder}")
    if outcome.failed:
        print(f"{outcome.failed:,} failed; circuit-tracer runs show {folder} says why")
    if outcome.traced:
        rate = outcome.traced / max(outcome.seconds, 1e-9)
        print(f"{outcome.traced:,} traced now in {outcome.seconds:.1f} s, {rate:.1f} a second")
