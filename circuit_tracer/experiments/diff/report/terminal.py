"""`diff` in the terminal: the verdict, then a short table a step; the rest is in report.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from circuit_tracer.experiments.diff.persona import INDUCING, ONE, TEN
from circuit_tracer.experiments.diff.report.features import best_of
from circuit_tracer.experiments.diff.results.behaviour import BehaviourResult
from circuit_tracer.experiments.diff.results.edges import EdgesResult
from circuit_tracer.experiments.diff.results.features import (
    EditRow,
    FeaturesResult,
)
from circuit_tracer.experiments.diff.results.fit import FitResult
from circuit_tracer.experiments.diff.results.report import DiffReport
from circuit_tracer.experiments.diff.results.shift import ShiftResult
from circuit_tracer.experiments.diff.results.where import WEIGHTS, WhereResult
from circuit_tracer.experiments.kit.tables import MARKS, Table, sections, verdict_text, wrapped
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render.numbers import decimals, whole_percent, with_interval
from circuit_tracer.render.terminal import WIDTH

MOST = 3
"""Rows of a step's table."""
SHOWN = [("restore", name) for name in (TEN, ONE, "dense shift")] + [("induce", INDUCING)]
"""Edits, by direction and name."""
EDIT = ("features", "right", "restored or induced", "loss")


def page(report: DiffReport, *, width: int = WIDTH) -> RenderableType:
    """The report on one screen."""
    findings = report.verdict.findings
    rules = ", ".join(f"{MARKS[one.holds][0]} {one.name}" for one in findings)
    notes = (f"Rules: {rules}. All figures: report.md.", *report.notes)
    return Group(
        verdict_text(report.verdict.headline, (), width=width),
        Text(""),
        *sections(brief_tables(report)),
        *(Text("\n".join(wrapped(note, width)), style="dim") for note in notes),
    )


def brief_tables(report: DiffReport) -> list[Table]:
    """One table a step, under its heading."""
    found = ((getattr(report, step), make) for step, make in OF_STEP.items())
    tables = [table for result, make in found if result is not None for table in make(result)]
    tables += _tested(report)
    return [table for table in tables if table.rows]


def _behaviour(found: BehaviourResult) -> Iterator[Table]:
    rows = [
        (one.name, *_shares(one.base, one.tuned))
        for one in found.rows
        if one.part == "role" and not one.family and one.name != "selection"
    ]
    text = [with_interval(one) for one in (found.loss_base, found.loss_tuned)]
    rows.append(("ordinary text, nats a token", *text))
    yield Table("1. Behaviour", ("right answers", "base", "tuned"), tuple(rows))


def _where(found: WhereResult) -> Iterator[Table]:
    kinds = [one for one in found.rows if one.kind and one.layers is None]
    kinds.sort(key=lambda one: -_known(one.restored.value))
    rows = [(WEIGHTS[one.kind], *_shares(one.restored, one.induced)) for one in kinds[:MOST]]
    yield Table("2. Where", ("weights", "put back restore", "alone induce"), tuple(rows))


def _fit(found: FitResult) -> Iterator[Table]:
    rows = tuple(
        (
            one.name,
            *(
                _span([getattr(row, name) for row in one.layers])
                for name in ("fvu_base", "fvu_tuned")
            ),
            with_interval(one.given_back, percent=True),
        )
        for one in found.dictionaries
    )
    columns = ("dictionary", "FVU, base", "FVU, tuned", "restores by itself")
    yield Table("3. Dictionary fit", columns, rows)


def _span(values: list[float]) -> str:
    """The lowest to the highest."""
    return "-".join(dict.fromkeys(f"{one:.3f}" for one in (min(values), max(values))))


def _shift(found: ShiftResult) -> Iterator[Table]:
    best = max(found.rows, key=lambda one: _known(one.with_contrast.value))
    row = (str(best.layer), *map(with_interval, (best.with_contrast, best.text_with_contrast)))
    columns = ("after layer", "cosine with the contrast", "on the first tokens of text")
    yield Table("4. Shift", columns, (row,))


def _features(found: FeaturesResult) -> Iterator[Table]:
    rows = tuple(
        (one.name, *map(decimals, (one.base, one.tuned)), str(one.by_change))
        for one in found.rows[:MOST]
    )
    columns = ("best by screening", "base", "tuned", "rank by change")
    yield Table("5. Features", columns, rows)


def _tested(report: DiffReport) -> Iterator[Table]:
    """The chosen features beside the controls."""
    rows: list[tuple[str, ...]] = []
    if report.doses is not None:
        rows += [_edit(one.name, one) for one in report.doses.edits if (one.way, one.name) in SHOWN]
    if report.controls is not None:
        rows += [_edit(name, one) for name, one, _ in best_of(report.controls)]
        rows += [
            _edit(one.name, one) for one in report.controls.edits if (one.way, one.name) in SHOWN
        ]
    yield Table("7. Tested on test topics, beside controls", EDIT, tuple(rows))


def _edges(found: EdgesResult) -> Iterator[Table]:
    rows = tuple(
        (one.name, *_shares(one.values_output, one.queries_keys, one.mlps, one.input))
        for one in found.targets[:MOST]
    )
    yield Table("6. Edges", ("target", "V, O", "Q, K", "MLPs", "input"), rows)


def _edit(name: str, one: EditRow) -> tuple[str, ...]:
    return (
        f"{one.way}: {name}",
        whole_percent(one.right.value),
        with_interval(one.share, percent=True),
        f"{one.loss.value:+.3f}",
    )


def _shares(*given: Interval) -> tuple[str, ...]:
    return tuple(with_interval(one, percent=True) for one in given)


def _known(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


OF_STEP: dict[str, Callable[[Any], Iterator[Table]]] = {
    "behaviour": _behaviour,
    "where": _where,
    "fit": _fit,
    "shift": _shift,
    "features": _features,
    "edges": _edges,
}
"""By field of the report: its table."""
