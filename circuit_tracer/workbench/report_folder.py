"""The folder of an experiment's report: what it may hold, and what goes when it is replaced."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rich.console import RenderableType

from circuit_tracer.errors import OutputError
from circuit_tracer.experiments.diff.report import DIFF_FILE
from circuit_tracer.experiments.dissociation.results import DISSOCIATION_FILE
from circuit_tracer.experiments.kit.page import MEASUREMENTS_FILE
from circuit_tracer.experiments.kit.results import write_record
from circuit_tracer.experiments.kit.stages import STAGES, holds_stages
from circuit_tracer.graphs import new_file
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.workbench.folders import check_writable, write_texts

logger = logging.getLogger(__name__)

REPORT_PAGE, REPORT_HTML = "report.md", "report.html"
FILES = {"dissociate": DISSOCIATION_FILE, "diff": DIFF_FILE}
"""By command, the file of a finished report."""
Found = TypeVar("Found")


class SpecStudy(Protocol):
    """What a spec asks of models that are open."""

    @property
    def size(self) -> str:
        """What is to be done, in a line."""

    def check(self) -> None:
        """Raise PromptError and UsageError for what cannot be asked."""


@dataclass(frozen=True)
class Experiment(Generic[Found]):
    """An experiment that a spec asks for, from its study to the folder of its report."""

    command: str
    file: str
    """All of the report, as JSON."""
    figures: tuple[str, ...]
    """Files that may be drawn."""
    measure: Callable[..., Found]
    """From a study, the folder and `on_progress`: measured, or taken from the folder's stages."""
    draw: Callable[[Found, Path], Mapping[str, str]]
    """Figures by their files; what was not measured has none."""
    markdown: Callable[..., str]
    """The page, of the report, the figures there are and the command that makes it again."""
    page: Callable[..., RenderableType]
    """For the terminal."""
    folders: tuple[str, ...] = ()
    """Folders beside the stages."""

    def into(
        self,
        folder: Path,
        study: SpecStudy,
        *,
        command: str = "",
        overwrite: bool = False,
        on_progress: OnStage = silent,
    ) -> tuple[Found, list[str]]:
        """Run or finish it in its folder; returns the report and the names of its files.

        `command` is what the report says it was made by. With `overwrite` an earlier report goes
        first, and nothing else that is in the folder. Raises what `measure` does, and OutputError
        for a folder that holds something else.
        """
        check_report_folder(folder, self.command, overwrite)
        study.check()  # what cannot be asked shall not cost the earlier report
        logger.info(f"{self.command}: {study.size}")
        if overwrite:
            ours = (REPORT_PAGE, REPORT_HTML, self.file, MEASUREMENTS_FILE)
            remove(folder, (STAGES, *self.folders, *ours, *self.figures))
        report = self.measure(study, folder, on_progress=on_progress)
        on_progress("drawing", 0, 0)
        drawn = self.draw(report, folder)
        remove(folder, [name for name in self.figures if name not in drawn])
        page = self.markdown(report, sorted(drawn), command=command)
        write_texts({folder / name: text for name, text in {REPORT_PAGE: page, **drawn}.items()})
        with new_file(folder / self.file, overwrite=True) as path:
            write_record(report, path)
        return report, [REPORT_PAGE, self.file, MEASUREMENTS_FILE, *sorted(drawn)]


def check_report_folder(folder: Path, command: str, overwrite: bool = False) -> None:
    """Refuse a folder that holds something else, before anything is opened; raises OutputError.

    `command` is the one whose reports it may hold.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file; choose another `name` or `out`")
    others = [name for name, file in FILES.items() if name != command and (folder / file).is_file()]
    if others or (folder.is_dir() and any(folder.iterdir()) and not holds_stages(folder, command)):
        advice = ", so `overwrite` leaves it alone" if overwrite else ""
        raise OutputError(
            f"{folder} holds something other than a report of {command}{advice}; choose another "
            "`name` or `out`"
        )
    check_writable(folder / STAGES)


def remove(folder: Path, names: Sequence[str]) -> None:
    """Take some files and folders out of a report's folder, those that are there."""
    for path in (folder / name for name in names):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
