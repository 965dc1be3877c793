"""What a process has to know to work on a run: it can be sent to another one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuit_tracer.attribution.tracing import versions
from circuit_tracer.batch.manifest import entries_of
from circuit_tracer.batch.run import OpenedBatch, begin
from circuit_tracer.batch.run_file import RunInfo
from circuit_tracer.batch.tracing import Tracer, settings_of
from circuit_tracer.workbench.opening import Opened, open_pair
from circuit_tracer.workbench.token_notes import given_tokens, say_forms

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from circuit_tracer.attribution.settings import TraceSettings
    from circuit_tracer.batch.manifest import Entry
    from circuit_tracer.batch.prompt_file import PromptFile
    from circuit_tracer.batch.run import OpenedBatch
    from circuit_tracer.batch.run_file import RunInfo


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

    def open(self) -> OpenedBatch:
        """Open the model and the run in this process."""
        opened = open_pair(**self.opening)
        info = self.info(opened)
        entries = entries_of(self.prompts, info.identity())
        _say_repeats(entries)
        settings = [settings_of(self.settings, entry) for entry in entries if not entry.wrong]
        say_forms(opened.model, (text for one in settings for text in given_tokens(one)))
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
        return OpenedBatch(self.folder, run, tracer, entries)

    def info(self, opened: Opened) -> RunInfo:
        """The facts of the run."""
        settings = asdict(self.settings)
        del settings["batch_size"]  # the graphs do not depend on it
        return RunInfo(
            model=opened.model.identity,
            dictionary=opened.dictionary.identity,
            settings=settings,
            options=self.options,
            versions=versions(),
            **self.run,
        )


def _say_repeats(entries: Sequence[Entry]) -> None:
    repeats = sum(entry.repeats for entry in entries)
    if repeats:
        logger.info(
            f"{repeats} lines repeat an earlier one and are traced once, with the tags of all"
        )
