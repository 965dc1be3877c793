"""What the commands that ask a question of a model and write a report's folder have in common."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from circuit_tracer import bundled
from circuit_tracer.cli import invocation
from circuit_tracer.cli.app import goes_on, if_interrupted
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line
from circuit_tracer.errors import UsageError
from circuit_tracer.processes import processes
from circuit_tracer.progress import OnStage
from circuit_tracer.workbench import folders, formats, opening, report_folder, shipped, slugs

if TYPE_CHECKING:
    from circuit_tracer.workbench.opening import Opened
    from circuit_tracer.workbench.report_folder import Experiment

Spec = TypeVar("Spec")
OPENED = ("model", "transcoders", "transcoders_format", "labels", "device", "device_map", "threads")
"""Options that say what is opened, and how."""


def opened(report: OnStage, **other: Any) -> Opened:
    """The model and dictionary that the running command's options say, `other` in their place.

    Raises what `open_pair` does.
    """
    options = invocation.values()
    given = {name: options[name] for name in OPENED if name in options} | other
    model = given.pop("model")
    report(f"opening {model}", 0, 0)
    found = opening.open_pair(model, **given)
    is_neurons = found.dictionary.identity.kind == "neurons"
    invocation.refuse_with("--transcoders-format", other="a model's own neurons", there=is_neurons)
    return found


def check_alone(command: str, out: Path) -> None:
    """Raise UsageError where `out` names no folder, or several processes run, and OutputError where
    nothing can be written to it."""
    formats.check_folder_name(out)
    folders.check_writable(out)
    if processes().count > 1:
        raise UsageError(f"{command} does not work under torchrun; run it in one process")


def spec_of(command: str, name_or_file: str, read: Callable[[Path], Spec]) -> tuple[str, Spec]:
    """The name of a spec's file, given or shipped, and the spec.

    Raises UsageError where it cannot be read, `out` names no folder, or several processes run.
    """
    check_alone(command, invocation.values()["out"])
    ships = bundled.shipped_specs(command)
    file = shipped.find_given(name_or_file, ".toml", "a spec in TOML", ships)
    return file.name, read(file)


def run_experiment(
    experiment: Experiment[Any],
    words: Sequence[str],
    *,
    given: Iterable[tuple[str, str | None]],
    folder: str,
    opening: str,
    study: Callable[..., Any],
) -> None:
    """Run an experiment as the running command's options say, or go on with it, and print.

    `words` and `given`, options that may be None, make the report again; `folder` is its name where
    the caller gives none, which may hold an earlier report of this command and nothing else.
    """
    options = invocation.values()
    overwrite, name = options["overwrite"], options["name"]
    place = options["out"] / slugs.check_slug(folder if name is None else name, where="`name`")
    report_folder.check_report_folder(place, experiment.command, overwrite)
    line = ["circuit-tracer", *words]
    dtype = None if options["dtype"] == "float32" else options["dtype"]
    for flag, value in (*given, ("--seed", options["seed"]), ("--dtype", dtype)):
        line += [] if value is None else [flag, str(value)]
    command = shlex.join([*line, *(["--quick"] if options["quick"] else [])])
    with if_interrupted(goes_on(place, overwrite)), progress_line() as report:
        report(f"opening {opening}", 0, 0)
        asked = study(**{one: options[one] for one in ("device", "dtype", "threads")})
        found, files = experiment.into(
            place, asked, command=command, overwrite=overwrite, on_progress=report
        )
    show(found, experiment.page, place, files, options["json"])


def show(
    report: object, page: Callable[..., Any], folder: Path, files: Sequence[str], json: bool
) -> None:
    """A report as JSON, or as its page and the files that were written."""
    if json:
        print_json(report)
        return
    shown = page(report, width=columns())
    print_rich(*(shown if isinstance(shown, list) else [shown]))
    print(f"\n{': '.join(filter(None, (str(folder), ', '.join(files))))}")
