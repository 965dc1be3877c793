"""truth-direction.svg: how well a direction reads truth, by layer, one line a form of question.

A row of panels for each form that it was fitted in, a column for each place that is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from circuit_tracer.experiments.dissociation.results import Report
from circuit_tracer.experiments.dissociation.step_results import CLAIM_ROLES, TruthResult, TruthRow
from circuit_tracer.render import palette
from circuit_tracer.render.chart import Line, LinePanel, Sheet
from circuit_tracer.render.chart_marks import Axis

LOOKS = (
    (palette.POSITIVE, ""),
    (palette.NEGATIVE, "7 3"),
    (palette.FEATURE, "2 3"),
    ("#3d4148", "9 3 2 3"),
    ("#cc79a7", "4 2"),
    (palette.TOKEN_EDGE, "1 2"),
)


def truth_svg(report: Report, found: TruthResult) -> str | None:
    """The figure; None where no direction was fitted."""
    if not found.rows:
        return None
    sheet = Sheet(
        "Where a direction reads whether the claim is true",
        "A direction is fitted in one form of question on half of the objects and read on the "
        "others, in every form (AUC: 1 tells all true claims from false, 0.5 is chance).",
    )
    roles = [role for role in CLAIM_ROLES if any(row.role == role for row in found.rows)]
    axis = auc_axis(x for row in found.rows for x in (row.auc.value, row.auc.low))
    reads = list(dict.fromkeys(row.read for row in found.rows))
    panels = [
        truth_panel(
            f"Fitted in {form}, at the {role}",
            [(read, found.by_layer(form, read, role)) for read in reads],
            axis,
        )
        for form in dict.fromkeys(row.fitted for row in found.rows)
        for role in roles
    ]
    sheet.lines(*panels, across=len(roles))
    sheet.note(
        "Residual stream after each layer (emb: embedding). Lines: the form it is read in. Bands: "
        "95 % intervals over objects."
    )
    return sheet.svg(f"{report.name}: truth direction")


def auc_axis(values: Iterable[float]) -> Axis:
    """From just below chance, or from 0 where a direction is reversed."""
    axis = Axis.covering(list(values), 0.4, 1.0, 0.1)
    return axis if axis.low > 0.25 else Axis(0.0, 1.0, 0.25)


def truth_panel(
    name: str, named: Sequence[tuple[str, Sequence[TruthRow]]], axis: Axis
) -> LinePanel:
    """AUC by layer, a line for each of the named; each keeps its colour."""
    layers = sorted({row.layer for _, rows in named for row in rows}) or [0]
    return LinePanel(
        name=name,
        lines=[
            Line(of, [(row.layer, row.auc) for row in rows], *LOOKS[i % len(LOOKS)])
            for i, (of, rows) in enumerate(named)
            if rows
        ],
        x_name="after layer",
        x_labels={layer: "emb" if layer < 0 else f"L{layer}" for layer in layers},
        axis=axis,
        strong=0.5,
        strong_name="chance",
    )
