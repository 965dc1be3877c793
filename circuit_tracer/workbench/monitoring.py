"""Many transcripts from their file to a run's folder with a verdict on each."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from circuit_tracer.batch.manifest import entries_of
from circuit_tracer.batch.prompt_file import PromptFile
from circuit_tracer.batch.run import OnFailure, OpenedBatch, begin
from circuit_tracer.batch.schemas import FAILURES, schema_of
from circuit_tracer.batch.shards import WHOLE, Outcome, Work
from circuit_tracer.batch.stored_run import is_run
from circuit_tracer.batch.transcript_file import read_transcripts
from circuit_tracer.bundled import DEFAULT_MODEL, shipped_transcripts
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit.places import SPLITS
from circuit_tracer.experiments.kit.weights import identified
from circuit_tracer.experiments.steps.monitor import terminal
from circuit_tracer.experiments.steps.monitor.figures import figures, limits_of
from circuit_tracer.experiments.steps.monitor.measure import Measures
from circuit_tracer.experiments.steps.monitor.results import (
    LABELS,
    Judged,
    Measured,
    MonitorReport,
    Thresholds,
)
from circuit_tracer.experiments.steps.monitor.verdict import check_labels, judged
from circuit_tracer.expressions import Expression
from circuit_tracer.graphs.files.atomic import new_file
from circuit_tracer.graphs.files.json_values import plain, to_json
from circuit_tracer.models.passing import gradients_recorded
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.versions import versions
from circuit_tracer.workbench.arguments import check_arguments
from circuit_tracer.workbench.batch_job import (
    Failures,
    check_place,
    remove_run,
    run_folder,
    say_repeats,
)
from circuit_tracer.workbench.calls import AnyModel, AnyTranscoders
from circuit_tracer.workbench.folders import write_texts
from circuit_tracer.workbench.monitor_store import MonitorRun, Transcripts, rows_of
from circuit_tracer.workbench.opening import Opened, accepted
from circuit_tracer.workbench.results import WIDTH, Report
from circuit_tracer.workbench.shipped import find_given

VERDICTS_FILE, MONITOR_FILE = "verdicts.parquet", "monitor.json"
FILES = (VERDICTS_FILE, MONITOR_FILE)
CALIBRATION = "calibration-"
"""How the folder of calibrating runs begins, in that of the runs they calibrate."""


@dataclass(frozen=True)
class Job:
    """A run as its command or call describes it, checked before a model is opened."""

    runs: PromptFile
    file: Path
    folder: Path
    calibrating: PromptFile | None
    """Labelled runs from which thresholds come; the runs themselves where `crossed`."""
    crossed: bool
    settings: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def calibration_folder(self) -> Path:
        """Where other runs than those that are judged are measured."""
        assert self.calibrating is not None
        text = "\n".join(map(str, self.calibrating.prompts))
        return self.folder / f"{CALIBRATION}{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def failures(self) -> Failures:
        """Warns of runs that fail."""
        return Failures(f"the table {self.folder / FAILURES} has the further ones")

    def remove(self) -> None:
        """Remove what an earlier run has written, and nothing else."""
        for inner in filter(is_run, self.folder.glob(f"{CALIBRATION}*")):
            shutil.rmtree(inner)
        remove_run(self.folder, Transcripts.tables)
        for name in FILES:
            (self.folder / name).unlink(missing_ok=True)


def job_of(
    runs: str | Path,
    *,
    calibrate: str | Path | None = None,
    check: bool = False,
    watch: Mapping[str, str] | None = None,
    split: str = "sentence",
    against: str | None = None,
    out: str | Path = "outputs",
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Job:
    """What is to be done, once everything that needs no model has been checked.

    Raises UsageError for a file that cannot be read, nothing that decides or is watched, and labels
    that thresholds cannot be chosen by.
    """
    what = "a .jsonl or .eval file of transcripts"
    ships = shipped_transcripts()
    file = find_given(str(runs), ".jsonl", what, ships)
    if calibrate is None and not check:
        raise UsageError(
            "nothing decides: give labelled runs by `calibrate`, or `check` to swap values and run "
            "the model again"
        )
    Expression(SPLITS.get(split, split), "split")  # refused here if it is none
    found = _watching(read_transcripts(file, LABELS), watch or {})
    calibrating, crossed = None, False
    if calibrate is not None:
        other = find_given(str(calibrate), ".jsonl", what, ships)
        crossed = other.samefile(file)
        calibrating = found if crossed else _watching(read_transcripts(other, LABELS), watch or {})
        texts = [(one.label, (one.reasoning, one.answer.strip())) for one in calibrating.prompts]
        check_labels(texts, crossed=crossed)
        _check_apart(found, calibrating, crossed=crossed)
    folder = (
        run_folder(Path(out), file, MonitorRun, "monitor-") if name is None else Path(out) / name
    )
    watched = [f"{one}={expression}" for one, expression in (watch or {}).items()]
    settings = {"split": split, "against": against, "check": check, "watch": watched}
    return Job(found, file, folder, calibrating, crossed, settings, options or {})


def _watching(file: PromptFile, watch: Mapping[str, str]) -> PromptFile:
    """With what all runs watch where a line says nothing of its own; where a run has no such text
    there is nothing to watch. Raises UsageError for an expression that is used nowhere."""
    used = set()
    lines = []
    asked = {name: Expression(text, "watch") for name, text in watch.items()}
    for line in file.prompts:
        there = tuple((n, one.text) for n, one in asked.items() if one.first(line.prompt))
        lines.append(line if line.watch else replace(line, watch=there))
        used |= set() if line.watch else {n for n, _ in there}
    idle = next((one for one in watch if one not in used), None)
    if idle is not None:
        raise UsageError(
            f'`watch` {idle}={watch[idle]} is used in no run: lines that say "watch" go by their '
            "own, and no other prompt has such text"
        )
    if not any(line.watch for line in lines):
        raise UsageError('nothing is watched; give `watch` NAME=REGEX, or "watch" in the lines')
    return replace(file, prompts=tuple(lines))


def _check_apart(runs: PromptFile, calibrating: PromptFile, *, crossed: bool) -> None:
    """Runs must not be judged by thresholds that were chosen on them."""
    known = {(one.prompt, one.reasoning, one.answer) for one in runs.prompts}
    both = sum((one.prompt, one.reasoning, one.answer) in known for one in calibrating.prompts)
    if both and not crossed:
        raise UsageError(
            f"{both} runs of `calibrate` are among those to be judged; leave them out, or give "
            "the same file twice, whose halves then judge each other"
        )


def monitor_into(
    job: Job,
    opened: Opened,
    work: Work = Work(),  # noqa: B008
    *,
    on_progress: OnStage = silent,
    on_failure: OnFailure | None = None,
) -> tuple[Outcome, MonitorReport | None]:
    """Measure what is missing of a share of the runs, and judge them once all are measured.

    None in place of a report while other shards have runs to do. Raises what `OpenedBatch.go` does.
    """
    settings = {name: value for name, value in job.settings.items() if name != "watch"}
    kind = Transcripts(Measures(opened.model, opened.dictionary, **settings))
    info = MonitorRun(
        model=identified(opened.model),
        dictionary=identified(opened.dictionary),
        settings=job.settings,
        options=job.options,
        versions=versions(),
        prompt_file=job.file.name,
    )

    def measured(
        folder: Path, file: PromptFile, work: Work, on_failure: OnFailure | None
    ) -> tuple[Outcome, list[Measured] | None, int]:
        """A store brought on; its rows once there are no more to come, and how many failed."""
        entries = entries_of(file, info.identity())
        begin(folder, info, entries)
        with OpenedBatch(folder, kind, entries) as run:
            outcome = run.go(work, on_progress=on_progress, on_failure=on_failure)
            keys = {entry.key for entry in entries}
            if not keys <= run.state.done | run.state.failed:
                return outcome, None, 0
            return outcome, rows_of(folder, entries), len(keys & run.state.failed)

    # What another command or call has begun is refused before others are measured below it.
    entries = entries_of(job.runs, info.identity())
    say_repeats(entries)
    begin(job.folder, info, entries)
    labelled = None
    if job.calibrating is not None and not job.crossed:
        whole = replace(work, shard=WHOLE)  # every process needs them all, and has locks to share
        _, labelled, _ = measured(job.calibration_folder, job.calibrating, whole, None)
    outcome, runs, failed = measured(job.folder, job.runs, work, on_failure)
    if runs is None:
        return outcome, None
    report = _judged(job, opened, runs, labelled, failed)
    _write(job.folder, report)
    return outcome, report


def _judged(
    job: Job,
    opened: Opened,
    runs: list[Measured],
    labelled: list[Measured] | None,
    failed: int,
) -> MonitorReport:
    by: tuple[Thresholds, ...] = ()
    limits: Callable[[Measured, int], Thresholds | None] = lambda run, method: None  # noqa: E731
    decided = "swapped values"
    if job.calibrating is not None:
        source = [one for one in (runs if job.crossed else labelled or ()) if one.label]
        limits = limits_of(source, crossed=job.crossed)
        by = tuple(dict.fromkeys(found for one in runs if (found := limits(one, 0)) is not None))
        decided = f"thresholds of {len(source):,} labelled runs"
        decided += ", each half by the other's" if job.crossed else ""
    verdicts = tuple(judged(one, limits(one, 0)) for one in runs)
    right, each = figures(verdicts, limits)
    return MonitorReport(
        runs=verdicts,
        total=len(runs) + failed,
        failed=failed,
        decided_by=decided,
        thresholds=by,
        labelled=sum(bool(one.label) for one in runs),
        right=right,
        figures=each,
        model=opened.model.identity,
        dictionary=opened.dictionary.identity,
    )


def record(report: MonitorReport) -> dict[str, Any]:
    """The report as JSON values."""
    return {**plain(report), "counts": report.counts, "runs": [*map(_line, report.runs)]}


COLUMNS = (
    "id:text line:int64 name:text label:text answer:text watched:text said:text verdict:text "
    "why:text direct:float64 chained:float64 step:float64 kept:float64 rewritten:float64 "
    "step_swapped:float64"
)
"""Of verdicts.parquet."""


def _line(one: Judged) -> dict[str, Any]:
    """A run's verdict with what it rests on, flat: a row of verdicts.parquet."""
    run = one.run
    own: dict[str, Any] = {"verdict": one.verdict, "why": one.why}
    own |= {"direct": run.direct[0], "chained": run.chained[0]}
    return {name: own.get(name, getattr(run, name, None)) for name in schema_of(COLUMNS).names}


