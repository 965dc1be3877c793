"""Panels of rows: a name, a dot on its interval over the control's band, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tracer.experiments.dissociation.report.plot import (
    ROW,
    SIZE,
    UNKNOWN,
    Band,
    Scale,
    band,
    dot,
    heading,
    label,
    mark,
    rules,
    shown,
)
from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.text import shorten_to_width


@dataclass(frozen=True)
class Row:
    """One figure of a panel."""

    name: str
    """"" where the panel to the left names it already."""
    figure: Interval
    kind: str
    """Whose sign it gets: "fact", "judgement", "shared" or "random"."""
    control: Band | None = None
    is_heading: bool = False
    """A line of text alone."""


def line_of_text(words: str) -> Row:
    """A heading among the rows."""
    return Row(words, UNKNOWN, "random", is_heading=True)


@dataclass(frozen=True)
class Panel:
    """Rows under each other on one scale."""

    name: str
    rows: Sequence[Row]
    scale: Scale
    ticks: Sequence[float]
    percent: bool = False
    sign: bool = False
    strong: float | None = None
    """Where a dashed line stands: chance, or nothing changed."""
    signs_in_names: bool = False
    """Whether the rows' names carry the sign of their route."""
    color: str = palette.INK
    """Of the panel's name."""
    name_width: float = 130.0
    gap: float = 8.0
    """Between the names and the scale."""


def draw_panel(panel: Panel, y: float) -> tuple[str, float]:
    """The panel with its name's baseline at y, and the y behind its axis."""
    left = panel.scale.left
    parts = [heading(panel.name, left, y, panel.color)]
    top = y + 8
    bottom = top + ROW * len(panel.rows)
    parts.append(
        rules(panel.scale, top, bottom, panel.ticks, percent=panel.percent, strong=panel.strong)
    )
    for number, row in enumerate(panel.rows):
        parts.append(_row(panel, row, top + ROW * (number + 0.5)))
    return "".join(parts), bottom + 26


def _row(panel: Panel, row: Row, y: float) -> str:
    start = panel.scale.left - panel.gap - panel.name_width
    start = max(start, 0.0)
    if row.is_heading:
        return label(row.name, start, y + 3.5, font_weight="bold")
    words = shown(row.figure, percent=panel.percent, sign=panel.sign)
    parts = []
    if row.name:
        left = start + (16 if panel.signs_in_names else 6)
        name = shorten_to_width(row.name, SIZE, panel.scale.left - panel.gap - left)
        parts.append(label(name, left, y + 3.5))
        if panel.signs_in_names:
            parts.append(mark(start + 7, y, row.kind, size=3.6))
    if row.control is not None:
        parts.append(band(panel.scale, y, row.control, tooltip=_control(panel, row.control)))
    parts.append(dot(panel.scale, y, row.figure, row.kind, tooltip=f"{row.name}: {words}"))
    parts.append(label(words, panel.scale.right + 8, y + 3.5))
    return "".join(parts)


def _control(panel: Panel, control: Band) -> str:
    words = shown(
        Interval(control.middle, control.low, control.high), percent=panel.percent, sign=panel.sign
    )
    return f"control: {words}"
