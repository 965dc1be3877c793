"""Every measurement as one row of a Parquet table: what report and figures are made from.

Columns: step, item, family, claim ("true", "false" or ""), set, layer, head, role, half (the one
the item is in), value. The step says what a value is: "answer" logits (true minus other),
"ablation" logits (own minus other), "share" a feature's signed share of influence, "overlap" a
Jaccard index, "term" a part of a head's score, "swap" logits under a patch (claims: of the verdict
for true; what was asked about is in `claim`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from circuit_tracer.experiments.dissociation.step_results import CLAIM_ROLES, ROUTES, SET_PARTS
from circuit_tracer.experiments.dissociation.steps.ablation import Ablations
from circuit_tracer.experiments.dissociation.steps.behaviour import Answers
from circuit_tracer.experiments.dissociation.steps.heads import Terms
from circuit_tracer.experiments.dissociation.steps.sets import HalfSets
from circuit_tracer.experiments.dissociation.steps.stores import MeanAblations
from circuit_tracer.experiments.dissociation.steps.swap import SwapMeasurements
from circuit_tracer.experiments.dissociation.steps.tracing import ItemGraphs
from circuit_tracer.experiments.dissociation.study import Study
from circuit_tracer.experiments.kit.stages import Row, write_rows
from circuit_tracer.graphs.graph import Floats

_COLUMNS = ("step", "item", "family", "claim", "set", "layer", "head", "role", "half", "value")


@dataclass(frozen=True)
class Found:
    """What the stages measured."""

    answers: Answers
    graphs: tuple[ItemGraphs, ...] = ()
    sets: tuple[HalfSets, HalfSets] | None = None
    """Chosen on half 0 and on half 1."""
    ablations: Ablations | None = None
    means: MeanAblations | None = None
    terms: Terms | None = None
    swaps: SwapMeasurements | None = None


def write_measurements(study: Study, found: Found, folder: Path) -> None:
    """The table, in the report folder."""
    write_rows(_rows(study, found), _COLUMNS, folder)


def _rows(study: Study, found: Found) -> Iterator[Row]:
    for item, row in _numbered(found):
        one = study.items[item]
        yield {"item": one.name, "half": one.half, "claim": "", **row}


def _numbered(found: Found) -> Iterator[tuple[int, Row]]:
    """Rows with the item's number."""
    for one in found.answers.families:
        for claim, values in (("true", one.true_claim), ("false", one.false_claim)):
            row = {"step": "answer", "family": one.family}
            row["claim"] = claim if len(one.false_claim) else ""
            yield from ((item, {**row, "value": value}) for item, value in enumerate(values))
    for graphs in found.graphs:
        yield from ((graphs.item, row) for row in _graph_rows(graphs))
    if found.ablations is not None:
        of = found.ablations
        sets = [{"set": name} for name in ("none", *of.names)]
        table = np.concatenate([of.before[..., None], of.after], axis=2)
        yield from _contrast_rows("ablation", of, sets, table)
    if found.means is not None:
        stores = found.means
        # `role` says whose means were put in: the object's own half's or the other half's.
        sites: list[Row] = [{"set": "none"}]
        sites += [
            {"set": module, "layer": layer, "role": role}
            for role in ("own half", "other half")
            for module, layer in zip(stores.modules, stores.layers, strict=True)
        ]
        table = np.concatenate([stores.before[..., None], stores.own, stores.other], axis=2)
        yield from _contrast_rows("store", stores, sites, table)
    if found.terms is not None:
        yield from _term_rows(found.terms)
    if found.swaps is not None:
        yield from _swap_rows(found.swaps)


def _graph_rows(graphs: ItemGraphs) -> Iterator[Row]:
    for route in ROUTES:
        columns = (graphs.part, graphs.layer, graphs.feature, getattr(graphs, route))
        for part, layer, feature, value in zip(*columns, strict=True):
            row = {"step": "share", "family": route, "set": f"{SET_PARTS[part]} {feature}"}
            yield {**row, "layer": layer, "value": value}
    for one in graphs.overlaps:
        row = {"step": "overlap", "family": one.first, "set": one.second}
        yield {**row, "role": one.kind, "value": one.overlap}


def _contrast_rows(
    step: str, found: Ablations | MeanAblations, sets: Sequence[Row], table: Floats
) -> Iterator[tuple[int, Row]]:
    """From (families, items, sets) contrasts."""
    for (family, item, of), value in np.ndenumerate(table):
        row = {"step": step, "family": found.families[family], **sets[of], "value": value}
        yield found.items[item], row


def _term_rows(found: Terms) -> Iterator[tuple[int, Row]]:
    for (number, layer, head, role), value in np.ndenumerate(found.values):
        row = {"step": "term", "family": found.families[number], "layer": layer, "head": head}
        claim = {"claim": "false" if number % 2 else "true", "role": CLAIM_ROLES[role]}
        yield found.items[number], {**row, **claim, "value": value}


def _swap_rows(found: SwapMeasurements) -> Iterator[tuple[int, Row]]:
    for one in found.families:
        for role, table in (("own", one.own), ("donor", one.donor)):
            row = {"step": "swap", "family": one.family, "claim": one.names, "role": role}
            for (patch, item), value in np.ndenumerate(table):
                yield found.items[item], {**row, "set": found.patches[patch], "value": value}
