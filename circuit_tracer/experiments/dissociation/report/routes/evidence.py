"""The figures that say whether two routes are separate, as rows under the picture.

What D and the swap show is as the verdict's rules found it (experiments/dissociation/verdict.py);
the overlap, which decides nothing, is below the ceiling if the intervals of both do not meet, and
above the floor likewise.
"""

from __future__ import annotations

import math

from circuit_tracer.experiments.dissociation.report.charts import SHARES, interval_band
from circuit_tracer.experiments.dissociation.report.names import SHARED
from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.step_results import CLAIMS, ROUTES, Index, OverlapRow
from circuit_tracer.experiments.kit.results import Holds
from circuit_tracer.render.chart import Row, RowPanel
from circuit_tracer.render.chart_marks import Axis, Band

SWAPS: dict[Holds, str] = {
    "yes": "Both read the same recalled fact.",
    "no": "It does not read the fact that is completed.",
    "unclear": "Open.",
}
"""What the swap shows."""


def evidence(report: Report) -> list[RowPanel]:
    """Shares (overlap, swap) and indices (D of early stores, of late read-outs), as measured."""
    late = report.ablation.by_part.get("late") if report.ablation else None
    measured = {"stores": report.stores, "read-outs": late}
    known = [one for one in measured.values() if one is not None]
    panels = [
        RowPanel("", [*_overlap(report), *_swap(report)], SHARES),
        RowPanel(
            name="",
            rows=[
                row
                for finding, one in measured.items()
                if one is not None
                for row in _index(report, finding, one)
            ],
            axis=Axis.covering([x for o in known for x in (o.index, o.shuffled)], -0.5, 1, 0.5),
            sign=True,
            strong=0.0,
        ),
    ]
    return [panel for panel in panels if panel.rows]


def _overlap(report: Report) -> list[Row]:
    pooled = report.overlap.pooled if report.overlap else {}
    own, ceiling, floor = (pooled.get(kind) for kind in ("fact x judgement", "ceiling", "floor"))
    if own is None:
        return []
    low, high = (math.nan if row is None else row.overlap.value for row in (floor, ceiling))
    name = "Features in common (grey: from unrelated prompts to paraphrases)"
    sentence = overlap_sentence(own, ceiling, floor)
    return [Row(name), Row(sentence, own.overlap, SHARED, Band(low, math.nan, high))]


def overlap_sentence(own: OverlapRow, ceiling: OverlapRow | None, floor: OverlapRow | None) -> str:
    """Where the overlap lies between unrelated prompts and paraphrases."""
    less = ceiling is not None and own.overlap.high < ceiling.overlap.low
    more = floor is not None and own.overlap.low > floor.overlap.high
    if less and more:
        return "Less than paraphrases share, more than unrelated prompts."
    if less:
        return "Less than paraphrases share; not shown to exceed unrelated prompts."
    if more:
        return "More than unrelated prompts share; not shown to be below paraphrases."
    return "Shown neither to be below paraphrases nor to exceed unrelated prompts."


def _index(report: Report, finding: str, own: Index) -> list[Row]:
    if not math.isfinite(own.index.value):
        return []
    what = "stores" if finding == "stores" else "features"
    name = "D of early stores" if finding == "stores" else "D of late read-outs"
    figure = Row(
        index_sentence(own, _holds(report, finding), what),
        own.index,
        SHARED,
        interval_band(own.shuffled),
    )
    return [Row(f"{name} (grey: shuffled labels)"), figure]


def _holds(report: Report, finding: str) -> Holds:
    return next((one.holds for one in report.verdict.findings if one.name == finding), "unclear")


def index_sentence(one: Index, holds: Holds, what: str) -> str:
    """What the dissociation index and its two sides show, `what` being "stores" or "features"."""
    if holds == "yes":
        return f"Separate: each answer loses more by its own {what}."
    if holds == "no":
        return f"Not separate: neither answer loses more by its own {what}."
    of_fact, of_judgement = one.fact_side.low > 0, one.judgement_side.low > 0
    if of_fact != of_judgement:
        answer = "the fact" if of_fact else "the judgement"
        return f"One-sided: only {answer} loses more by its own {what}."
    return "Open."


def _swap(report: Report) -> list[Row]:
    rows = {
        row.family: row.follows
        for row in (report.swap.early if report.swap else ())
        if row.names == "completed"
    }
    facts, judgements = (
        [rows[one.name] for one in report.families if one.route == route and one.name in rows]
        for route in ROUTES
    )
    own = rows.get(CLAIMS) or next(iter(judgements), None)
    if own is None or not math.isfinite(own.value):
        return []
    name = "Judgement follows a swapped fact (grey: the completion does)"
    completion = facts[0].value if facts else math.nan
    control = Band(completion, completion, completion)
    return [Row(name), Row(SWAPS[_holds(report, "swap")], own, SHARED, control)]