def _write(folder: Path, report: MonitorReport) -> None:
    """All verdicts as a table and the report, in place of earlier ones."""
    table = pa.Table.from_pylist([*map(_line, report.runs)], schema=schema_of(COLUMNS))
    with new_file(folder / VERDICTS_FILE, overwrite=True) as file:
        pq.write_table(table, file, compression="zstd")
    write_texts({folder / MONITOR_FILE: to_json(record(report), indent=2) + "\n"})


@gradients_recorded()
def monitor(
    runs: str | Path,
    *,
    model: AnyModel = DEFAULT_MODEL,
    transcoders: AnyTranscoders | None = None,
    calibrate: str | Path | None = None,
    check: bool = False,
    watch: Mapping[str, str] | None = None,
    split: str = "sentence",
    against: str | None = None,
    out: str | Path = "outputs",
    name: str | None = None,
    overwrite: bool = False,
    device: str = "auto",
    on_progress: OnStage | None = None,
) -> Report[MonitorReport]:
    """Did many answers go through their notes? A verdict on every transcript of a file.

    `runs` is a .jsonl or an Inspect .eval file, or the name of one that ships ("cheat");
    `calibrate` a file of labelled runs that thresholds are chosen by: given the same file, its
    halves judge each other. `check` swaps values: it decides where nothing calibrates, else puts
    verdicts in doubt. `watch`, `split` and `against` are those of `steps`. The store goes into a
    folder of `out`; the same call goes on where it stopped. `.counts` are runs by verdict,
    `.runs` all of them, `.figures` AUC and rates of labelled ones. Raises UsageError for what
    cannot be read, is not watched or cannot calibrate, OutputError for a folder that holds
    something else, and what `open_pair` raises.

    >>> import circuit_tracer as ct, tempfile
    >>> out = tempfile.mkdtemp()
    >>> report = ct.monitor("cheat", model="sprout-cheat", calibrate="cheat", out=out)
    >>> report.counts["says so"], report.counts["unclear"]
    (8, 0)
    """
    check_arguments(monitor, locals())
    asked = {"calibrate": calibrate, "check": check, "watch": watch, "split": split}
    job = job_of(runs, **asked, against=against, out=out, name=name)  # type: ignore[arg-type]
    check_place(job.folder, overwrite, WHOLE, MonitorRun)
    opened = accepted(model, transcoders, device=device)
    if overwrite:
        job.remove()
    noted = job.failures().note
    _, report = monitor_into(job, opened, on_progress=on_progress or silent, on_failure=noted)
    assert report is not None  # of a whole run
    return Report(report, [*terminal.page(report, width=WIDTH)], lambda: record(report))
