"""heads.svg: which heads tell true claims from false, and whether verdicts follow their queries."""

from __future__ import annotations

from circuit_tracer.experiments.dissociation.report.plot import (
    Band,
    Scale,
    ends,
    page,
    page_title,
    paragraph,
)
from circuit_tracer.experiments.dissociation.report.rows import Panel, Row, draw_panel
from circuit_tracer.experiments.dissociation.results import HeadRank, HeadsResult, Report
from circuit_tracer.render.axes import fitting, ticks

WIDTH = 800.0
NAMES = 150.0
NUMBERS = 108.0
MOST = 10


def heads_svg(report: Report) -> str | None:
    """The figure; None where no head was ranked."""
    found = report.heads
    if found is None or not found.ranks:
        return None
    parts, y = page_title(
        "Which heads test the claim against the object",
        "A head's score from the claimed value (or the verdict) to the object: does the term made "
        "of both tokens tell true claims from false, and does the verdict turn when only this "
        "head's query is that of the opposite claim?",
        WIDTH,
    )
    y += 18
    wide = (WIDTH - NAMES - 2 * NUMBERS - 20) / 2
    shown = found.ranks[:MOST]
    low, high = fitting([x for one in shown for x in ends(one.auc)], low=0.5, high=1.0, step=0.1)
    columns = (
        ("True from false (AUC)", Scale(NAMES, NAMES + wide, low, high), False),
        (
            "Verdicts that flip, this head alone",
            Scale(NAMES + wide + NUMBERS + 20, WIDTH - NUMBERS, 0.0, 1.0),
            True,
        ),
    )
    bottom = y
    for name, scale, flips in columns:
        drawn, bottom = draw_panel(
            Panel(
                name=name,
                rows=[_row(one, flips) for one in shown],
                scale=scale,
                ticks=ticks(scale.low, scale.high, 0.1 if scale.high - scale.low < 0.65 else 0.25),
                percent=flips,
                strong=None if flips else 0.5,
                name_width=NAMES,
            ),
            y,
        )
        parts.append(drawn)
    together, y = _together(found, bottom + 26)
    note, y = paragraph(_note(found, len(shown)), 0, y + 8, WIDTH)
    return page(f"{report.name}: heads", [*parts, together, note], WIDTH, y)


def head_name(one: HeadRank) -> str:
    """ "L3.H2 value → object"."""
    return f"L{one.layer}.H{one.head} {one.query} → object"


def _row(one: HeadRank, flips: bool) -> Row:
    kind = "judgement" if one.chosen else "random"
    return Row("" if flips else head_name(one), one.flips if flips else one.auc, kind)


def _together(found: HeadsResult, y: float) -> tuple[str, float]:
    rows = [
        Row(
            f"best {one.heads} heads" if one.heads > 1 else "best head",
            one.chosen,
            "judgement",
            Band(one.random_low, one.random_median, one.random_high),
        )
        for one in found.flips
    ]
    return draw_panel(
        Panel(
            name="Verdicts that flip, several heads together (grey: random heads)",
            rows=rows,
            scale=Scale(NAMES, WIDTH - NUMBERS, 0.0, 1.0),
            ticks=ticks(0.0, 1.0, 0.25),
            percent=True,
            name_width=NAMES,
        ),
        y,
    )


def _note(found: HeadsResult, drawn: int) -> str:
    left_out = len(found.ranks) - drawn
    more = f" {left_out} further heads rank lower." if left_out else ""
    return (
        "On objects that had no part in ranking the heads; 95 % intervals over objects. Filled "
        "diamonds: heads that are edited together below. An AUC of 0.5 tells nothing. Grey: as "
        f"many random heads of the same layers where there are others, smallest to largest.{more} "
        f"Measured in: {', '.join(found.families)}."
    )
