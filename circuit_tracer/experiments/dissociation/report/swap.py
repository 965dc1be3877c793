"""swap.svg: another object's recalled fact is patched in; does the answer follow?"""

from __future__ import annotations

from collections.abc import Sequence

from circuit_tracer.experiments.dissociation.report.plot import (
    COLORS,
    Band,
    Scale,
    page,
    page_title,
    paragraph,
)
from circuit_tracer.experiments.dissociation.report.rows import Panel, Row, draw_panel, line_of_text
from circuit_tracer.experiments.dissociation.results import How, Report, SwapRow
from circuit_tracer.render.axes import ticks
from circuit_tracer.render.palette import INK

WIDTH = 800.0
NAMES = 190.0
NUMBERS = 108.0
CLAIMS = "claims"
HOWS: dict[How, str] = {
    "everything": "everything",
    "attention": "attention's part",
    "mlp": "the MLPs' part",
    "features": "dictionary features",
}
"""What was patched."""


def swap_svg(report: Report) -> str | None:
    """The figure; None where nothing was patched."""
    found = report.swap
    if found is None or not found.rows:
        return None
    parts, y = page_title(
        "Does the answer follow another object's recalled fact?",
        "What layers write at the object's token is replaced by what they write at another object, "
        "which has another value. Share of items that then answer as for the other object.",
        WIDTH,
    )
    y += 18
    facts = [family.name for family in report.families if family.route == "fact"]
    judgements = [family.name for family in report.families if family.route == "judgement"]
    columns = [
        (name, words, kind)
        for names, words, kind in (
            (facts, "Completion", "fact"),
            ([CLAIMS, *judgements], "Judgement", "judgement"),
        )
        for name in [one for one in names if _of(found.rows, one)][:1]
    ]
    wide = (WIDTH - NAMES - 2 * NUMBERS - 20) / 2
    bottom = y
    for number, (family, words, kind) in enumerate(columns):
        left = NAMES + number * (wide + NUMBERS + 20)
        scale = Scale(left, left + wide, 0.0, 1.0)
        rows = _by_layers(report, found.rows, family, kind, named=number == 0)
        drawn, bottom = draw_panel(_panel(words, rows, scale, COLORS[kind]), y)
        parts.append(drawn)
    by_family = _by_family(report, found.rows)
    if by_family:
        scale = Scale(NAMES, WIDTH - NUMBERS, 0.0, 1.0)
        name = "By family: all that the early layers write"
        drawn, bottom = draw_panel(_panel(name, by_family, scale, INK, signs=True), bottom + 26)
        parts.append(drawn)
    note, y = paragraph(_note(found.pairs), 0, bottom + 8, WIDTH)
    return page(f"{report.name}: swap", [*parts, note], WIDTH, y)


def _panel(
    name: str, rows: Sequence[Row], scale: Scale, color: str, *, signs: bool = False
) -> Panel:
    return Panel(
        name=name,
        rows=rows,
        scale=scale,
        ticks=ticks(0.0, 1.0, 0.25),
        percent=True,
        signs_in_names=signs,
        color=color,
        name_width=NAMES,
    )


def _of(rows: Sequence[SwapRow], family: str) -> list[SwapRow]:
    return [row for row in rows if row.family == family and row.names == "completed"]


def _by_layers(
    report: Report, rows: Sequence[SwapRow], family: str, kind: str, *, named: bool
) -> list[Row]:
    """Early and late layers, each layer alone, and what of the early ones carries the recall."""
    every = list(dict.fromkeys((row.layers, row.how) for row in rows if row.names == "completed"))
    whole = [(at, how) for at, how in every if how == "everything"]
    blocks = (
        ("All that these layers write", [one for one in whole if not one[0].isdigit()]),
        ("One layer alone", sorted((o for o in whole if o[0].isdigit()), key=lambda o: int(o[0]))),
        (
            "Of the early layers, alone",
            [one for one in every if one[0] == "early" and one[1] != "everything"],
        ),
    )
    found = []
    for words, patches in blocks:
        found += [line_of_text(words if named else "")] if patches else []
        for layers, how in patches:
            here = [row for row in _of(rows, family) if (row.layers, row.how) == (layers, how)]
            name = layers_name(report, layers) if how == "everything" else HOWS[how]
            found.append(_row(here[0], name if named else "", kind) if here else line_of_text(""))
    return found


def layers_name(report: Report, layers: str) -> str:
    """ "early layers (L0–L1)", "L3"."""
    if layers == "early":
        return f"early layers, L0–L{report.early_layers - 1}"
    if layers == "late":
        return f"late layers, L{report.early_layers}–L{report.n_layers - 1}"
    return f"L{layers}" if layers.isdigit() else layers


def _row(row: SwapRow, name: str, kind: str) -> Row:
    return Row(name, row.follows, kind, Band(row.before, row.before, row.before))


def _by_family(report: Report, rows: Sequence[SwapRow]) -> list[Row]:
    route_of = {family.name: family.route for family in report.families}
    found = [
        row
        for row in rows
        if (row.layers, row.how) == ("early", "everything") and row.family in route_of
    ]
    found.sort(key=lambda row: row.names != "completed")
    return [_row(row, family_name(row), route_of[row.family]) for row in found]


def family_name(row: SwapRow) -> str:
    """The family, and whether the values are those it affirms itself."""
    words = "all truth checks" if row.family == CLAIMS else row.family
    return words if row.names == "completed" else f"{words}, as it affirms"


def _note(pairs: int) -> str:
    return (
        f"{pairs} items, each with a donor; 95 % intervals over objects. A truth check follows if "
        "it affirms the other object's value and denies its own; a completion, if it prefers the "
        "other object's value. Values are those completed in the fact family; where a truth check "
        "affirms others, rows marked so ask about these. Grey stroke: with nothing patched."
    )
