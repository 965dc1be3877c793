"""All tables of report.md; those of steps 1 to 3 are made here."""

from __future__ import annotations

from collections.abc import Iterator

from circuit_tracer.experiments.dissociation.report.ablation import SET_NAMES
from circuit_tracer.experiments.dissociation.report.intervention_tables import (
    ablation_tables,
    heads_tables,
    store_tables,
    swap_tables,
    truth_tables,
)
from circuit_tracer.experiments.dissociation.report.markdown_table import Table
from circuit_tracer.experiments.dissociation.report.overlap import KINDS
from circuit_tracer.experiments.dissociation.report.plot import shown
from circuit_tracer.experiments.dissociation.results import Report

MOST_INCONSISTENT = 20


def tables(report: Report) -> list[Table]:
    """All that have rows, in the order of the steps."""
    makers = (
        _behaviour,
        _inconsistent,
        _overlap,
        _sets,
        ablation_tables,
        store_tables,
        heads_tables,
        swap_tables,
        truth_tables,
    )
    return [table for make in makers for table in make(report) if table.rows]


def _behaviour(report: Report) -> Iterator[Table]:
    forms = {family.name: family for family in report.families}
    rows = []
    for one in report.behaviour.families:
        family = forms[one.family]
        cells = (shown(one.right, percent=True), shown(one.right_held_out, percent=True))
        turned, lead = shown(one.reversed, percent=True), shown(one.contrast, sign=True)
        rows.append((one.family, family.route, family.example, *cells, turned, lead))
    found = report.behaviour
    how = (
        "answered as the world is in every family"
        if found.keep == "right"
        else "of which the model itself affirms one value and denies the other, whichever it is"
    )
    yield Table(
        "1. What the model answers",
        ("family", "route", "example", "right", "held out", "reversed", "lead (logits)"),
        tuple(rows),
        f"{found.kept} of {found.items} items are kept ({_share(found.kept, found.items)}): those "
        f"{how}. right: share of all items; reversed: affirms exactly the other value; lead: own "
        "over other value, right over wrong verdict, in the kept items.",
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _inconsistent(report: Report) -> Iterator[Table]:
    found = report.behaviour.inconsistent
    rows = [
        (
            one.item,
            one.value,
            one.other,
            ", ".join(name for name, right in one.right.items() if not right),
            _times(one.fact_strength),
            _times(one.judgement_strength),
            one.fails,
            one.weak,
        )
        for one in found[:MOST_INCONSISTENT]
    ]
    more = f" The first {len(rows)} of them." if len(found) > len(rows) else ""
    counted = ", ".join(
        f"{sum(one.weak == name for one in found)} {words}"
        for name, words in (
            ("fact", "with a weak fact route"),
            ("judgement", "with a weak truth check"),
            ("neither", "with neither weak"),
        )
    )
    yield Table(
        "Inconsistent items",
        ("item", "value", "asked with", "wrong in", "fact route", "truth check", "fails", "weak"),
        tuple(rows),
        f"{len(found)} items know the value and judge the statement wrongly, or the reverse: "
        f"{counted}. Routes: activation of their features, times that of the median consistent "
        f"item; weak: below the 10th percentile of those.{more}",
    )


def _times(value: float) -> str:
    return "?" if value != value else f"{value:.2f}"


def _overlap(report: Report) -> Iterator[Table]:
    found = report.overlap
    if found is None:
        return
    rows = []
    for row in found.rows:
        name = f"{row.first} × {row.second}" if row.first else f"all: {KINDS[row.kind]}"
        figures = (shown(row.overlap, percent=True), shown(row.anywhere, percent=True))
        rows.append((name, *figures, _p(row.p), str(row.pairs)))
    yield Table(
        "2. Overlap of the graphs",
        ("pairs", "same feature, same role", "at any token", "p", "pairs of graphs"),
        tuple(rows),
        f"Fact × judgement lies at {shown(found.place)} between floor (0) and ceiling (1). p: "
        "random labels of the same layer overlap as much so often (median of the pairs).",
    )


def _percent(share: float) -> str:
    return "?" if share != share else f"{100 * share:.0f} %"


def _p(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def _sets(report: Report) -> Iterator[Table]:
    rows = []
    for one in sorted(report.sets, key=lambda s: (s.part != "early", "FVS".index(s.name), s.half)):
        leading = [
            f"L{member.layer}/{member.feature} {member.label}".strip() for member in one.members[:3]
        ]
        name = f"{SET_NAMES[one.name]}, {one.part}"
        counts = str(one.half + 1), str(len(one.members))
        shares = _percent(one.covers), _percent(one.random_influence)
        rows.append((name, *counts, *shares, "; ".join(leading)))
    yield Table(
        "3. Route sets",
        ("set", "half", "features", "carried over", "random", "strongest"),
        tuple(rows),
        "Chosen on one half of the objects by mean signed share of the graphs' influence, and "
        "tested on the other half. carried over: share of that half's own such influence that "
        "these features carry. random: influence of the matched random sets, as a share of this "
        "set's.",
    )
