"""truth-direction.svg: how well a direction reads truth, by layer, one line a form of question.

A row of panels for each form that it was fitted in, a column for each place that is read (the
claimed value's token, the verdict's). Names stand at the
end of their lines, pushed apart where lines end together. The dashed line is chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from circuit_tracer.experiments.dissociation.report.plot import (
    Scale,
    heading,
    label,
    page,
    page_title,
    paragraph,
)
from circuit_tracer.experiments.dissociation.results import Report, TruthResult, TruthRow
from circuit_tracer.render import palette
from circuit_tracer.render.axes import fitting, ticks
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.text import shorten_to_width, text_width

WIDTH = 800.0
HEIGHT = 150.0
BELOW = 70.0
"""Axis, its name and the next panel's."""
NAMES = 112.0
LEFT = 34.0
GAP = 36.0
APART = 13.0
LINES = (
    (palette.POSITIVE, ""),
    (palette.NEGATIVE, "7 3"),
    (palette.FEATURE, "2 3"),
    ("#3d4148", "9 3 2 3"),
    ("#cc79a7", "4 2"),
    (palette.TOKEN_EDGE, "1 2"),
)
ROLES: tuple[Literal["value", "verdict"], ...] = ("value", "verdict")
ROLE_NAMES = {"value": "at the value", "verdict": "at the verdict"}


class Line(NamedTuple):
    """One form of question read at one place, or one model."""

    name: str
    rows: list[TruthRow]
    color: str
    dashes: str


def truth_svg(report: Report) -> str | None:
    """The figure; None where no direction was fitted."""
    found = report.truth
    if found is None or not found.rows:
        return None
    parts, y = page_title(
        "Where a direction reads whether the claim is true",
        "A direction is fitted in one form of question on half of the objects and read on the "
        "others, in every form (AUC: 1 tells all true claims from false, 0.5 is chance).",
        WIDTH,
    )
    y += 18
    roles = [role for role in ROLES if any(row.role == role for row in found.rows)]
    forms = list(dict.fromkeys(row.fitted for row in found.rows))
    values = [x for row in found.rows for x in (row.auc.value, row.auc.low) if math.isfinite(x)]
    span = auc_span(values)
    wide = (WIDTH - len(roles) * (LEFT + NAMES) - (len(roles) - 1) * GAP) / len(roles)
    for form in forms:
        for number, role in enumerate(roles):
            left = LEFT + number * (LEFT + wide + NAMES + GAP)
            name = shorten_to_width(f"Fitted in {form}, {ROLE_NAMES[role]}", 10.0, wide + NAMES)
            parts.append(heading(name, left, y))
            parts += draw_lines(_lines(found, form, role), left, wide, y + 10, span)
        y += HEIGHT + BELOW
    note, y = paragraph(
        "Residual stream behind each layer (emb: embedding). Lines: the form it is read in. Bands: "
        "95 % intervals over objects.",
        0,
        y,
        WIDTH,
    )
    return page(f"{report.name}: truth direction", [*parts, note], WIDTH, y)


