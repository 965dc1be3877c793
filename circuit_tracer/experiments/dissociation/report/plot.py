"""What the figures of `dissociate` are made of: scales, dots with intervals, pages.

A measured figure is a dot on its 95 % interval, a control a grey band from its smallest to its
largest value with a stroke at the median. Every mark says its numbers in its `<title>`, and beside
it in the picture. Routes keep their colour and shape in all figures: fact a square, judgement a
diamond, shared a disc.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.render import palette
from circuit_tracer.render.legend import wrap
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.svg import MARGIN, document

SIZE = 10.0
SMALL = 9.0
HEADING = 11.0
TITLE = 15.0
ROW = 22.0
"""Height of one row of a panel."""
COLORS = {
    "fact": palette.POSITIVE,
    "judgement": palette.NEGATIVE,
    "shared": "#3d4148",
    "random": palette.ERROR,
}
UNKNOWN = Interval(math.nan, math.nan, math.nan)
"""What was not measured."""
SETS = {"F": "fact", "V": "judgement", "S": "shared"}


class Band(NamedTuple):
    """What a control came out as."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Scale:
    """A horizontal axis."""

    left: float
    right: float
    low: float
    high: float

    def at(self, value: float) -> float:
        """Where a value stands; what lies outside stands outside."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.left + share * (self.right - self.left)


def ends(*intervals: Interval) -> list[float]:
    """All that an axis has to hold."""
    return [value for one in intervals for value in (one.value, one.low, one.high)]


def shown(one: Interval, *, percent: bool = False, sign: bool = False) -> str:
    """ "0.83 [0.79, 0.88]", "83 % [79, 88]", "?" for what is not known."""
    if not math.isfinite(one.value):
        return "?"
    if percent:
        value, ends_ = f"{_whole(one.value)} %", [_whole(x) for x in (one.low, one.high)]
    else:
        form = "+.2f" if sign else ".2f"
        value, ends_ = f"{one.value:{form}}", [f"{x:{form}}" for x in (one.low, one.high)]
    if not math.isfinite(one.low):
        return _minus(value)
    return _minus(f"{value} [{ends_[0]}, {ends_[1]}]")


def _whole(share: float) -> str:
    """A percentage without "-0"."""
    return str(round(100 * share)) if math.isfinite(share) else "?"


def _minus(words: str) -> str:
    return words.replace("-0.00", "0.00").replace("+0.00", "0.00").replace("-", "−")


def mark(x: float, y: float, kind: str, *, size: float = 4.5) -> str:
    """The sign of a route: a square, a diamond or a disc in its colour; random: a hollow disc."""
    color = COLORS[kind]
    if kind == "fact":
        side = 1.75 * size
        return element("rect", x=x - side / 2, y=y - side / 2, width=side, height=side, fill=color)
    if kind == "judgement":
        reach = 1.25 * size
        points = ((x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y))
        return element(
            "polygon", points=" ".join(f"{figure(a)},{figure(b)}" for a, b in points), fill=color
        )
    if kind == "shared":
        return element("circle", cx=x, cy=y, r=size, fill=color)
    return element(
        "circle",
        cx=x,
        cy=y,
        r=size - 0.7,
        fill=palette.PAPER,
        stroke=palette.QUIET,
        stroke_width=1.4,
    )


def dot(scale: Scale, y: float, one: Interval, kind: str, *, tooltip: str = "") -> str:
    """A figure on its interval; nothing where it is not known."""
    if not math.isfinite(one.value):
        return ""
    color = palette.QUIET if kind == "random" else COLORS[kind]
    parts = [title(tooltip)] if tooltip else []
    if math.isfinite(one.low) and math.isfinite(one.high):
        left, right = scale.at(one.low), scale.at(one.high)
        parts.append(element("line", x1=left, y1=y, x2=right, y2=y, stroke=color, stroke_width=1.8))
        parts += [
            element("line", x1=x, y1=y - 3.5, x2=x, y2=y + 3.5, stroke=color, stroke_width=1.4)
            for x in (left, right)
        ]
    parts.append(mark(scale.at(one.value), y, kind, size=3.8))
    return element("g", *parts)


def band(scale: Scale, y: float, one: Band, *, height: float = 10.0, tooltip: str = "") -> str:
    """A control: grey from its smallest to its largest value, a stroke at the median."""
    if not math.isfinite(one.middle):
        return ""
    left, right, middle = scale.at(one.low), scale.at(one.high), scale.at(one.middle)
    width = max(right - left, 2.0)
    top = y - height / 2
    parts = [title(tooltip)] if tooltip else []
    parts.append(
        element("rect", x=left, y=top, width=width, height=height, rx=2, fill=palette.RULE)
    )
    parts.append(
        element(
            "line",
            x1=middle,
            y1=top,
            x2=middle,
            y2=top + height,
            stroke=palette.QUIET,
            stroke_width=1.2,
        )
    )
    return element("g", *parts)


def rules(
    scale: Scale,
    top: float,
    bottom: float,
    ticks: Sequence[float],
    *,
    percent: bool = False,
    strong: float | None = None,
) -> str:
    """Hairlines with their values below; the one at `strong` is drawn dashed and darker."""
    parts = []
    for value in ticks:
        x = scale.at(value)
        is_strong = strong is not None and abs(value - strong) < 1e-9
        style = {"stroke_dasharray": "3 3"} if is_strong else {}
        parts.append(
            element(
                "line",
                x1=x,
                y1=top,
                x2=x,
                y2=bottom,
                stroke=palette.QUIET if is_strong else palette.RULE,
                stroke_width=1.0 if is_strong else 0.8,
                **style,
            )
        )
        label = f"{100 * value:.0f} %" if percent else f"{value:g}"
        parts.append(
            text(
                _minus(label),
                x,
                bottom + 12,
                font_size=SMALL,
                text_anchor="middle",
                fill=palette.QUIET,
            )
        )
    return "".join(parts)


def label(words: str, x: float, y: float, *, quiet: bool = False, **more: str | float) -> str:
    """Plain text of the usual size."""
    return text(words, x, y, fill=palette.QUIET if quiet else palette.INK, **more)


def heading(words: str, x: float, y: float, color: str = palette.INK) -> str:
    """A panel's name."""
    return text(words, x, y, font_size=HEADING, font_weight="bold", fill=color)


def paragraph(
    words: str, x: float, y: float, width: float, *, size: float = SMALL, color: str = palette.INK
) -> tuple[str, float]:
    """The words in lines, and the y behind them."""
    parts = []
    for line in wrap(words, size, width):
        parts.append(text(line, x, y, font_size=size, fill=color))
        y += size + 4
    return "".join(parts), y


def page(name: str, parts: Sequence[str], width: float, height: float) -> str:
    """A whole figure; its parts stand in a box of width x height inside the margins."""
    back = element("rect", width=width + 2 * MARGIN, height=height + 2 * MARGIN, fill=palette.PAPER)
    inside = element(
        "g",
        *(f"\n{part}" for part in parts if part),
        transform=f"translate({figure(MARGIN)} {figure(MARGIN)})",
        font_size=SIZE,
    )
    return document(width, height, [title(name), back, inside])


def page_title(words: str, below: str, width: float) -> tuple[list[str], float]:
    """Title and the sentence that says what is seen; the y where panels may start."""
    parts = [text(words, 0, 14, font_size=TITLE, font_weight="bold", fill=palette.INK)]
    lines, y = paragraph(below, 0, 31, width, size=SIZE, color=palette.QUIET)
    return [*parts, lines], y + 6
