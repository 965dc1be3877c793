"""overlap.svg: what fact and judgement graphs share, beside paraphrases and unrelated prompts."""

from __future__ import annotations

from circuit_tracer.experiments.dissociation.report.plot import (
    Scale,
    page,
    page_title,
    paragraph,
    shown,
)
from circuit_tracer.experiments.dissociation.report.rows import Panel, Row, draw_panel, line_of_text
from circuit_tracer.experiments.dissociation.results import OverlapRow, Report
from circuit_tracer.render.axes import ticks

WIDTH = 800.0
NAMES = 232.0
NUMBERS = 108.0
KINDS = {
    "ceiling": "paraphrases (ceiling)",
    "fact x judgement": "fact × judgement",
    "floor": "unrelated prompts (floor)",
}
_SIGNS = {"ceiling": "random", "fact x judgement": "shared", "floor": "random"}


def overlap_svg(report: Report) -> str | None:
    """The figure; None where nothing was traced."""
    found = report.overlap
    if found is None:
        return None
    parts, y = page_title(
        "How much of the fact's graph is in the judgement's",
        "Overlap of what two graphs give their influence to: 100 % for equal graphs, 0 % for "
        "graphs without a common feature.",
        WIDTH,
    )
    y += 18
    wide = (WIDTH - NAMES - 2 * NUMBERS - 20) / 2
    bottom = y
    columns = (
        ("same feature, same role of the token", False),
        ("same feature, at any token", True),
    )
    for number, (name, anywhere) in enumerate(columns):
        left = NAMES + number * (wide + NUMBERS + 20)
        drawn, bottom = draw_panel(
            Panel(
                name=name,
                rows=_rows(found.rows, anywhere),
                scale=Scale(left, left + wide, 0.0, 1.0),
                ticks=ticks(0.0, 1.0, 0.25),
                percent=True,
                name_width=NAMES,
            ),
            y,
        )
        parts.append(drawn)
    note, y = paragraph(_note(report), 0, bottom + 8, WIDTH)
    return page(f"{report.name}: overlap", [*parts, note], WIDTH, y)


def _rows(found: tuple[OverlapRow, ...], anywhere: bool) -> list[Row]:
    pooled = {row.kind: row for row in found if not row.first}
    rows = [line_of_text("" if anywhere else "All pairs")]
    for kind, words in KINDS.items():
        if kind in pooled:
            rows.append(_row(pooled[kind], "" if anywhere else words, anywhere))
    rows.append(line_of_text("" if anywhere else "By families"))
    for kind in ("ceiling", "fact x judgement"):
        for row in found:
            if row.first and row.kind == kind:
                rows.append(_row(row, "" if anywhere else f"{row.first} × {row.second}", anywhere))
    return rows


def _row(row: OverlapRow, name: str, anywhere: bool) -> Row:
    return Row(name, row.anywhere if anywhere else row.overlap, _SIGNS[row.kind])


def _note(report: Report) -> str:
    found = report.overlap
    assert found is not None
    pooled = [row for row in found.rows if not row.first]
    counts = ", ".join(f"{KINDS[row.kind]} {row.pairs}" for row in pooled)
    ps = [row.p for row in pooled if row.kind == "fact x judgement"]
    p = f" Permutation p of fact × judgement (median of the pairs): {ps[0]:.3f}." if ps else ""
    place = f"Between floor (0) and ceiling (1): {shown(found.place)}." if found.place else ""
    return (
        f"Influence-weighted Jaccard of pruned graphs; 95 % intervals over objects. {place} Pairs: "
        f"{counts}.{p}"
    )
