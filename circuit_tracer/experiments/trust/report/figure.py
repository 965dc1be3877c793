"""The trust report as an SVG figure of three panels; the same bytes each time.

Above, left: what stays of the target with the kept features alone and without them, by node
threshold, over the bands of matched random sets; right: the cosine of predicted and measured
responses, by distance in layers. Below: rank correlations with their intervals, of indirect effects
(discs; rings: norms and attention respond in the prediction, too) and of influence with ablations
(diamonds).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from circuit_tracer.experiments.trust.findings import RANKED
from circuit_tracer.experiments.trust.results import Frozen, Sufficiency, Trust
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.chart import Line, LinePanel, Row, RowPanel, Sheet
from circuit_tracer.render.chart_marks import Axis, Band, Style
from circuit_tracer.render.text import printable

WIDTH = 860.0
NAMES_WIDTH = 260.0
STEPS = 4
"""Of an axis at most."""
NAMES: dict[Frozen, str] = {
    "attention, norms": "both frozen",
    "attention": "attention frozen",
    "nothing": "nothing frozen",
}
COLORS: dict[Frozen, str] = {
    "attention, norms": palette.FEATURE,
    "attention": palette.POSITIVE,
    "nothing": palette.NEGATIVE,
}
DASHES: dict[Frozen, str] = {"attention, norms": "", "attention": "6 3", "nothing": "2 3"}


def trust_svg(report: Trust) -> str:
    """The figure of a full report."""
    measured = report.measured
    sheet = Sheet(printable(report.prompt), printable(report.verdict.headline), width=WIDTH)
    curve = measured.free_sufficiency
    panels = [] if curve is None else [_sufficiency(curve, measured.node_threshold)]
    panels += _distance(report)
    if panels:
        sheet.lines(*panels, across=2)
    rows = list(_correlations(report))
    if rows:
        values = [row.figure for row in rows if row.figure]
        axis = Axis.covering(values, -0.5, 1.0, 0.5, most_steps=STEPS)
        name = "Rank correlations (Spearman)"
        panel = RowPanel(name, rows, axis, strong=RANKED, marks_in_names=True)
        sheet.rows(panel, names=NAMES_WIDTH)
    sheet.note(
        "Frozen: attention and norms (both), attention, or nothing. Bands: matched random sets. * "
        f"the graph's own threshold. Dashed: {RANKED}, good from there on. Intervals: 95 % of "
        "bootstrap draws."
    )
    return sheet.svg(f"Trust report: {report.prompt}")


def _sufficiency(found: Sufficiency, own: float) -> LinePanel:
    lines = []
    for name, words, color, dashes in (
        ("sufficiency", "kept alone", palette.FEATURE, ""),
        ("necessity", "without them", palette.NEGATIVE, "6 3"),
    ):
        random = [getattr(point, f"random_{name}") for point in found.points]
        bands = [Band(one.low, one.median, one.high) for one in random]
        values = [Interval.bare(getattr(point, name)) for point in found.points]
        lines.append(Line(words, list(enumerate(values)), color, dashes, bands))
    heights = [value for line in lines for value in line.drawn()]
    thresholds = [point.threshold for point in found.points]
    return LinePanel(
        name="What stays of the target",
        lines=lines,
        x_name="node threshold",
        x_labels={i: f"{x:g}{'*' if x == own else ''}" for i, x in enumerate(thresholds)},
        axis=Axis.covering(heights, 0.0, 1.0, 0.25, percent=True, most_steps=STEPS),
    )


def _distance(report: Trust) -> list[LinePanel]:
    curves = report.measured.distance
    if not curves:
        return []
    last = max(point.layers_on for one in curves for point in one.points)
    lines = [
        Line(
            NAMES[one.frozen],
            [(float(point.layers_on), Interval.bare(point.cosine)) for point in one.points],
            COLORS[one.frozen],
            DASHES[one.frozen],
        )
        for one in curves
    ]
    values = [value for line in lines for value in line.drawn()]
    return [
        LinePanel(
            name="Cosine of predicted and measured response",
            lines=lines,
            x_name="layers on",
            x_labels={float(i): str(i) for i in range(1, last + 1)},
            axis=Axis.covering(values, 0.0, 1.0, 0.25, most_steps=STEPS),
        )
    ]


def _correlations(report: Trust) -> Iterator[Row]:
    effects, ranked = report.measured.indirect, report.measured.ranking
    if effects is None:
        return
    yield Row("Indirect effects")
    for one in effects.ways:
        yield _row(one.frozen, one.everything.spearman, "disc")
    yield Row("The same, norms and attention respond, too")
    for one in effects.ways:
        if one.frozen != "attention, norms":
            yield _row(one.frozen, one.responding.spearman, "ring")
    if ranked is not None:
        yield Row("Influence against ablation")
        for ranking in ranked.ways:
            yield _row(ranking.frozen, ranking.influence, "diamond")


def _row(frozen: Frozen, figure: Interval, shape: Literal["disc", "ring", "diamond"]) -> Row:
    return Row(NAMES[frozen], figure, Style(COLORS[frozen], shape))
