"""The dissociation experiment from its spec to a folder with report, figures and measurements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from circuit_tracer.bundled import bundled_models
from circuit_tracer.experiments.dissociation.report.page import FILES, figures, report_markdown
from circuit_tracer.experiments.dissociation.report.routes.two_routes import TwoRoutes, routes_of
from circuit_tracer.experiments.dissociation.report.terminal import page
from circuit_tracer.experiments.dissociation.results import DISSOCIATION_FILE, Report
from circuit_tracer.experiments.dissociation.run import dissociate
from circuit_tracer.experiments.dissociation.spec import Spec
from circuit_tracer.experiments.dissociation.steps.drawn_item import GRAPHS
from circuit_tracer.experiments.dissociation.study import Settings, Study
from circuit_tracer.graphs import load_graph
from circuit_tracer.graphs.supernodes.grouping import Reading
from circuit_tracer.workbench.card_readings import reading_of
from circuit_tracer.workbench.folder_contents import open_cards
from circuit_tracer.workbench.opening import Opened, open_pair
from circuit_tracer.workbench.report_folder import Experiment
from circuit_tracer.workbench.slugs import slug_of
from circuit_tracer.workbench.token_notes import note_forms


def open_study(
    spec: Spec,
    settings: Settings,
    *,
    model: str | None = None,
    transcoders: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
) -> Study:
    """The experiment of a spec on its own model and dictionary, or on others."""
    opened = open_pair(
        model or spec.model,
        transcoders or dictionary_for(spec, model),
        device=device,
        dtype=dtype,
        threads=threads,
    )
    return study_on(opened, spec, settings)


def study_on(opened: Opened, spec: Spec, settings: Settings) -> Study:
    """The experiment of a spec on an opened model and dictionary."""
    words = (word for family in spec.families for word in family.words or ())
    note_forms(opened.model, words)
    return Study(opened.model, opened.dictionary, spec, settings, opened.labels)


def folder_name(spec: Spec, model: str | None = None) -> str:
    """What the report's folder is called: dissociate-SPEC, and -MODEL for another one."""
    if model in (None, spec.model):
        return f"dissociate-{spec.name}"
    return f"dissociate-{spec.name}-{slug_of(str(model).rpartition('/')[2], empty='model')}"


def dictionary_for(spec: Spec, model: str | None) -> str | None:
    """The spec's dictionary; for another model only where the name means something for it too."""
    if model in (None, spec.model, *bundled_models()) or spec.transcoders == "neurons":
        return spec.transcoders
    return None


def _routes(report: Report, folder: Path) -> TwoRoutes | None:
    """The two routes of the representative item, features grouped by what their cards say."""
    if report.item is None:
        return None
    if report.dictionary.source != "bundled":
        return routes_of(report, folder)
    book = open_cards(load_graph(folder / report.item.graphs[report.item.fact]), None)

    def readings(features: Sequence[tuple[int, int]]) -> list[Reading]:
        return [reading_of(card) for card in book.cards(features)]

    return routes_of(report, folder, readings=readings)


EXPERIMENT = Experiment[Report](
    command="dissociate",
    file=DISSOCIATION_FILE,
    figures=FILES,
    measure=dissociate,
    draw=lambda report, folder: figures(report, _routes(report, folder)),
    markdown=report_markdown,
    page=page,
    folders=(GRAPHS,),
)
