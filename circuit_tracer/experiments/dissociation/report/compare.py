"""Several models side by side: does the experiment tell their routes apart?

From the reports of one spec (or of specs whose families have the same names): the swap test, the
dissociation index of early stores and late read-outs, and the truth direction by layer, one panel
a form of question. A figure tells two models apart if their intervals do not meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import Any

from circuit_tracer.errors import UsageError
from circuit_tracer.experiments.dissociation.report.charts import SHARES
from circuit_tracer.experiments.dissociation.report.names import SHARED
from circuit_tracer.experiments.dissociation.report.truth import auc_axis, truth_panel
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.step_results import (
    CLAIM_ROLES,
    CLAIMS,
    Asked,
    ClaimRole,
    Part,
)
from circuit_tracer.experiments.kit.tables import Table
from circuit_tracer.graphs.bootstrap import UNKNOWN, Interval
from circuit_tracer.render.chart import LinePanel, Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import Axis
from circuit_tracer.render.numbers import with_interval


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
    """The figure, and what the table shows."""

    models: tuple[str, ...]
    svg: str
    measures: tuple[Measure, ...]

    def record(self) -> dict[str, Any]:
        """The figures of every model as JSON values."""
        measures = [{**vars(one), "apart": one.is_apart} for one in self.measures]
        return {"models": list(self.models), "measures": measures}


def compare_dissociations(reports: Sequence[Report]) -> Comparison:
    """Two reports or more as one figure and one table. Raises UsageError for fewer."""
    if len(reports) < 2:
        raise UsageError("a comparison needs two reports or more; give two dissociation.json files")
    names = _names(reports)
    measures = _measures(reports)
    return Comparison(tuple(names), _svg(reports, names, measures), tuple(measures))


def comparison_table(found: Comparison) -> Table:
    """One line a figure, one column a model, whether they are apart."""
    rows = []
    for one in found.measures:
        is_index = one.name.startswith("D ")
        cells = [with_interval(v, percent=one.percent, sign=is_index) for v in one.values]
        rows.append((one.name, *cells, "apart" if one.is_apart else "not apart"))
    note = "95 % intervals over objects; apart: no two models' intervals meet."
    return Table("", ("figure", *found.models, "intervals"), tuple(rows), note)


def _names(reports: Sequence[Report]) -> list[str]:
    """Names that differ: the model's, with the report's where two are alike, else a number."""
    names = [one.model.name for one in reports]
    numbers = (f" ({number})" for number in range(1, len(reports) + 1))
    for endings in ([f", {one.name}" for one in reports], list(numbers)):
        pairs = zip(names, endings, strict=True)
        names = [name if names.count(name) == 1 else name + end for name, end in pairs]
    return names


def _measures(reports: Sequence[Report]) -> list[Measure]:
    """All that some report has. Truth is read in every form, at both places, after each layer at
    which some model reads best."""

    def measure(
        name: str, of: Callable[[Report], Interval | None], *, percent: bool = False
    ) -> Measure:
        return Measure(name, tuple(of(report) or UNKNOWN for report in reports), percent)

    measures = [
        measure("Judgement follows a swapped fact", partial(_swap, ("completed",)), percent=True),
        measure(
            "The same, value as it affirms", partial(_swap, ("affirmed", "completed")), percent=True
        ),
        measure("D of early stores", lambda one: one.stores.index if one.stores else None),
        measure("D of early feature sets", partial(_index, "early")),
        measure("D of late read-outs", partial(_index, "late")),
    ]
    forms = _families(reports)
    layers = sorted({one.truth.best_layer for one in reports if one.truth})
    for role, layer, read in product(CLAIM_ROLES, layers, forms):
        name = f"Truth in {read}, at the {role}, L{layer}"
        measures.append(measure(name, partial(_truth, forms[0], read, role, layer)))
    return [one for one in measures if any(math.isfinite(value.value) for value in one.values)]


def _swap(wanted: Sequence[Asked], report: Report) -> Interval | None:
    """Of all truth checks, early stores patched; the first of the wanted that was measured."""
    rows = report.swap.early if report.swap else ()
    follows = {row.names: row.follows for row in rows if row.family == CLAIMS}
    return next((follows[name] for name in wanted if name in follows), None)


def _index(part: Part, report: Report) -> Interval | None:
    index = report.ablation.by_part.get(part) if report.ablation else None
    return index.index if index else None


def _families(reports: Sequence[Report]) -> list[str]:
    """The forms of question in which any truth direction was read, the first that it was fitted in
    before the others."""
    rows = [row for one in reports if one.truth for row in one.truth.rows]
    return list(dict.fromkeys([*(row.fitted for row in rows[:1]), *(row.read for row in rows)]))


def _truth(fitted: str, read: str, role: ClaimRole, layer: int, report: Report) -> Interval | None:
    """Fitted in one form and read in another."""
    rows = report.truth.by_layer(fitted, read, role) if report.truth else []
    return next((row.auc for row in rows if row.layer == layer), None)


def _svg(reports: Sequence[Report], names: Sequence[str], measures: Sequence[Measure]) -> str:
    sheet = Sheet("One experiment, several models", reports[0].question)
    for panel in _panels(names, measures):
        sheet.rows(panel, names=214)
        sheet.y += 16
    lines = _truth_panels(reports, names)
    sheet.lines(*lines, across=2)
    apart = "; ".join(one.name for one in measures if one.is_apart) or "of none"
    fitted = f'"{_families(reports)[0]}"' if lines else "one form of question"
    sheet.note(
        f"95 % intervals over objects. Intervals do not meet: {apart}. The truth direction is "
        f"fitted in {fitted} on half of the objects and read on the others; 1 tells true claims "
        "from false, 0 takes each for the other, 0.5 is chance. Bands: intervals."
    )
    return sheet.svg("Dissociation in several models")


def _panels(names: Sequence[str], measures: Sequence[Measure]) -> list[RowPanel]:
    """Shares on one scale, indices on another."""
    panels = []
    for percent, title in ((True, "Share of items"), (False, "Dissociation index")):
        chosen = [m for m in measures if m.percent == percent and not m.name.startswith("Truth")]
        rows = []
        for one in chosen:
            rows += [Row(one.name)] if len(chosen) > 1 else []
            rows += [Row(name, v, SHARED) for name, v in zip(names, one.values, strict=True)]
        values = [value for one in chosen for value in one.values]
        if chosen:
            panels.append(
                RowPanel(
                    name=chosen[0].name if len(chosen) == 1 else title,
                    rows=rows,
                    axis=SHARES if percent else Axis.covering(values, -0.5, 1.0, 0.5),
                    sign=not percent,
                    strong=None if percent else 0.0,
                )
            )
    return panels


def _truth_panels(reports: Sequence[Report], names: Sequence[str]) -> list[LinePanel]:
    """One panel a form of question; a line a model."""
    families = _families(reports)
    truths = [report.truth for report in reports]
    role = next((one.best_role for one in truths if one), CLAIM_ROLES[0])
    rows = [row for one in truths if one for row in one.rows if row.role == role]
    axis = auc_axis(row.auc.low for row in rows)
    panels = []
    for read in families:
        lines = [one.by_layer(families[0], read, role) if one else [] for one in truths]
        named = list(zip(names, lines, strict=True))
        panels.append(truth_panel(f"AUC of truth in {read}, at the {role}", named, axis))
    return panels
