"""`dissociate` in the terminal: the verdict, then the tables that it rests on, in 80 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table as RichTable

from circuit_tracer.experiments.dissociation.report import names
from circuit_tracer.experiments.dissociation.report.compare import Comparison, comparison_table
from circuit_tracer.experiments.dissociation.report.tables import measured
from circuit_tracer.experiments.dissociation.results import Behaviour, Report
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIM_ROLES,
    PARTS,
    ROUTES,
    SETS,
    AblationResult,
    HeadsResult,
    OverlapResult,
    StoreResult,
    SwapResult,
    TruthResult,
)
from circuit_tracer.experiments.kit.tables import (
    MARKS,
    Table,
    rich_table,
    screen,
    shares,
    signed,
    verdict_text,
)
from circuit_tracer.graphs.bootstrap import UNKNOWN
from circuit_tracer.render.numbers import whole_percent, with_interval
from circuit_tracer.render.terminal import WIDTH

MOST_HEADS = 3


def page(report: Report, *, width: int = WIDTH) -> RenderableType:
    """The whole report on a few screens."""
    verdict = report.verdict
    findings = ((*MARKS[one.holds], f"{one.name}: {one.sentence}") for one in verdict.findings)
    head = verdict_text(verdict.headline, findings, width=width, paragraph=verdict.paragraph)
    return screen(head, brief_tables(report), report.notes, width=width)


def comparison_page(found: Comparison) -> RichTable:
    """One line a figure, one column a model."""
    return rich_table(comparison_table(found))


# The tables in short


def brief_tables(report: Report) -> list[Table]:
    """The report's tables in short: what the verdict rests on."""
    return measured(
        report,
        behaviour=_behaviour,
        overlap=_overlap,
        ablation=_ablation,
        stores=_stores,
        heads=_heads,
        swap=_swap,
        truth=_truth,
    )


def _behaviour(report: Report, found: Behaviour) -> Iterator[Table]:
    yield Table(
        "Answers",
        ("family", "right", "lead in logits"),
        tuple((one.family, *shares(one.right), *signed(one.contrast)) for one in found.families),
        f"{found.kept} of {found.items} items are kept; {len(found.inconsistent)} are "
        "inconsistent.",
    )


def _overlap(report: Report, found: OverlapResult) -> Iterator[Table]:
    pooled = found.pooled.items()
    rows = [(names.KINDS[kind], *shares(row.overlap, row.anywhere)) for kind, row in pooled]
    yield Table("Overlap", ("overlap of graphs", "same role", "any token"), tuple(rows))


def _ablation(report: Report, found: AblationResult) -> Iterator[Table]:
    rows = []
    for part in PARTS:
        one = found.by_part.get(part)
        figures = [] if one is None else [with_interval(one.index), with_interval(one.shuffled)]
        for name in SETS:
            lost = (found.drops.get((part, name, route), UNKNOWN) for route in ROUTES)
            rows.append((f"{part} {name}", *shares(*lost), *(figures or ("", ""))))
            figures = []
    yield Table(
        "Ablation",
        ("ablated", "fact lost", "judgement lost", "D", "shuffled"),
        tuple(rows),
        "F: features of the fact route alone, V: of the judgement's, S: of both; early at the "
        "object. Tested on objects they were not chosen on. shuffled: D with shuffled labels.",
    )


def _stores(report: Report, found: StoreResult) -> Iterator[Table]:
    yield Table(
        "Early stores",
        ("mean-ablated at the object", "fact lost", "judgement lost"),
        tuple((names.site(one), *shares(one.fact, one.judgement)) for one in found.sites),
        f"D of the sites that the other half of the objects chose: {with_interval(found.index)}.",
    )


def _heads(report: Report, found: HeadsResult) -> Iterator[Table]:
    leading = found.ranks[:MOST_HEADS]
    rows = [(names.head(one), with_interval(one.auc), *shares(one.flips)) for one in leading]
    rows += [(f"best {one.heads} together", "", *shares(one.chosen)) for one in found.flips]
    random = max((one.random_high for one in found.flips), default=math.nan)
    note = f"Random heads flip at most {whole_percent(random)}." if random == random else ""
    yield Table("Heads", ("head", "true from false, AUC", "verdicts flipped"), tuple(rows), note)


def _swap(report: Report, found: SwapResult) -> Iterator[Table]:
    rows = [
        (names.layers(report, row.layers), names.family(row), *shares(row.follows))
        for row in found.rows
        if row.how == "everything" and not row.layers.isdigit()
    ]
    yield Table("Swap", ("another object's", "family", "answer follows"), tuple(rows))


def _truth(report: Report, found: TruthResult) -> Iterator[Table]:
    """One line a form of fitting: read in itself, and in the other form that it reads worst."""
    known = [row for row in found.rows if row.layer == found.best_layer]
    known = [row for row in known if math.isfinite(row.auc.value)]
    rows = []
    for role in CLAIM_ROLES:
        for form in dict.fromkeys(row.fitted for row in known if row.role == role):
            here = {row.read: row.auc for row in known if (row.fitted, row.role) == (form, role)}
            own = here.pop(form, UNKNOWN)
            worst = min(here.values(), key=lambda auc: auc.value, default=UNKNOWN)
            rows.append((role, form, with_interval(own), with_interval(worst)))
    yield Table(
        "Truth direction",
        ("at the", "fitted in", "read in it", "in the worst other form"),
        tuple(rows),
        f"AUC after {names.layer(found.best_layer)}, on objects it was not fitted on; 0.5 is "
        "chance.",
    )
