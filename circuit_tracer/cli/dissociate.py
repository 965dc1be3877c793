"""`circuit-tracer dissociate SPEC`: are a fact and the judgement of it two routes, and where?"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from circuit_tracer import bundled
from circuit_tracer import graphs as graphs_library
from circuit_tracer.cli import options
from circuit_tracer.cli.app import explained, goes_on, if_interrupted
from circuit_tracer.cli.options import option, own
from circuit_tracer.cli.output import columns, print_json, print_rich, progress_line, say
from circuit_tracer.cli.supernodes import reading_of
from circuit_tracer.errors import OutputError, UsageError
from circuit_tracer.experiments.dissociation import measurements, results, run
from circuit_tracer.experiments.dissociation import spec as dissociation_spec
from circuit_tracer.experiments.dissociation import study as dissociation_study
from circuit_tracer.experiments.dissociation.report import page, terminal
from circuit_tracer.experiments.dissociation.report.routes import two_routes
from circuit_tracer.experiments.dissociation.steps import drawn_item
from circuit_tracer.experiments.kit import stages
from circuit_tracer.processes import processes
from circuit_tracer.workbench import folder_contents, formats, opening, shipped, slugs, token_notes

if TYPE_CHECKING:
    from circuit_tracer.experiments.dissociation.report.routes.two_routes import Readings, TwoRoutes
    from circuit_tracer.experiments.dissociation.results import Report
    from circuit_tracer.experiments.dissociation.spec import Spec
    from circuit_tracer.experiments.dissociation.study import Study

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
    formats.check_folder_name(out)
    if processes().count > 1:
        raise UsageError("dissociate does not work under torchrun; run it in one process")
    file = shipped.find_given(spec, ".toml", "a spec in TOML")
    told = dissociation_spec.read_spec(file)
    settings = _settings(told, seed, quick)
    folder = out / _folder_name(told, name, model)
    _check_folder(folder, overwrite)
    with if_interrupted(goes_on(folder, overwrite)), progress_line() as report:
        report(f"opening {model or told.model}", 0, 0)
        opened = opening.open_pair(
            model or told.model,
            transcoders or _dictionary(told, model),
            device=device,
            dtype=dtype,
            threads=threads,
        )
        study = dissociation_study.Study(
            opened.model, opened.dictionary, told, settings, opened.labels
        )
        say(f"dissociate: {_size(study)}")
        token_notes.note_forms(
            opened.model, (word for family in told.families for word in family.words or ())
        )
        if overwrite:
            study.check()  # what cannot be asked shall not cost the earlier report
            _clear(folder)
        found = run.dissociate(study, folder, on_progress=report)
        report("drawing", 0, 0)
        files = _write(found, folder, _command(file.name, model, transcoders, quick, seed, dtype))
    if json:
        print_json(found)
        return
    print_rich(terminal.page(found, width=columns()))
    print(f"\n{folder}: {', '.join(files)}")


def _folder_name(told: Spec, name: str | None, model: str | None) -> str:
    if name is not None:
        return slugs.check_slug(name, flag="--name")
    other = (
        ""
        if model in (None, told.model)
        else f"-{slugs.slug_of(str(model).rpartition('/')[2], empty='model')}"
    )
    return f"dissociate-{told.name}{other}"


def _dictionary(told: Spec, model: str | None) -> str | None:
    """The spec's dictionary; for another model only where the name means something for it too."""
    if model is None or model == told.model or told.transcoders == "neurons":
        return told.transcoders
    return told.transcoders if model in bundled.bundled_models() else None


def _settings(told: Spec, seed: int | None, quick: bool) -> dissociation_study.Settings:
    """How much is measured."""
    seed = told.seed if seed is None else seed
    return (
        dissociation_study.Settings.quickly(seed)
        if quick
        else dissociation_study.Settings(seed=seed)
    )


def _size(study: Study) -> str:
    """What is to be done, in a line."""
    families = study.spec.measured
    graphs = sum(2 if family.is_claim else 1 for family in families) * len(study.items)
    a_set = 3 * (3 * (1 + study.settings.random_sets) + 2 * study.settings.permutations)
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
    files = (
        REPORT,
        results.DISSOCIATION_FILE,
        measurements.MEASUREMENTS_FILE,
        *page.FILES,
    )
    return (stages.STAGES, drawn_item.GRAPHS, *files)


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds something else, before anything is opened."""
    if folder.is_file():
        raise OutputError(f"{folder} is a file; choose another --name or --out")
    if folder.is_dir() and any(folder.iterdir()) and not stages.holds_stages(folder):
        advice = ", so --overwrite leaves it alone" if overwrite else ""
        raise OutputError(
            f"{folder} holds something other than a report of dissociate{advice}; choose another "
            "--name or --out"
        )
    wanted = folder.absolute() / stages.STAGES
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
    drawn = page.figures(found, _routes(found, folder))
    for name in set(page.FILES) - set(drawn):
        (folder / name).unlink(missing_ok=True)  # of an earlier report
    texts = {REPORT: page.report_markdown(found, sorted(drawn), command=command), **drawn}
    for name, text in texts.items():
        with graphs_library.new_file(folder / name, overwrite=True) as file:
            file.write_text(text, encoding="utf-8")
    with graphs_library.new_file(folder / results.DISSOCIATION_FILE, overwrite=True) as file:
        results.write_report(found, file)
    return [REPORT, results.DISSOCIATION_FILE, measurements.MEASUREMENTS_FILE, *sorted(drawn)]


def _routes(found: Report, folder: Path) -> TwoRoutes | None:
    """The two routes of the representative item, features grouped by what their cards say."""
    if found.item is None:
        return None
    return two_routes.routes_of(found, folder, readings=_readings(found, folder))


def _readings(found: Report, folder: Path) -> Readings | None:
    """What the feature cards say; None for a dictionary without cards."""
    if found.item is None or found.dictionary.source != "bundled":
        return None
    book = folder_contents.open_cards(
        graphs_library.load_graph(folder / found.item.graphs[found.item.fact]), None
    )
    return lambda keys: [reading_of(card) for card in book.cards(list(keys))]
