"""The item that is drawn: one kept object; its graphs with their heads go into the folder."""

from __future__ import annotations

from pathlib import Path

from circuit_tracer.attribution.head_loadings import head_loadings
from circuit_tracer.errors import GraphFileError
from circuit_tracer.experiments.dissociation.results import TracedItem
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.steps.tracing import traced
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.study import Progress
from circuit_tracer.graphs.files.atomic import new_folder
from circuit_tracer.graphs.files.storage import load_graph, save_graph
from circuit_tracer.graphs.head_loadings import load_heads, save_heads

GRAPHS = "graphs"
DRAWN = 0.9
"""Node threshold of the graphs to draw: at 0.8 early features are gone."""


def representative(study: Study, given: Answers) -> TracedItem:
    """The spec's own item if it was kept, else the first that was."""
    names = {study.items[i].name: i for i in given.kept}
    item = study.items[names.get(study.spec.representative or "", given.kept[0])]
    first, families = study.spec.families[0], study.spec.measured
    return TracedItem(
        item=item.name,
        value=item.value(first),
        other=item.other[first.answer],
        graphs={family.name: f"{GRAPHS}/{family.name}" for family in families},
        fact=study.facts[0].name,
        judgement=(study.claims or study.judgements)[0].name,
        roles={family.name: dict(study.ask(family, item).roles) for family in families},
        half=item.half,
    )


def draw(
    study: Study,
    given: Answers,
    shown: TracedItem,
    folder: Path,
    on_progress: Progress,
) -> None:
    """Trace and store what is not there, whole, from an earlier run; of claims the true one.

    Raises OutputError where it cannot be written.
    """
    item = next(one for one in study.items if one.name == shown.item)
    for done, family in enumerate(study.spec.measured):
        on_progress(done, len(study.spec.measured))
        place = folder / shown.graphs[family.name]
        if _is_whole(place):
            continue
        pruned = traced(study, given, family, item, study.ask(family, item), node_threshold=DRAWN)
        loadings = head_loadings(study.model, study.dictionary, pruned)
        with new_folder(place, overwrite=True) as partial:
            save_graph(pruned, partial)
            save_heads(loadings, partial)


def _is_whole(folder: Path) -> bool:
    """Whether a graph with its heads can be read."""
    try:
        return load_heads(load_graph(folder), folder) is not None
    except GraphFileError:
        return False