def auc_span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis: from just below chance, or from 0 where a direction is turned round."""
    low, high = fitting(values, low=0.4, high=1.0, step=0.1)
    return (low, high) if low > 0.25 else (0.0, 1.0)


def _lines(found: TruthResult, form: str, role: str) -> list[Line]:
    """One for each form that a direction fitted in `form` is read in; it keeps its colour."""
    names = list(dict.fromkeys(row.read for row in found.rows))
    return [
        Line(name, rows, *LINES[i % len(LINES)])
        for i, name in enumerate(names)
        if (rows := rows_of(found, form, name, role))
    ]


def rows_of(found: TruthResult, fitted: str, read: str, role: str) -> list[TruthRow]:
    """By layer, those that are known."""
    rows = [
        row
        for row in found.rows
        if (row.fitted, row.read, row.role) == (fitted, read, role) and math.isfinite(row.auc.value)
    ]
    return sorted(rows, key=lambda row: row.layer)


def draw_lines(
    lines: Sequence[Line], left: float, wide: float, top: float, span: tuple[float, float]
) -> list[str]:
    """The lines over the layers, in a box of `wide` x `HEIGHT`, their names right of it."""
    layers = sorted({row.layer for line in lines for row in line.rows})
    x = Scale(left, left + wide, float(layers[0]), float(max(layers[-1], layers[0] + 1)))
    up = Scale(top + HEIGHT, top, *span)
    parts = [_grid(x, up, span)]
    parts += [_x_label(x, layer, top, len(layers)) for layer in layers]
    middle = left + wide / 2
    parts.append(label("behind layer", middle, top + HEIGHT + 28, quiet=True, text_anchor="middle"))
    parts += [_band(line, x, up) for line in lines]
    parts += [_line(line, x, up) for line in lines]
    return [*parts, *_names(lines, x.right + 8, up)]


def _grid(x: Scale, up: Scale, span: tuple[float, float]) -> str:
    parts = []
    for value in ticks(*span, 0.1 if span[1] - span[0] < 0.75 else 0.25):
        y, is_chance = up.at(value), abs(value - 0.5) < 1e-9
        style = {"stroke_dasharray": "3 3"} if is_chance else {}
        color = palette.QUIET if is_chance else palette.RULE
        parts.append(element("line", x1=x.left, y1=y, x2=x.right, y2=y, stroke=color, **style))
        parts.append(label(f"{value:g}", x.left - 6, y + 3.5, quiet=True, text_anchor="end"))
    y = up.at(0.5)
    parts.append(
        text("chance", x.right, y + 11, font_size=9, text_anchor="end", fill=palette.QUIET)
    )
    return "".join(parts)


def _x_label(x: Scale, layer: int, top: float, count: int) -> str:
    every = math.ceil(count / 14)
    if layer >= 0 and layer % every:
        return ""
    words = "emb" if layer < 0 else f"L{layer}"
    return label(words, x.at(layer), top + HEIGHT + 14, quiet=True, text_anchor="middle")


def _band(line: Line, x: Scale, up: Scale) -> str:
    known = [row for row in line.rows if math.isfinite(row.auc.low)]
    if len(known) < 2:
        return ""
    points = [(x.at(row.layer), up.at(row.auc.low)) for row in known]
    points += [(x.at(row.layer), up.at(row.auc.high)) for row in reversed(known)]
    path = " ".join(f"{figure(a)},{figure(b)}" for a, b in points)
    return element("polygon", points=path, fill=line.color, fill_opacity=0.12)


def _line(line: Line, x: Scale, up: Scale) -> str:
    placed = [(x.at(row.layer), up.at(row.auc.value)) for row in line.rows]
    path = " ".join(f"{figure(a)},{figure(b)}" for a, b in placed)
    style = {"stroke_dasharray": line.dashes} if line.dashes else {}
    dots = [
        element(
            "circle",
            title(f"{line.name}, behind layer {row.layer}: {row.auc.value:.2f}"),
            cx=a,
            cy=b,
            r=2.6,
            fill=line.color,
        )
        for (a, b), row in zip(placed, line.rows, strict=True)
    ]
    drawn = element(
        "polyline", points=path, fill="none", stroke=line.color, stroke_width=1.8, **style
    )
    return drawn + "".join(dots)


def _names(lines: Sequence[Line], left: float, up: Scale) -> list[str]:
    """The lines' names at their ends, in their order, at least `APART` from each other."""
    known = [line for line in lines if line.rows]
    wanted = sorted((up.at(line.rows[-1].auc.value), i) for i, line in enumerate(known))
    places: list[float] = []
    for y, _ in wanted:
        places.append(max(y, places[-1] + APART) if places else y)
    over = max(places[-1] - (up.left + 4), 0.0) if places else 0.0
    parts = []
    for (y, i), place in zip(wanted, places, strict=True):
        at = place - over
        line = known[i]
        words = f"{line.name} {line.rows[-1].auc.value:.2f}"
        end = left - 8
        parts.append(
            element(
                "path",
                d=f"M{figure(end + 2)},{figure(y)} L{figure(left + 4)},{figure(at)}",
                stroke=line.color,
                stroke_width=0.8,
                fill="none",
            )
        )
        room = NAMES - 8
        size = 10.0 if text_width(words, 10.0) <= room else 9.0
        parts.append(
            text(
                shorten_to_width(words, size, room),
                left + 7,
                at + 3.5,
                font_size=size,
                fill=line.color,
            )
        )
    return parts
