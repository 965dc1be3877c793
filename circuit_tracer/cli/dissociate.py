"""`circuit-tracer dissociate SPEC`: are a fact and the judgement of it two routes, and where?"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.beside import open_cards
from circuit_tracer.cli.forms import check_folder_name
from circuit_tracer.cli.names import check_slug, slug_of
from circuit_tracer.cli.opening import open_pair
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line, say
from circuit_tracer.cli.shipped import find_given
from circuit_tracer.cli.supernodes import reading_of
from circuit_tracer.cli.token_notes import say_forms
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.processes import processes

if TYPE_CHECKING:
    from circuit_tracer.experiments.dissociation.report.routes.two_routes import Readings, TwoRoutes
    from circuit_tracer.experiments.dissociation.results import Report
    from circuit_tracer.experiments.dissociation.spec import Spec
    from circuit_tracer.experiments.dissociation.study import Settings, Study

REPORT = "report.md"


@explained
def dissociate(
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", help="A spec in TOML, or one that ships: bananas, ..."),
    ],
    model: Annotated[
        str | None, own("--model", "-m", help="Another model than the spec names.")
    ] = None,
    transcoders: Annotated[
        str | None, own("--transcoders", "-t", help="Another dictionary than the spec names.")
    ] = None,
    out: Annotated[Path, option("--out", "-o", help="Where the report's own folder goes.")] = Path(
        "outputs"
    ),
    name: Annotated[
        str | None,
        own("--name", help="Name of that folder; dissociate-SPEC (and -MODEL, for another)."),
    ] = None,
    quick: Annotated[
        bool, own("--quick", help="A few items and few controls: a first look, no result.")
    ] = False,
    seed: Annotated[
        int | None, own("--seed", help="Of all that is drawn at random; the spec's if not told.")
    ] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Tell a fact's route from that of its judgement; the same command goes on where it stopped."""
    check_folder_name(out)
    from circuit_tracer.experiments.dissociation.run import dissociate as run
    from circuit_tracer.experiments.dissociation.spec_file import read_spec
    from circuit_tracer.experiments.dissociation.study import Study

    if processes().count > 1:
        raise UsageError("dissociate does not work under torchrun; run it in one process")
    file = find_given(spec, ".toml", "a spec in TOML")
    told = read_spec(file)
    settings = _settings(told, seed, quick)
    folder = out / _folder_name(told, name, model)
    _check_folder(folder, overwrite)
    with if_interrupted(goes_on(folder, overwrite)), progress_line() as report:
        report(f"opening {model or told.model}", 0, 0)
        opened = open_pair(
            model or told.model,
            transcoders or _dictionary(told, model),
            device=device,
            dtype=dtype,
            threads=threads,
        )
        study = Study(opened.model, opened.dictionary, told, settings, opened.labels)
        say(f"dissociate: {_size(study)}")
        say_forms(opened.model, (word for family in told.families for word in family.words or ()))
        if overwrite:
            study.check()  # what cannot be asked shall not cost the earlier report
            _clear(folder)
        found = run(study, folder, on_progress=report)
        report("drawing", 0, 0)
        files = _write(found, folder, _command(file.name, model, transcoders, quick, seed, dtype))
    if json:
        print_json(asdict(found))
        return
    from circuit_tracer.experiments.dissociation.report.terminal import page

    print_rich(page(found, width=columns()))
    print(f"\n{folder}: {', '.join(files)}")


def _folder_name(told: Spec, name: str | None, model: str | None) -> str:
    if name is not None:
        return check_slug(name, flag="--name")
    other = (
        ""
        if model in (None, told.model)
        else f"-{slug_of(str(model).rpartition('/')[2], empty='model')}"
    )
    return f"dissociate-{told.name}{other}"


def _dictionary(told: Spec, model: str | None) -> str | None:
    """The spec's dictionary; for another model only where the name means something for it too."""
    from circuit_tracer.bundled import bundled_models

    if model is None or model == told.model or told.transcoders == "neurons":
        return told.transcoders
    return told.transcoders if model in bundled_models() else None


def _settings(told: Spec, seed: int | None, quick: bool) -> Settings:
    """How much is measured."""
    from circuit_tracer.experiments.dissociation.study import Settings

    seed = told.seed if seed is None else seed
    return Settings.quickly(seed) if quick else Settings(seed=seed)


