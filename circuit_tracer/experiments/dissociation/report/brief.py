"""The report's tables in short, for a terminal of 80 columns: what the verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from circuit_tracer.experiments.dissociation.report.names import (
    KINDS,
    PARTS,
    ROUTES,
    SET_NAMES,
    family_name,
    head_name,
    layer_name,
    layers_name,
    site_name,
)
from circuit_tracer.experiments.dissociation.report.tables import shares, signed
from circuit_tracer.experiments.dissociation.report.truth import ROLES
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.bootstrap import UNKNOWN
from circuit_tracer.render.numbers import whole_percent, with_interval

MOST_HEADS = 3


def brief_tables(report: Report) -> list[Table]:
    """All that have rows, in the order of the steps."""
    makers = (_behaviour, _overlap, _ablation, _stores, _heads, _swap, _truth)
    return [table for make in makers for table in make(report) if table.rows]


def _behaviour(report: Report) -> Iterator[Table]:
    found = report.behaviour
    yield Table(
        "Answers",
        ("family", "right", "lead in logits"),
        tuple((one.family, *shares(one.right), *signed(one.contrast)) for one in found.families),
        f"{found.kept} of {found.items} items are kept; {len(found.inconsistent)} are "
        "inconsistent.",
    )


def _overlap(report: Report) -> Iterator[Table]:
    rows = report.overlap.rows if report.overlap else ()
    yield Table(
        "Overlap",
        ("overlap of graphs", "same role", "any token"),
        tuple(
            (KINDS[row.kind], *shares(row.overlap, row.anywhere)) for row in rows if not row.first
        ),
    )


def _ablation(report: Report) -> Iterator[Table]:
    found = report.ablation
    if found is None:
        return
    drops = {(cell.part, cell.set, cell.route): cell.drop for cell in found.cells}
    index = {one.part: one for one in found.index}
    rows = []
    for part in PARTS:
        one = index.get(part)
        figures = (
            ("", "") if one is None else (with_interval(one.index), with_interval(one.shuffled))
        )
        for name in SET_NAMES:
            lost = shares(*(drops.get((part, name, route), UNKNOWN) for route in ROUTES))
            rows.append((f"{part} {name}", *lost, *figures))
            figures = ("", "")
    yield Table(
        "Ablation",
        ("ablated", "fact lost", "judgement lost", "D", "shuffled"),
        tuple(rows),
        "F: features of the fact route alone, V: of the judgement's, S: of both; early at the "
        "object. Tested on objects they were not chosen on. shuffled: D with shuffled labels.",
    )


def _stores(report: Report) -> Iterator[Table]:
    found = report.stores
    if found is None:
        return
    yield Table(
        "Early stores",
        ("mean-ablated at the object", "fact lost", "judgement lost"),
        tuple((site_name(one), *shares(one.fact, one.judgement)) for one in found.sites),
        f"D of the sites that the other half of the objects chose: {with_interval(found.index)}.",
    )


def _heads(report: Report) -> Iterator[Table]:
    found = report.heads
    if found is None:
        return
    leading = found.ranks[:MOST_HEADS]
    rows = [(head_name(one), with_interval(one.auc), *shares(one.flips)) for one in leading]
    rows += [(f"best {one.heads} together", "", *shares(one.chosen)) for one in found.flips]
    random = max((one.random_high for one in found.flips), default=math.nan)
    note = f"Random heads flip at most {whole_percent(random)}." if random == random else ""
    yield Table("Heads", ("head", "true from false, AUC", "verdicts flipped"), tuple(rows), note)


def _swap(report: Report) -> Iterator[Table]:
    rows = [
        (layers_name(report, row.layers), family_name(row), *shares(row.follows))
        for row in (report.swap.rows if report.swap else ())
        if row.how == "everything" and not row.layers.isdigit()
    ]
    yield Table("Swap", ("another object's", "family", "answer follows"), tuple(rows))


def _truth(report: Report) -> Iterator[Table]:
    """One line a form of fitting: read in itself, and in the other form that it reads worst."""
    found = report.truth
    if found is None:
        return
    known = [
        row for row in found.rows if row.layer == found.best_layer and math.isfinite(row.auc.value)
    ]
    rows = []
    for role in ROLES:
        for form in dict.fromkeys(row.fitted for row in known if row.role == role):
            here = [row for row in known if (row.fitted, row.role) == (form, role)]
            own = next((row.auc for row in here if row.read == form), UNKNOWN)
            others = [row.auc for row in here if row.read != form]
            worst = min(others, key=lambda auc: auc.value, default=UNKNOWN)
            rows.append((role, form, with_interval(own), with_interval(worst)))
    yield Table(
        "Truth direction",
        ("at the", "fitted in", "read in it", "in the worst other form"),
        tuple(rows),
        f"AUC after {layer_name(found.best_layer)}, on objects it was not fitted on; 0.5 is "
        "chance.",
    )
