"""The report's tables in short, for a terminal of 80 columns: what the verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from circuit_tracer.experiments.dissociation.report.ablation import PARTS, ROUTES, SET_NAMES
from circuit_tracer.experiments.dissociation.report.heads import head_name
from circuit_tracer.experiments.dissociation.report.intervention_tables import site_name
from circuit_tracer.experiments.dissociation.report.markdown_table import Table
from circuit_tracer.experiments.dissociation.report.overlap import KINDS
from circuit_tracer.experiments.dissociation.report.plot import UNKNOWN, shown
from circuit_tracer.experiments.dissociation.report.swap import family_name, layers_name
from circuit_tracer.experiments.dissociation.results import Report

MOST_HEADS = 3


def brief_tables(report: Report) -> list[Table]:
    """All that have rows, in the order of the steps."""
    makers = (_behaviour, _overlap, _ablation, _stores, _heads, _swap, _truth)
    return [table for make in makers for table in make(report) if table.rows]


def _behaviour(report: Report) -> Iterator[Table]:
    found = report.behaviour
    rows = [
        (one.family, shown(one.right, percent=True), shown(one.contrast, sign=True))
        for one in found.families
    ]
    odd = len(found.inconsistent)
    yield Table(
        "Answers",
        ("family", "right", "lead in logits"),
        tuple(rows),
        f"{found.kept} of {found.items} items are kept; {odd} are inconsistent.",
    )


def _overlap(report: Report) -> Iterator[Table]:
    if report.overlap is None:
        return
    rows = [
        (KINDS[row.kind], shown(row.overlap, percent=True), shown(row.anywhere, percent=True))
        for row in report.overlap.rows
        if not row.first
    ]
    columns = ("overlap of graphs", "same role", "any token")
    yield Table("Overlap", columns, tuple(rows))


def _ablation(report: Report) -> Iterator[Table]:
    found = report.ablation
    if found is None:
        return
    drops = {(cell.part, cell.set, cell.route): cell.drop for cell in found.cells}
    index = {one.part: one for one in found.index}
    rows = []
    for part in PARTS:
        for number, name in enumerate(SET_NAMES):
            cells = [drops.get((part, name, route)) for route in ROUTES]
            known = number == 0 and part in index
            rows.append(
                (
                    f"{part} {name}",
                    *(shown(cell or UNKNOWN, percent=True) for cell in cells),
                    shown(index[part].index) if known else "",
                    shown(index[part].shuffled) if known else "",
                )
            )
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
    rows = [
        (site_name(one), *(shown(drop, percent=True) for drop in (one.fact, one.judgement)))
        for one in found.sites
    ]
    yield Table(
        "Early stores",
        ("evened out at the object", "fact lost", "judgement lost"),
        tuple(rows),
        f"D of the sites that the other half of the objects chose: {shown(found.index)}.",
    )


def _heads(report: Report) -> Iterator[Table]:
    found = report.heads
    if found is None:
        return
    rows = [
        (head_name(one), shown(one.auc), shown(one.flips, percent=True))
        for one in found.ranks[:MOST_HEADS]
    ]
    rows += [
        (f"best {one.heads} together", "", shown(one.chosen, percent=True)) for one in found.flips
    ]
    random = max((one.random_high for one in found.flips), default=float("nan"))
    note = f"Random heads flip at most {100 * random:.0f} %." if random == random else ""
    yield Table("Heads", ("head", "true from false, AUC", "verdicts flipped"), tuple(rows), note)


def _swap(report: Report) -> Iterator[Table]:
    if report.swap is None:
        return
    rows = [
        (layers_name(report, row.layers), family_name(row), shown(row.follows, percent=True))
        for row in report.swap.rows
        if row.how == "everything" and not row.layers.isdigit()
    ]
    columns = ("another object's", "family", "answer follows")
    yield Table("Swap", columns, tuple(rows))


def _truth(report: Report) -> Iterator[Table]:
    """One line a form of fitting: read in itself, and in the other form that it reads worst."""
    found = report.truth
    if found is None or not found.rows:
        return
    rows = []
    for role in ("value", "verdict"):
        for form in dict.fromkeys(row.fitted for row in found.rows):
            here = [
                row
                for row in found.rows
                if (row.fitted, row.role, row.layer) == (form, role, found.best_layer)
                and math.isfinite(row.auc.value)
            ]
            own = next((row.auc for row in here if row.read == form), UNKNOWN)
            others = [row.auc for row in here if row.read != form]
            worst = min(others, key=lambda auc: auc.value, default=UNKNOWN)
            if here:
                rows.append((role, form, shown(own), shown(worst)))
    yield Table(
        "Truth direction",
        ("at the", "fitted in", "read in it", "in the worst other form"),
        tuple(rows),
        f"AUC behind L{found.best_layer}, on objects it was not fitted on; 0.5 is chance.",
    )
