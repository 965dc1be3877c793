"""What a process has to know to work on a run: it can be sent to another one."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from circuit_tracer.attribution.settings import TraceSettings
from circuit_tracer.batch.kinds import Graphs
from circuit_tracer.batch.manifest import MANIFEST_FILE, Entry, entries_of
from circuit_tracer.batch.prompt_file import PromptFile
from circuit_tracer.batch.run import CLAIMS_FILE, OpenedBatch, begin
from circuit_tracer.batch.run_file import RUN_FILE, RunFacts, RunInfo, command_of, read_run
from circuit_tracer.batch.schemas import FAILURES, GRAPH_TABLES
from circuit_tracer.batch.shards import Shard
from circuit_tracer.batch.stored_run import is_run
from circuit_tracer.batch.tables import Failed
from circuit_tracer.batch.tracing import Tracer, settings_of
from circuit_tracer.bundled import sha256_of
from circuit_tracer.errors import CircuitTracerError, OutputError, UsageError
from circuit_tracer.graphs.files.atomic import resolved
from circuit_tracer.versions import versions
from circuit_tracer.workbench.folders import check_writable
from circuit_tracer.workbench.opening import Opened, open_pair
from circuit_tracer.workbench.slugs import slug_of, with_hash
from circuit_tracer.workbench.token_notes import given_tokens, note_forms

logger = logging.getLogger(__name__)
MOST_NOTED = 10
"""Bad lines and failures that are noted one by one."""


@dataclass(frozen=True)
class Job:
    """A run as its command describes it."""

    opening: dict[str, Any]
    """Arguments of `open_pair`."""
    folder: Path
    prompts: PromptFile
    settings: TraceSettings
    run: dict[str, Any]
    """Fields of `RunInfo` that do not need the model."""
    options: dict[str, Any]
    """The command's options that the run is made by, under their own names."""

    def open(self, *, overwrite: bool = False) -> OpenedBatch:
        """Open the model and the run in this process. With `overwrite` an earlier run goes, once
        the model is open: what cannot be opened shall not cost it."""
        opened = open_pair(**self.opening)
        info = self.info(opened)
        entries = entries_of(self.prompts, info.identity())
        say_repeats(entries)
        settings = [settings_of(self.settings, entry) for entry in entries if not entry.wrong]
        note_forms(opened.model, (text for one in settings for text in given_tokens(one)))
        if overwrite:
            remove_run(self.folder)
        run = begin(self.folder, info, entries)
        tracer = Tracer(
            model=opened.model,
            dictionary=opened.dictionary,
            settings=self.settings,
            labels=opened.labels,
            relabel=opened.relabel,
            node_threshold=info.node_threshold,
            edge_threshold=info.edge_threshold,
            heads=info.heads,
        )
        return OpenedBatch(self.folder, Graphs(run, tracer), entries)

    def info(self, opened: Opened) -> RunInfo:
        """The facts of the run."""
        settings = asdict(self.settings)
        del settings["batch_size"]  # the graphs do not depend on it
        if labels := self.opening.get("labels"):
            settings["labels"] = sha256_of([labels])  # nodes and routes have them
        return RunInfo(
            model=opened.model.identity,
            dictionary=opened.dictionary.identity,
            settings=settings,
            options=self.options,
            versions=versions(),
            **self.run,
        )


def say_repeats(entries: Sequence[Entry]) -> None:
    """Note how many lines have no row of their own."""
    repeats = sum(entry.repeats for entry in entries)
    if repeats:
        logger.info(f"lines that repeat an earlier one and are taken once with it: {repeats}")


def run_folder(out: Path, prompts: Path, kind: type[RunFacts] = RunInfo, prefix: str = "") -> Path:
    """The run of a prompt file; with a hash where a file of another name has that folder."""
    folder = out / f"{prefix}{slug_of(prompts.stem, empty='run')}"
    try:
        file = read_run(folder, kind).prompt_file
    except CircuitTracerError:  # no run, or a damaged one
        return folder
    is_another = file != "" and Path(file).stem != prompts.stem
    return out / with_hash(folder.name, prompts.stem) if is_another else folder


def own_device(device: str) -> str:
    """Under torchrun every process of a machine takes a GPU of its own."""
    if device != "auto" or "LOCAL_RANK" not in os.environ:
        return device
    count = torch.cuda.device_count()
    return f"cuda:{int(os.environ['LOCAL_RANK']) % count}" if count else device


def check_place(
    folder: Path, overwrite: bool, shard: Shard, kind: type[RunFacts] = RunInfo
) -> None:
    """Refuse before the model is opened what could only go wrong later; raises OutputError, also
    for a run of another command than those of this `kind`."""
    if overwrite and shard.of > 1:
        raise UsageError(
            "`overwrite` would remove what other shards have done; remove the run's folder once, "
            "then start the shards"
        )
    resolved(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose another `name` or `out`")
    if folder.is_dir() and any(folder.iterdir()) and not is_run(folder):
        raise OutputError(f"{folder} holds something that is no run; choose another `name`")
    if (other := command_of(folder)) not in (None, kind.command):
        advice = ", so `overwrite` leaves it alone" if overwrite else ""
        raise OutputError(
            f"{folder} is a run of circuit-tracer {other}{advice}; choose another `name`"
        )
    check_writable(folder)


def remove_run(folder: Path, tables: Sequence[str] = GRAPH_TABLES) -> None:
    """Remove what a run has written, and nothing else; the last table, by which it counts,
    first."""
    for table in (*reversed(tables), FAILURES):
        shutil.rmtree(folder / table, ignore_errors=True)
    for file in (MANIFEST_FILE, CLAIMS_FILE, RUN_FILE):
        (folder / file).unlink(missing_ok=True)


def note_bad_lines(prompts: PromptFile) -> None:
    """Note the lines of a prompt file that cannot be traced."""
    for bad in prompts.bad[:MOST_NOTED]:
        logger.info(bad.message)
    if len(prompts.bad) > MOST_NOTED:
        logger.info(f"and {len(prompts.bad) - MOST_NOTED} more bad lines")


class Failures:
    """Warns of the first prompts that fail, one by one."""

    def __init__(self, others: str = "circuit-tracer runs show lists the further ones") -> None:
        """`others` says where the later ones are found."""
        self.count, self.others = 0, others

    def note(self, failed: Failed) -> None:
        """A failure; bad lines have been noted already."""
        if failed.entry.wrong:
            return
        self.count += 1
        if self.count <= MOST_NOTED:
            logger.warning(f"failed: line {failed.entry.line}: {failed.message}")
        elif self.count == MOST_NOTED + 1:
            logger.warning(f"failed: {self.others}")
