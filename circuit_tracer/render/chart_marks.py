"""What charts are made of: axes and scales, dots on intervals, bands, grids.

A measured figure is a dot on its 95 % interval, a control a grey band from its smallest to its
largest value with a stroke at the median. Shapes differ as well as colours, so that a photocopy
reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.markup import Attribute, element, title
from circuit_tracer.render.numbers import minus, whole_percent
from circuit_tracer.render.svg_page import SMALL, diamond, line, polygon, quiet, rect

LEAST_BETWEEN = 34.0
"""Room that a tick's label needs."""


class Style(NamedTuple):
    """How a kind of figure is drawn, the same in every panel."""

    color: str
    shape: Literal["square", "diamond", "disc", "ring"]


CONTROL = Style(palette.QUIET, "ring")


class Band(NamedTuple):
    """What a control came out as."""

    low: float
    middle: float
    high: float


def _ends(one: float | Interval | Band) -> tuple[float, ...]:
    if isinstance(one, Interval):
        return one.value, one.low, one.high
    return one if isinstance(one, Band) else (one,)


@dataclass(frozen=True)
class Axis:
    """The span of an axis and its ticks."""

    low: float
    high: float
    step: float
    """Between ticks; the decades of a logarithmic axis."""
    percent: bool = False
    is_log: bool = False

    @classmethod
    def covering(
        cls,
        values: Iterable[float | Interval | Band],
        low: float,
        high: float,
        step: float,
        *,
        percent: bool = False,
        most_steps: float = math.inf,
    ) -> Axis:
        """From low to high, and on in whole steps to all finite values and ends.

        A value that lies outside by less than a tenth of a step does not move an end. Steps are
        doubled until there are at most `most_steps`.
        """
        known = [end for one in values for end in _ends(one) if math.isfinite(end)]
        least, most = min([low, *known]), max([high, *known])
        while True:
            first, last = math.floor(least / step + 0.1), math.ceil(most / step - 0.1)
            if last - first <= most_steps:
                return cls(first * step, last * step, step, percent)
            step *= 2

    @classmethod
    def decades(cls, values: Sequence[float]) -> Axis:
        """A logarithmic axis from 1 to the next power of ten, with six ticks at most."""
        largest = max([2.0, *(value for value in values if math.isfinite(value))])
        count = max(1, math.ceil(math.log10(largest) - 1e-9))
        return cls(1.0, 10.0**count, max(1, math.ceil(count / 5)), is_log=True)

    def ticks(self, length: float) -> list[tuple[float, str]]:
        """Values with their labels, on an axis of that length."""
        if self.is_log:
            powers = range(0, round(math.log10(self.high)) + 1, int(self.step))
            return [(10.0**i, f"{10**i:,}") for i in powers]
        step = self.step
        while step * length < LEAST_BETWEEN * (self.high - self.low):
            step *= 2
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        values = [round(step * i, 9) for i in range(first, last + 1)]
        return [
            (value, minus(whole_percent(value) if self.percent else f"{value:g}"))
            for value in values
        ]


class Scale(NamedTuple):
    """An axis on paper; `end` lies above `start` for one that runs upwards."""

    axis: Axis
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value stands; what lies outside stands outside."""
        low, high = self.axis.low, self.axis.high
        if self.axis.is_log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)


def mark(x: float, y: float, style: Style, *, size: float = 4.5) -> str:
    """A square, a diamond, a disc or a ring."""
    if style.shape == "square":
        side = 1.75 * size
        return rect(x - side / 2, y - side / 2, side, side, fill=style.color)
    if style.shape == "diamond":
        return polygon(diamond(x, y, 1.25 * size), fill=style.color)
    if style.shape == "disc":
        return element("circle", cx=x, cy=y, r=size, fill=style.color)
    ring: dict[str, Attribute] = {"stroke": style.color, "stroke_width": 1.4}
    return element("circle", cx=x, cy=y, r=size - 0.7, fill=palette.PAPER, **ring)


def dot(scale: Scale, y: float, figure: Interval, style: Style, *, tooltip: str = "") -> str:
    """A figure on its interval, across; nothing where it is not known."""
    if not math.isfinite(figure.value):
        return ""
    parts = [title(tooltip)] if tooltip else []
    if math.isfinite(figure.low) and math.isfinite(figure.high):
        left, right = scale.at(figure.low), scale.at(figure.high)
        parts.append(line((left, y), (right, y), style.color, stroke_width=1.8))
        parts += [
            line((x, y - 3.5), (x, y + 3.5), style.color, stroke_width=1.4) for x in (left, right)
        ]
    return element("g", *parts, mark(scale.at(figure.value), y, style, size=3.8))


def band(scale: Scale, y: float, span: Band, *, height: float = 10.0, tooltip: str = "") -> str:
    """A control: grey from its smallest to its largest value, a stroke at the median if known."""
    if not (math.isfinite(span.low) and math.isfinite(span.high)):
        return ""
    left, right, top = scale.at(span.low), scale.at(span.high), y - height / 2
    parts = [title(tooltip)] if tooltip else []
    parts.append(rect(left, top, max(right - left, 2.0), height, rx=2, fill=palette.RULE))
    if math.isfinite(span.middle):
        middle = scale.at(span.middle)
        stroke = line((middle, top), (middle, top + height), palette.QUIET, stroke_width=1.2)
        parts.append(stroke)
    return element("g", *parts)


def rules(
    scale: Scale, start: float, end: float, *, strong: float | None = None, level: bool = False
) -> str:
    """Hairlines from start to end: upright with their values below, or level with them to the left;
    one at `strong` is dashed and darker."""

    def rule(value: float, color: str, **style: Attribute) -> str:
        at = scale.at(value)
        first, last = ((start, at), (end, at)) if level else ((at, start), (at, end))
        return line(first, last, color, **style)

    parts = []
    for value, words in scale.axis.ticks(abs(scale.end - scale.start)):
        parts.append(rule(value, palette.RULE, stroke_width=0.8))
        at = scale.at(value)
        parts.append(
            quiet(words, start - 6, at + 3.5, text_anchor="end")
            if level
            else quiet(words, at, end + 12, text_anchor="middle", font_size=SMALL)
        )
    if strong is not None:
        parts.append(rule(strong, palette.QUIET, stroke_dasharray="3 3"))
    return "".join(parts)


def ribbon(x: Scale, y: Scale, edges: Sequence[tuple[float, float, float]], color: str) -> str:
    """A pale area between (x, low, high)."""
    known = [edge for edge in edges if math.isfinite(edge[1]) and math.isfinite(edge[2])]
    if len(known) < 2:
        return ""
    there = [(x.at(at), y.at(low)) for at, low, _ in known]
    back = [(x.at(at), y.at(high)) for at, _, high in reversed(known)]
    return polygon([*there, *back], fill=color, fill_opacity=0.12)
