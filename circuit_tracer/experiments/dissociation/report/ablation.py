"""ablation.svg: what each answer loses when a route's features are taken away.

Two panels side by side, the fact's answer and the judgement's; in each the early stores, the late
read-outs and both together, and of these the sets F, V and S over their matched random sets. Below,
the dissociation index of each part over what shuffled labels give.
"""

from __future__ import annotations

from circuit_tracer.experiments.dissociation.report.plot import (
    COLORS,
    SETS,
    Band,
    Scale,
    ends,
    page,
    page_title,
    paragraph,
)
from circuit_tracer.experiments.dissociation.report.rows import Panel, Row, draw_panel, line_of_text
from circuit_tracer.experiments.dissociation.results import (
    AblationResult,
    Cell,
    Part,
    Report,
    Route,
    SetName,
)
from circuit_tracer.render.axes import fitting, ticks

WIDTH = 800.0
NAMES = 190.0
NUMBERS = 108.0
SET_NAMES: dict[SetName, str] = {"F": "F: fact alone", "V": "V: judgement alone", "S": "S: shared"}
PARTS: tuple[Part, ...] = ("early", "late", "together")
ROUTES: tuple[Route, ...] = ("fact", "judgement")


def part_name(report: Report, part: Part) -> str:
    """ "Early features, L0–L1, at the object"."""
    last = report.n_layers - 1
    if part == "early":
        return f"Early features, {_layers(0, report.early_layers - 1)}, at the object"
    if part == "late":
        return f"Late read-outs, {_layers(report.early_layers, last)}"
    return "Both together"


def _layers(first: int, last: int) -> str:
    return f"L{first}" if first >= last else f"L{first}–L{last}"


def ablation_svg(report: Report) -> str | None:
    """The figure; None where nothing was ablated."""
    found = report.ablation
    if found is None:
        return None
    parts, y = page_title(
        "What is lost when a route's features are ablated",
        "Share of each answer's lead that is lost: 0 % is untouched, 100 % gone, more than that "
        "turned. Measured on objects that had no part in choosing the features.",
        WIDTH,
    )
    y += 18
    wide = (WIDTH - NAMES - 2 * NUMBERS - 20) / 2
    values = [
        x for cell in found.cells for x in (*ends(cell.drop), cell.random_low, cell.random_high)
    ]
    low, high = fitting(values, low=0.0, high=0.5, step=0.25)
    step = 0.5 if high - low > 1.2 else 0.25
    bottom = y
    for number, route in enumerate(ROUTES):
        left = NAMES + number * (wide + NUMBERS + 20)
        drawn, bottom = draw_panel(
            Panel(
                name="of the fact's answer" if route == "fact" else "of the judgement's answer",
                rows=_rows(report, found, route, named=number == 0),
                scale=Scale(left, left + wide, low, high),
                ticks=ticks(low, high, step),
                percent=True,
                strong=0.0,
                signs_in_names=True,
                color=COLORS[route],
                name_width=NAMES,
            ),
            y,
        )
        parts.append(drawn)
    note, y = paragraph(_note(found), 0, bottom + 8, WIDTH)
    index, y = _index(report, found, y + 22)
    parts += [note, *index]
    return page(f"{report.name}: ablations", parts, WIDTH, y)


def _rows(report: Report, found: AblationResult, route: Route, *, named: bool) -> list[Row]:
    rows = []
    for part in PARTS:
        cells = [cell for cell in found.cells if (cell.part, cell.route) == (part, route)]
        if not cells:
            continue
        rows.append(line_of_text(part_name(report, part) if named else ""))
        rows += [
            _row(cell, named) for cell in sorted(cells, key=lambda cell: "FVS".index(cell.set))
        ]
    return rows


def _row(cell: Cell, named: bool) -> Row:
    control = Band(cell.random_low, cell.random_median, cell.random_high)
    return Row(SET_NAMES[cell.set] if named else "", cell.drop, SETS[cell.set], control)


def _note(found: AblationResult) -> str:
    return (
        f"Marks: mean with its 95 % interval over objects. Grey: {found.n_random} random sets "
        "matched in size, layer, place and activation, from the smallest to the largest drop, with "
        "the median. Numbers: value [interval]."
    )


def _index(report: Report, found: AblationResult, y: float) -> tuple[list[str], float]:
    """D of each part over the deals of shuffled labels."""
    values = [
        x
        for one in found.index
        for x in ends(one.index, one.shuffled, one.fact_side, one.judgement_side)
    ]
    low, high = fitting(values, low=-0.25, high=1.0, step=0.25)
    rows = []
    for one in found.index:
        shuffled = Band(one.shuffled.low, one.shuffled.value, one.shuffled.high)
        rows += [
            line_of_text(part_name(report, one.part)),
            Row("D", one.index, "shared", shuffled),
            Row("by F: fact − judgement", one.fact_side, "fact"),
            Row("by V: judgement − fact", one.judgement_side, "judgement"),
        ]
    drawn, y = draw_panel(
        Panel(
            name="Dissociation index D: what is lost more by the own features than by the other's",
            rows=rows,
            scale=Scale(NAMES, WIDTH - 130, low, high),
            ticks=ticks(low, high, 0.25),
            sign=True,
            strong=0.0,
            signs_in_names=True,
            name_width=NAMES,
        ),
        y,
    )
    note, y = paragraph(
        "D = (fact lost − judgement lost by F) + (judgement lost − fact lost by V); 0: both "
        "answers lose the same whichever set goes. Two routes show where both parts lie above 0. "
        f"Grey: {found.n_deals} deals of shuffled labels (middle 95 %), which must contain 0.",
        0,
        y + 8,
        WIDTH,
    )
    return [drawn, note], y
