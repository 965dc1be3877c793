"""Test a traced graph by intervening and put the report into its folder."""

from __future__ import annotations

import logging
from pathlib import Path

from circuit_tracer.bundled import bundled_transcoders
from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.kit.study import Estimate
from circuit_tracer.experiments.trust.results import Trust
from circuit_tracer.experiments.trust.results_file import (
    TRUST_FIGURE,
    TRUST_FILE,
    as_stored,
    rests_on_more,
    stored_report,
)
from circuit_tracer.experiments.trust.run import trust as measured
from circuit_tracer.experiments.trust.spec import TrustSettings
from circuit_tracer.graphs import PrunedGraph
from circuit_tracer.progress import OnStage, silent
from circuit_tracer.transcoders.dictionary import Dictionary
from circuit_tracer.transcoders.opening import open_transcoders
from circuit_tracer.workbench.folders import draw_again, figures_in, write_report
from circuit_tracer.workbench.opening import Opened

logger = logging.getLogger(__name__)


def measure(
    opened: Opened,
    pruned: PrunedGraph,
    settings: TrustSettings,
    other: Dictionary | None,
    report: OnStage = silent,
    least_noted: float | None = 0.0,
) -> Trust:
    """The trust report of a graph, compared with that of an `other` dictionary if there is one.

    What it takes is estimated and noted beforehand where somebody reads notes and that is more than
    `least_noted` seconds; None for a brief report of a small graph, of which the estimate would be
    a third.
    """
    is_noted = least_noted is not None and logger.isEnabledFor(logging.INFO)

    def estimated(expected: Estimate) -> None:
        if expected.seconds >= (least_noted or 0.0):
            logger.info(f"trust: {expected}")

    return measured(
        opened.model,
        opened.dictionary,
        pruned,
        settings,
        other=other,
        on_stage=lambda words: report(words, 0, 0),
        on_estimate=estimated if is_noted else None,
    )


def other_dictionary(opened: Opened, pruned: PrunedGraph, name: str = "auto") -> Dictionary | None:
    """A second dictionary of the model: the one named, or the bundled one; None for neurons.

    Raises DictionaryError for one that cannot be opened, UsageError for the graph's own.
    """
    info = pruned.graph.info
    if name == "none" or not isinstance(opened.dictionary, Dictionary):
        return None
    if name == "auto":
        own_name = info.dictionary.name.rpartition("/")[2]
        bundled = info.model.source == "bundled"
        names = bundled_transcoders(info.model.name) if bundled else []
        others = [other for other in names if other != own_name]
        if not others:
            return None
        name = others[0]
    dictionary = open_transcoders(name, model=opened.model)
    if dictionary.identity.sha256 == opened.dictionary.identity.sha256:
        raise UsageError(f"`other` {name} is the graph's own dictionary; name another one, or none")
    return dictionary


def write_trust(
    trust: Trust, pruned: PrunedGraph, folder: Path, *, max_nodes: int = 60, overwrite: bool = False
) -> list[str]:
    """Write the report into a traced folder and draw the folder's figures again with its panel.

    A stored report that rests on more stays, and so do figures that were drawn otherwise, unless
    `overwrite`. Returns the names of the files that were written.
    """
    stored = stored_report(folder, pruned)
    if not overwrite and stored is not None and rests_on_more(stored, as_stored(trust)):
        logger.info(f"{folder / TRUST_FILE} rests on more and stays; `overwrite` replaces it")
        return []
    figures = figures_in(pruned, folder, max_nodes=max_nodes, all_of_them=overwrite)
    write_report(trust, folder)
    drawn = draw_again(pruned, folder, figures, max_nodes=max_nodes)
    return [TRUST_FILE, *([] if trust.settings.quick else [TRUST_FIGURE]), *drawn]
