"""`circuit-tracer monitor RUNS`: did many answers go through their notes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer.batch import shards
from circuit_tracer.cli import batch, completion, invocation, options, reports
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.invocation import refuse_with
from circuit_tracer.cli.options import own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.experiments.steps.monitor import terminal
from circuit_tracer.workbench import batch_job, formats, monitor_store, monitoring, slugs, stepping

MADE_BY = ("model", "transcoders", "transcoders_format", "check", "watch", "split", "against")
"""Options that rows depend on; the others say what is made of them, where and how."""


@explained
def monitor(
    runs: Annotated[
        str,
        typer.Argument(
            metavar="RUNS",
            autocompletion=completion.offered(bundled.shipped_transcripts),
            help="Transcripts: .jsonl, an Inspect .eval log, or one that ships: cheat.",
        ),
    ],
    calibrate: Annotated[
        str | None,
        own("--calibrate", help="Labelled runs that thresholds are chosen by; RUNS: by halves."),
    ] = None,
    check: Annotated[
        bool,
        own("--check", help="Swap values, too: decides without --calibrate, else casts doubt."),
    ] = False,
    watch: Annotated[
        list[str] | None,
        own("--watch", help="NAME=REGEX: what to watch in prompts that name nothing themselves."),
    ] = None,
    split: options.StepSplit = "sentence",
    against: options.Rival = None,
    model: options.Model = "sprout",
    transcoders: options.Transcoders = None,
    transcoders_format: options.TranscodersFormat = None,
    out: options.RunsOut = Path("outputs"),
    name: Annotated[
        str | None, own("--name", help="Name of that folder; monitor-RUNS by default.")
    ] = None,
    retry_failed: options.RetryFailed = False,
    overwrite: options.Overwrite = False,
    shard: options.Shard = None,
    save_every: options.SaveEvery = 256,
    device: options.Device = "auto",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Judge many transcripts; the same command goes on where it stopped."""
    formats.check_folder_name(out)
    refuse_with("--retry-failed", other="--overwrite", there=overwrite)
    ours = shards.shard_here() if shard is None else shards.parse_shard(shard)
    job = invocation.as_asked(
        monitoring.job_of,
        watch=stepping.watch_of(watch),
        name=None if name is None else slugs.check_slug(name, where="`name`"),
        options={one.replace("_", "-"): invocation.values()[one] for one in MADE_BY},
    )
    batch_job.check_place(job.folder, overwrite, ours, monitor_store.MonitorRun)
    batch_job.note_bad_lines(job.runs)
    work = shards.Work(shard=ours, retry_failed=retry_failed, part_prompts=save_every)
    with if_interrupted(goes_on(job.folder, overwrite)), progress_line() as report:
        opened = reports.opened(report, device=batch_job.own_device(device), together=False)
        if overwrite:
            job.remove()
        outcome, found = monitoring.monitor_into(
            job, opened, work, on_progress=report, on_failure=job.failures().note
        )
    share = {"run": str(job.folder), **outcome._asdict(), "shard": str(ours)}
    if json:
        print_json(share if found is None else {**share, **monitoring.record(found)})
    elif found is None:
        print(f"{outcome.done:,} runs of shard {ours} measured; the last shard judges all")
    else:
        print_rich(*terminal.page(found, width=columns()))
        print(f"\n{job.folder}: {', '.join(monitoring.FILES)}")
    if outcome.failed:
        raise typer.Exit(batch.SOME_FAILED)
