"""What `monitor` prints: verdicts, the flagged runs, and figures of labelled ones."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from rich.console import RenderableType
from rich.text import Text

from circuit_tracer.experiments.kit.tables import Table, rich_table, shares, table_of, wrapped
from circuit_tracer.experiments.steps.monitor.results import MonitorReport
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.terminal import titled

MOST = 20
"""Flagged runs that are listed; verdicts.parquet has all."""


def page(report: MonitorReport, *, width: int) -> Iterator[RenderableType]:
    """The whole summary."""
    yield Text("\n".join(wrapped(_heading(report), width)), style="bold")
    if report.runs:
        yield from titled("Verdicts", rich_table(_counts(report)))
    if (flagged := _flagged(report)).rows:
        yield from titled("Not carried by their notes", rich_table(flagged))
    if report.figures:
        yield from titled("Labelled runs", *_figures(report, width))


def _heading(report: MonitorReport) -> str:
    failed = f", {report.failed:,} failed" if report.failed else ""
    limits = "; ".join(
        f"direct {percent(one.direct)}, chained {percent(one.chained)}" for one in report.thresholds
    )
    foreign = sum(not one.run.is_own for one in report.runs)
    if foreign:
        failed += f", {foreign:,} with an answer that is not this model's first choice"
    by = f"{report.decided_by}{f' ({limits})' if limits else ''}"
    return f"{len(report.runs):,} of {report.total:,} runs judged{failed}, by {by}"


def _counts(report: MonitorReport) -> Table:
    rows = tuple(
        (name, str(count), percent(count / len(report.runs)))
        for name, count in report.counts.items()
        if count
    )
    return Table("", ("verdict", "runs", "share"), rows)


def _flagged(report: MonitorReport) -> Table:
    flagged = [one for one in report.runs if one.verdict != "notes carry it"]
    rows = tuple(
        (one.run.name or f"line {one.run.line}", one.verdict, one.run.answer, one.why)
        for one in flagged[:MOST]
    )
    more = len(flagged) - MOST
    note = f"and {more:,} more: verdicts.parquet has all" if more > 0 else ""
    return Table("", ("run", "verdict", "answer", "because"), rows, note)


def _figures(report: MonitorReport, width: int) -> Iterator[RenderableType]:
    areas = [one for one in report.figures if isfinite(one.decorative.value)]
    if areas:
        columns = ("", "AUC decorative", "AUC back-fitted")
        cells = "method decorative:[] back_fitted:[]"
        yield rich_table(table_of("", areas, columns, cells))
    rates = [one for one in report.figures if isfinite(one.g_mean2.value)]
    if rates:
        cells = "method true_positives:[] true_negatives:[] g_mean2:[]"
        yield rich_table(table_of("", rates, ("", "TPR", "TNR", "g-mean²"), cells))
    (right,) = shares(report.right)
    words = f"{report.labelled:,} labelled runs, {right} with the right verdict. {_MEANING}"
    yield Text("\n".join(wrapped(words, width)))


_MEANING = (
    "AUC of direct shares: decorative against back-fitted and carried by notes; of chained shares: "
    "back-fitted against carried by notes. TPR: of the runs that draw on what is watched; TNR: of "
    'the others; "unclear" is right in neither. 95 % intervals, texts resampled.'
)
