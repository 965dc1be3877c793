"""Several models side by side: does the experiment tell their routes apart?

From the reports of one spec (or of specs whose families have the same names): the swap test, the
dissociation index of early stores and late read-outs, and the truth direction by layer, one panel
a form of question. Two models are told apart by a figure if their intervals do not meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.report.page import markdown_table
from circuit_tracer.experiments.dissociation.report.plot import (
    UNKNOWN,
    Scale,
    ends,
    heading,
    page,
    page_title,
    paragraph,
    shown,
)
from circuit_tracer.experiments.dissociation.report.rows import Panel, Row, draw_panel, line_of_text
from circuit_tracer.experiments.dissociation.report.truth import (
    BELOW,
    HEIGHT,
    LINES,
    NAMES,
    Line,
    auc_span,
    draw_lines,
    rows_of,
)
from circuit_tracer.experiments.dissociation.results import Part, Report
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.axes import fitting, ticks

Role = Literal["value", "verdict"]

WIDTH = 800.0
LABELS = 214.0
NUMBERS = 112.0
LEFT = 34.0
GAP = 24.0
_Wanted = tuple[str, Callable[[Report], Interval | None], bool]
"""A measure's name, what gives it of a report, and whether it is a share."""
ROLES: tuple[Role, ...] = ("value", "verdict")


@dataclass(frozen=True)
class Measure:
    """One figure of every model."""

    name: str
    values: tuple[Interval, ...]
    """In the order of the reports; NaN where it was not measured."""
    percent: bool

    @property
    def is_apart(self) -> bool:
        """Whether no two models' intervals meet."""
        known = [one for one in self.values if math.isfinite(one.value)]
        return len(known) > 1 and all(
            a.high < b.low or b.high < a.low for a, b in combinations(known, 2)
        )


@dataclass(frozen=True)
class Comparison:
    """The figure and the table."""

    models: tuple[str, ...]
    svg: str
    markdown: str
    measures: tuple[Measure, ...]


def compare_dissociations(reports: Sequence[Report]) -> Comparison:
    """Two reports or more as one figure and one table. Raises UsageError for fewer."""
    if len(reports) < 2:
        raise UsageError("a comparison needs two reports or more; give two dissociation.json files")
    names = _names(reports)
    measures = _measures(reports)
    columns, rows = comparison_rows(names, measures)
    table = markdown_table(columns, rows)
    return Comparison(tuple(names), _svg(reports, names, measures), table, tuple(measures))


