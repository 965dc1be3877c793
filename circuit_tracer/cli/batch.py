"""`circuit-tracer batch FILE`: trace all prompts of a file into one store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer.batch import manifest, prompt_file, rays, run, run_file, schemas, shards
from circuit_tracer.batch import store as batch_store
from circuit_tracer.batch import work as batch_work
from circuit_tracer.cli import options, trace_options
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.invocation import refuse_with, refuse_without
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import print_json, progress_line, say
from circuit_tracer.errors import CircuitTracerError, OutputError, UsageError, one_of
from circuit_tracer.graphs import pruning
from circuit_tracer.workbench import batch_job, formats, opening, shipped, slugs

if TYPE_CHECKING:
    from circuit_tracer.batch.prompt_file import PromptFile
    from circuit_tracer.batch.shards import Shard
    from circuit_tracer.batch.tracing import Failed
    from circuit_tracer.batch.work import Outcome, Work

SOME_FAILED = 3
"""Exit code when some prompts of a batch failed."""
MOST_SAID = 10
"""Failures that are said one by one."""
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
            help="A .txt, .jsonl, .csv or .parquet file, - (stdin), or one that ships: facts, ...",
        ),
    ],
    model: options.Model = "sprout",
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    out: Annotated[Path, option("--out", "-o", help="Where the run's own folder goes.")] = Path(
        "outputs"
    ),
    name: Annotated[
        str | None, own("--name", help="Name of that folder; by default that of the file.")
    ] = None,
    file_format: Annotated[
        str | None, own("--file-format", help="txt, jsonl, csv or parquet, if the name lies.")
    ] = None,
    limit: Annotated[
        int | None, own("--limit", min=1, help="Only the first so many lines of the file.")
    ] = None,
    retry_failed: Annotated[
        bool, own("--retry-failed", help="Try prompts again that failed before.")
    ] = False,
    overwrite: options.Overwrite = False,
    shard: Annotated[
        str | None,
        own("--shard", help="i/N, from 0; by default what SLURM, torchrun or Kubernetes say."),
    ] = None,
    save_every: Annotated[
        int, own("--save-every", min=1, help="Prompts after which rows go to disk, or a minute.")
    ] = 256,
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
    given = dict(locals())  # as told
    formats.check_folder_name(out)
    refuse_without("--ray-workers", needed="--engine ray", there=engine == "ray")
    refuse_with("--retry-failed", other="--overwrite", there=overwrite)
    trace_options.refuse_idle(target, contrast, why_not)
    one_of("--engine", engine, ENGINES)
    one_of("--store", store, STORED)
    pruning.check_thresholds(node_threshold, edge_threshold)
    path = Path("stdin") if file == "-" else shipped.find_given(file, ".jsonl", "a prompt file")
    prompts = _prompts(path, file_format, stdin=file == "-")
    folder = _folder(out, path) if name is None else out / slugs.check_slug(name, flag="--name")
    ours = _shard(shard, engine)
    _check_folder(folder, overwrite, ours)
    computed_in, cotangents = opening.parse_dtype(dtype)
    job = batch_job.Job(
        opening={
            "model_name": model,
            "transcoders": transcoders,
            "transcoders_format": transcoders_format,
            "dtype": computed_in,
            "device": _device(device),
            "device_map": device_map,
            "threads": threads,
            "together": False,
        },
        folder=folder.absolute(),
        prompts=prompts,
        settings=trace_options.trace_settings(given, cotangents),
        run={
            "dtype": computed_in,
            "node_threshold": node_threshold,
            "edge_threshold": edge_threshold,
            "graphs": store,
            "routes": routes,
            "heads": heads,
            "prompt_file": path.name,
        },
        options={name.replace("_", "-"): given[name] for name in OF_THE_RUN},
    )
    _say_bad_lines(prompts)
    if overwrite:
        _begin_anew(folder)
    work = batch_work.Work(
        shard=ours, limit=limit, retry_failed=retry_failed, part_prompts=save_every
    )
    with if_interrupted(goes_on(folder, overwrite)):
        outcome = _done(job, work, engine, ray_workers)
    if json:
        print_json({"run": str(folder), **outcome._asdict(), "shard": str(ours)})
    else:
        _print(folder, outcome, ours)
    if outcome.failed:
        raise typer.Exit(SOME_FAILED)


def _done(job: batch_job.Job, work: Work, engine: str, workers: int | None) -> Outcome:
    with progress_line() as report:
        if engine == "ray":
            return rays.run_on_ray(job, work, workers=workers, on_progress=report)
        report(f"opening {job.opening['model_name']}", 0, 0)
        with job.open() as opened:
            return opened.go(work, on_progress=report, on_failure=_Failures().say)


def _prompts(path: Path, format: str | None, *, stdin: bool) -> PromptFile:
    known = None if format is None else one_of("--file-format", format, prompt_file.FORMATS)
    if stdin:
        return prompt_file.parse_prompts(sys.stdin.buffer.read(), known)
    return prompt_file.read_prompts(path, format=known)


def _folder(out: Path, prompts: Path) -> Path:
    """The run of a prompt file; with a hash where a file of another name has that folder."""
    folder = out / slugs.slug_of(prompts.stem, empty="run")
    try:
        file = run_file.read_run(folder).prompt_file
    except CircuitTracerError:  # no run, or a damaged one
        return folder
    is_another = file != "" and Path(file).stem != prompts.stem
    return out / slugs.with_hash(folder.name, prompts.stem) if is_another else folder


def _shard(text: str | None, engine: str) -> Shard:
    if engine == "ray":
        if text is not None:
            raise UsageError("--shard and --engine ray exclude each other: Ray deals the work out")
        return shards.WHOLE
    return shards.shard_here() if text is None else shards.parse_shard(text)


def _device(device: str) -> str:
    """Under torchrun every process of a machine takes a GPU of its own."""
    if device != "auto" or "LOCAL_RANK" not in os.environ:
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(os.environ['LOCAL_RANK']) % count}" if count else device


def _check_folder(folder: Path, overwrite: bool, shard: Shard) -> None:
    """Refuse before the model is opened what could only go wrong later; raises OutputError."""
    if overwrite and shard.of > 1:
        raise UsageError(
            "--overwrite would remove what other shards have done; remove the run's folder once, "
            "then start the shards"
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose another --name or --out")
    if folder.is_dir() and any(folder.iterdir()) and not batch_store.is_run(folder):
        raise OutputError(f"{folder} holds something that is no run; choose another --name")
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputError(f"{there} cannot be written to; choose another place with --out")


def _begin_anew(folder: Path) -> None:
    """Remove what a run has written, and nothing else; the graphs, by which it counts, first."""
    import shutil

    for table in (*reversed(schemas.GRAPH_TABLES), schemas.FAILURES):
        shutil.rmtree(folder / table, ignore_errors=True)
    for file in (manifest.MANIFEST_FILE, run.CLAIMS_FILE, run_file.RUN_FILE):
        (folder / file).unlink(missing_ok=True)


def _say_bad_lines(prompts: PromptFile) -> None:
    for bad in prompts.bad[:MOST_SAID]:
        say(f"note: {bad.message}")
    if len(prompts.bad) > MOST_SAID:
        say(f"note: and {len(prompts.bad) - MOST_SAID} more bad lines")


class _Failures:
    """Says the first failures one by one."""

    def __init__(self) -> None:
        self.count = 0

    def say(self, failed: Failed) -> None:
        """A failure; bad lines have been said already."""
        if failed.entry.wrong:
            return
        self.count += 1
        if self.count <= MOST_SAID:
            say(f"failed: line {failed.entry.line}: {failed.message}")
        elif self.count == MOST_SAID + 1:
            say("failed: further ones are not said one by one; circuit-tracer runs show lists them")


def _print(folder: Path, outcome: Outcome, shard: Shard) -> None:
    share = "" if shard.of == 1 else f" of shard {shard}"
    print(f"{outcome.done:,} of {outcome.total:,} prompts{share} have a graph in {folder}")
    if outcome.failed:
        print(f"{outcome.failed:,} failed; circuit-tracer runs show {folder} says why")
    if outcome.traced:
        rate = outcome.traced / max(outcome.seconds, 1e-9)
        print(f"{outcome.traced:,} traced now in {outcome.seconds:.1f} s, {rate:.1f} a second")
