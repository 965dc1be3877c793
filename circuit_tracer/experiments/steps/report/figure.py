"""The strip of a transcript as an SVG figure, one column wide, and as a page.

A row a part, in the order of the text: watched spans, steps, the answer. At the right a bar a row,
what passes through the part, its dark part what goes directly to the answer, a tick at the noise
floor. At the left arrows from what a step drew on, as thick as their share.
"""

from __future__ import annotations

from typing import NamedTuple

from circuit_tracer.experiments.steps.report.terminal import MEANING, draws_on, headline
from circuit_tracer.experiments.steps.results import ANSWER, Part, StepsReport
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render import palette
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.markup import words as escaped
from circuit_tracer.render.numbers import percent
from circuit_tracer.render.places import COLUMN
from circuit_tracer.render.strips import strip_html, strip_svg
from circuit_tracer.render.svg_page import (
    bold,
    ink,
    paragraph,
    polygon,
    quiet,
    rect,
)
from circuit_tracer.render.text import printable, wrap

SIZE, SMALL = 7.5, 6.5
LINE = 9.5
GUTTER = 40.0
"""Room for arrows."""
NAME = 24.0
BAR = 44.0
NUMBERS = 26.0
GAP = 5.0
"""Between rows."""
NOTE = (
    "Bar: what passes through a step, or ends in a span of the prompt; its dark part goes directly "
    "to the answer; the tick is the noise floor. Arrows: what a step draws on, as thick as its "
    "share, above the floor."
)


class _Row(NamedTuple):
    """One row as laid out."""

    name: str
    lines: list[str]
    part: Part | None
    top: float

    @property
    def height(self) -> float:
        return len(self.lines) * LINE

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def steps_svg(report: StepsReport) -> str:
    """The figure of a report."""
    words, y = paragraph(printable(report.prompt), 0, SIZE, COLUMN, size=SIZE, color=palette.QUIET)
    rows, bottom = _laid_out(report, y + 2)
    places = {row.name: row for row in rows}
    arrows = [
        _arrow(places[one.source], places[one.target], one.share, lane)
        for lane, one in enumerate(
            sorted(report.arrows, key=lambda one: (one.target == ANSWER, one.share))
        )
    ]
    caption, bottom = paragraph(
        f"{headline(report)}. {NOTE}",
        0,
        bottom + SMALL + 3,
        COLUMN,
        size=SMALL,
        color=palette.QUIET,
    )
    name = f"Which steps carried the answer {report.answer.strip()}?"
    drawn = (_drawn(report, row) for row in rows)
    return strip_svg(name, bottom, words, *arrows, *drawn, caption)


def steps_html(report: StepsReport) -> str:
    """The page of a report: rest on a step to see where it came from."""
    body = (
        f"<h1>{escaped(report.prompt)}</h1>\n<p>{escaped(headline(report))}</p>\n"
        f'<ol id="strip"></ol>\n<p>{escaped(MEANING)} The tick is the noise floor, and grey is '
        "what lies below it. Rest on a row, or tab to it, to see what it draws on.</p>"
    )
    return strip_html("steps", f"Steps: {report.prompt}", body, report)


def _laid_out(report: StepsReport, y: float) -> tuple[list[_Row], float]:
    room = COLUMN - GUTTER - NAME - BAR - NUMBERS
    rows: list[_Row] = []
    texts: list[tuple[str, str, Part | None]] = [
        (one.name, one.text, one) for one in (*report.watched, *report.steps)
    ]
    for name, content, part in (*texts, (ANSWER, shown(report.answer), None)):
        lines = wrap(printable(content), SIZE, room) or [""]
        rows.append(_Row(name, lines, part, y))
        y = rows[-1].top + rows[-1].height + GAP
    return rows, y


def _drawn(report: StepsReport, row: _Row) -> str:
    base = row.top + SIZE
    left = GUTTER + NAME
    is_loud = row.part is None or row.part.carries
    color = palette.INK if is_loud else palette.QUIET
    if row.part is None:
        whole = bold(row.lines[0], left, base, SIZE)
        return whole + quiet("answer", GUTTER - 6, base, font_size=SMALL)
    parts = [ink(row.name, GUTTER, base, font_size=SIZE, font_weight="bold")]
    for number, words in enumerate(row.lines):
        parts.append(text(words, left, base + number * LINE, font_size=SIZE, fill=color))
    tip = f"{row.name}: direct {percent(row.part.direct)}, chained {percent(row.part.chained)}"
    drawn = draws_on(report, row.name)
    return element("g", title(tip, f"draws on {drawn}" if drawn else ""), *parts, _bar(row))


def _bar(row: _Row) -> str:
    part = row.part
    if part is None:
        return ""
    left, top, height = COLUMN - BAR - NUMBERS, row.top + 1.5, SIZE
    chained, direct = (BAR * min(max(value, 0.0), 1.0) for value in (part.chained, part.direct))
    tick = left + BAR * min(part.chained_floor, 1.0)
    return "".join(
        [
            rect(left, top, BAR, height, fill=palette.STRIPE),
            rect(left, top, chained, height, fill=palette.mixed(palette.POSITIVE, 0.35)),
            rect(left, top + 1.5, min(direct, BAR), height - 3, fill=palette.POSITIVE),
            rect(tick - 0.4, top - 1, 0.8, height + 2, fill=palette.INK),
            ink(percent(part.chained), left + BAR + 4, row.top + SIZE, font_size=SMALL),
        ]
    )


def _arrow(source: _Row, target: _Row, share: float, lane: int) -> str:
    """From a row up to a later one, bending into the gutter as far as it reaches."""
    right = GUTTER - 8
    bend = right - min(6 + 0.22 * (target.middle - source.middle), right - 1) - lane % 3
    wide = 0.5 + 3 * min(share, 1.0)
    color = palette.POSITIVE if target.name == ANSWER else palette.QUIET
    start, end = source.middle + 1, target.middle - 1
    path = (
        f"M{figure(right)},{figure(start)} C{figure(bend)},{figure(start)} "
        f"{figure(bend)},{figure(end)} {figure(right - 3)},{figure(end)}"
    )
    head = ((right, end), (right - 4, end - 2), (right - 4, end + 2))
    return element(
        "g",
        title(f"{source.name} -> {target.name}: {percent(share)}"),
        element("path", d=path, fill="none", stroke=color, stroke_width=wide, stroke_opacity=0.8),
        polygon(head, fill=color),
    )