def _size(study: Study) -> str:
    """What is to be done, in a line."""
    families = study.spec.measured
    graphs = sum(2 if family.is_claim else 1 for family in families) * len(study.items)
    a_set = 3 * (3 * (1 + study.settings.random_sets) + 2 * study.settings.deals)
    return (
        f"{len(study.items)} items in {len(families)} forms: up to {graphs:,} graphs and "
        f"{graphs * a_set:,} ablations"
    )


def _command(
    spec: str,
    model: str | None,
    transcoders: str | None,
    quick: bool,
    seed: int | None,
    dtype: str,
) -> str:
    """What makes the report again."""
    words = ["circuit-tracer", "dissociate", spec]
    told = None if dtype == "float32" else dtype
    for flag, value in (("-m", model), ("-t", transcoders), ("--seed", seed), ("--dtype", told)):
        words += [] if value is None else [flag, str(value)]
    return shlex.join([*words, *(["--quick"] if quick else [])])


def _ours() -> tuple[str, ...]:
    """What an earlier report may hold."""
    from circuit_tracer.experiments.dissociation.measurements import MEASUREMENTS_FILE
    from circuit_tracer.experiments.dissociation.report.figures import OF_STEP, ROUTES
    from circuit_tracer.experiments.dissociation.results_file import DISSOCIATION_FILE
    from circuit_tracer.experiments.dissociation.steps.drawn_item import GRAPHS
    from circuit_tracer.experiments.kit.stages import STAGES

    files = (REPORT, DISSOCIATION_FILE, MEASUREMENTS_FILE, ROUTES, *OF_STEP.values())
    return (STAGES, GRAPHS, *files)


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something else, before anything is opened."""
    from circuit_tracer.experiments.kit.stages import STAGES, holds_stages

    if folder.is_file():
        raise OutputError(f"{folder} is a file; choose another --name or --out")
    if folder.is_dir() and any(folder.iterdir()) and not holds_stages(folder):
        advice = ", so --overwrite leaves it alone" if overwrite else ""
        raise OutputError(
            f"{folder} holds something other than a report of dissociate{advice}; choose another "
            "--name or --out"
        )
    wanted = folder.absolute() / STAGES
    there = next(place for place in (wanted, *wanted.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "you may not write there" if there.is_dir() else "it is a file"
        raise OutputError(f"cannot write in {there}: {what}; choose another --out")


def _clear(folder: Path) -> None:
    """Remove an earlier report, and nothing else that lies beside it."""
    import shutil

    for name in _ours():
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _write(found: Report, folder: Path, command: str) -> list[str]:
    """The report's files, each whole or not at all; returns their names."""
    from circuit_tracer.experiments.dissociation.measurements import MEASUREMENTS_FILE
    from circuit_tracer.experiments.dissociation.report.figures import OF_STEP, ROUTES, figures
    from circuit_tracer.experiments.dissociation.report.page import report_markdown
    from circuit_tracer.experiments.dissociation.results_file import DISSOCIATION_FILE, write_report
    from circuit_tracer.graphs import new_file

    drawn = figures(found, _routes(found, folder))
    for name in {ROUTES, *OF_STEP.values()} - set(drawn):
        (folder / name).unlink(missing_ok=True)  # of an earlier report
    texts = {REPORT: report_markdown(found, sorted(drawn), command=command), **drawn}
    for name, text in texts.items():
        with new_file(folder / name, overwrite=True) as file:
            file.write_text(text, encoding="utf-8")
    with new_file(folder / DISSOCIATION_FILE, overwrite=True) as file:
        write_report(found, file)
    return [REPORT, DISSOCIATION_FILE, MEASUREMENTS_FILE, *sorted(drawn)]


def _routes(found: Report, folder: Path) -> TwoRoutes | None:
    """The two routes of the representative item, features grouped by what their cards say."""
    from circuit_tracer.experiments.dissociation.report.routes.two_routes import routes_of

    if found.item is None:
        return None
    return routes_of(found, folder, readings=_readings(found, folder))


def _readings(found: Report, folder: Path) -> Readings | None:
    """What the feature cards say; None for a dictionary without cards."""
    from circuit_tracer.graphs import load_graph

    if found.item is None or found.dictionary.source != "bundled":
        return None
    book = open_cards(load_graph(folder / found.item.graphs[found.item.fact]), None)
    return lambda keys: [reading_of(card) for card in book.cards(list(keys))]