def comparison_rows(
    names: Sequence[str], measures: Sequence[Measure]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and cells: one line a figure, one column a model, whether they are apart."""
    rows = [
        (
            one.name,
            *(
                shown(value, percent=one.percent, sign=one.name.startswith("D "))
                for value in one.values
            ),
            "apart" if one.is_apart else "not apart",
        )
        for one in measures
    ]
    return ("figure", *names, "intervals"), rows


def _names(reports: Sequence[Report]) -> list[str]:
    """The models' names; with the report's where a model comes twice, numbered if need be."""
    models = [one.model.name for one in reports]
    names = [
        name if models.count(name) == 1 else f"{name}, {one.name}"
        for name, one in zip(models, reports, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({number})"
        for number, name in enumerate(names, start=1)
    ]


def _measures(reports: Sequence[Report]) -> list[Measure]:
    wanted: list[_Wanted] = [
        ("Judgement follows a swapped fact", lambda one: _swap(one, "completed"), True),
        (
            "The same, value as it affirms",
            lambda one: _swap(one, "affirmed", "completed"),
            True,
        ),
        ("D of early stores", lambda one: one.stores.index if one.stores else None, False),
        ("D of early feature sets", lambda one: _index(one, "early"), False),
        ("D of late read-outs", lambda one: _index(one, "late"), False),
    ]
    wanted += _truth_measures(reports)
    found = [
        Measure(name, tuple(of(report) or UNKNOWN for report in reports), percent)
        for name, of, percent in wanted
    ]
    return [one for one in found if any(math.isfinite(value.value) for value in one.values)]


def _swap(report: Report, *names: str) -> Interval | None:
    """Of all truth checks, early stores patched; the first of `names` that was measured."""
    rows = report.swap.rows if report.swap else ()
    found = {
        row.names: row.follows
        for row in rows
        if (row.family, row.layers, row.how) == ("claims", "early", "everything")
    }
    return next((found[name] for name in names if name in found), None)


def _index(report: Report, part: Part) -> Interval | None:
    for one in report.ablation.index if report.ablation else ():
        if one.part == part:
            return one.index
    return None


def _families(reports: Sequence[Report]) -> list[str]:
    """The forms of question in which any truth direction was read, the first that it was fitted in
    before the others."""
    rows = [row for one in reports if one.truth for row in one.truth.rows]
    return list(dict.fromkeys([*(row.fitted for row in rows[:1]), *(row.read for row in rows)]))


def _truth_measures(reports: Sequence[Report]) -> list[_Wanted]:
    """Of every form, at both places, behind each layer at which some model reads best."""
    forms = _families(reports)
    layers = sorted({one.truth.best_layer for one in reports if one.truth})
    return [
        (
            f"Truth in {read}, at the {role}, L{layer}",
            partial(_truth, fitted=forms[0], read=read, role=role, layer=layer),
            False,
        )
        for role in ROLES
        for layer in layers
        for read in forms
    ]


def _truth(report: Report, fitted: str, read: str, role: Role, layer: int) -> Interval | None:
    """Fitted in one form and read in another."""
    rows = rows_of(report.truth, fitted, read, role) if report.truth else []
    return next((row.auc for row in rows if row.layer == layer), None)


def _svg(reports: Sequence[Report], names: Sequence[str], measures: Sequence[Measure]) -> str:
    parts, y = page_title(
        "One experiment, several models",
        f"{reports[0].question}",
        WIDTH,
    )
    bottom = y + 18
    for panel in _panels(names, measures):
        drawn, bottom = draw_panel(panel, bottom)
        parts.append(drawn)
        bottom += 20
    lines, bottom = _truth_panels(reports, names, bottom)
    apart = "; ".join(one.name for one in measures if one.is_apart) or "of none"
    fitted = f'"{_families(reports)[0]}"' if lines else "one form of question"
    note, y = paragraph(
        f"95 % intervals over objects. Intervals do not meet: {apart}. The truth direction is "
        f"fitted in {fitted} on half of the objects and read on the others; 1 tells true claims "
        "from false, 0 takes each for the other, 0.5 is chance. Bands: intervals.",
        0,
        bottom + 6,
        WIDTH,
    )
    return page("Dissociation in several models", [*parts, *lines, note], WIDTH, y)


def _panels(names: Sequence[str], measures: Sequence[Measure]) -> list[Panel]:
    """Shares on one scale, indices on another."""
    panels = []
    for percent in (True, False):
        chosen = [m for m in measures if m.percent == percent and not m.name.startswith("Truth")]
        if not chosen:
            continue
        low, high = (0.0, 1.0)
        if not percent:
            values = [x for one in chosen for x in ends(*one.values)]
            low, high = fitting(values, low=-0.5, high=1.0, step=0.5)
        rows = []
        for one in chosen:
            rows += [line_of_text(one.name)] if len(chosen) > 1 else []
            rows += [
                Row(name, value, "shared") for name, value in zip(names, one.values, strict=True)
            ]
        panels.append(
            Panel(
                name=chosen[0].name
                if len(chosen) == 1
                else "Share of items"
                if percent
                else "Dissociation index",
                rows=rows,
                scale=Scale(LABELS, WIDTH - NUMBERS - 10, low, high),
                ticks=ticks(low, high, 0.25 if percent else 0.5),
                percent=percent,
                sign=not percent,
                strong=None if percent else 0.0,
                name_width=LABELS,
            )
        )
    return panels


def _truth_panels(
    reports: Sequence[Report], names: Sequence[str], y: float
) -> tuple[list[str], float]:
    """One panel a form of question, two in a row; a line a model."""
    families = _families(reports)
    parts: list[str] = []
    if not families:
        return parts, y
    role = next(report.truth.best_role for report in reports if report.truth)
    values = [
        row.auc.low
        for one in reports
        if one.truth
        for row in one.truth.rows
        if row.role == role and math.isfinite(row.auc.low)
    ]
    span = auc_span(values)
    wide = (WIDTH - 2 * (LEFT + NAMES) - GAP) / 2
    for number, read in enumerate(families):
        left = LEFT + (number % 2) * (LEFT + wide + NAMES + GAP)
        top = y + (number // 2) * (HEIGHT + BELOW)
        parts.append(heading(f"AUC of truth in {read}, at the {role}", left, top))
        lines = [
            Line(name, rows, *LINES[i % len(LINES)])
            for i, (name, report) in enumerate(zip(names, reports, strict=True))
            if report.truth and (rows := rows_of(report.truth, families[0], read, role))
        ]
        parts += draw_lines(lines, left, wide, top + 10, span)
    return parts, y + math.ceil(len(families) / 2) * (HEIGHT + BELOW)
