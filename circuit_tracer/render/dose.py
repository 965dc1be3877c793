"""The dose curve as an SVG figure: what a feature does above, what it costs below.

Two panels share their x axis: the target's probability (as the next token, and in the mean over
the new tokens), and the perplexity of the new text under the unchanged model, on a logarithmic
axis. A dotted line in each is the model with nothing changed. The same bytes for the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circuit_tracer.render import palette
from circuit_tracer.render.markup import element, figure, text, title
from circuit_tracer.render.text import number, percent, printable

WIDTH, PANEL, GAP = 520.0, 150.0, 34.0
LEFT, TOP, RIGHT, BOTTOM = 62.0, 50.0, 24.0, 46.0


@dataclass(frozen=True)
class Point:
    """One dose."""

    strength: float
    first: float
    """Probability of the target as the next token; NaN if none is followed."""
    mean: float
    """Over the new tokens."""
    perplexity: float


@dataclass(frozen=True)
class _Panel:
    """One pair of axes."""

    top: float
    y: Callable[[float], float]
    """Value -> how far up, in 0..1."""
    ticks: Sequence[tuple[float, str]]


def dose_svg(points: Sequence[Point], before: Point, *, title: str, unit: str, target: str) -> str:
    """The figure for rising doses; `before` is the model with nothing changed."""
    strengths = [point.strength for point in points]
    low, high = min(0.0, *strengths), max(0.0, *strengths)
    span = (high - low) or 1.0

    def x(strength: float) -> float:
        return LEFT + (strength - low) / span * (WIDTH - LEFT - RIGHT)

    height = TOP + 2 * PANEL + GAP + BOTTOM
    upper = _Panel(TOP, lambda p: p, [(p, percent(p)) for p in (0.0, 0.25, 0.5, 0.75, 1.0)])
    lower = _perplexities([*points, before], TOP + PANEL + GAP)
    first = [(x(p.strength), p.first, p) for p in points]
    mean = [(x(p.strength), p.mean, p) for p in points]
    cost = [(x(p.strength), p.perplexity, p) for p in points]
    name = target or "target"
    parts = [
        _title(title),
        element("rect", width=WIDTH, height=height, fill=palette.PAPER),
        text(_cut(title), LEFT, 20, font_size=13, font_weight="bold", fill=palette.INK),
        *_axes(upper, f"probability of {name}"),
        *_axes(lower, "perplexity of the new text"),
        _level(upper, before.first),
        _level(lower, before.perplexity),
        *_line(upper, first, palette.POSITIVE, f"next token {name}", ""),
        *_line(upper, mean, palette.FEATURE, f"mean {name}", "5 3"),
        *_line(lower, cost, palette.NEGATIVE, "perplexity", ""),
        *_legend(name),
        *_x_axis(x, sorted({0.0, *strengths}), height, unit),
    ]
    document = element(
        "svg",
        *(f"\n{part}" for part in parts if part),
        "\n",
        xmlns="http://www.w3.org/2000/svg",
        width=figure(WIDTH),
        height=figure(height),
        viewBox=f"0 0 {figure(WIDTH)} {figure(height)}",
        font_family=palette.FONT,
        font_size=11,
    )
    return document + "\n"


def _title(words: str) -> str:
    return title(words)


def _cut(words: str) -> str:
    shown = printable(words)
    return shown if len(shown) <= 62 else f"{shown[:61]}…"


def _perplexities(points: Sequence[Point], top: float) -> _Panel:
    """A logarithmic axis from 1 to the next power of ten."""
    known = [p.perplexity for p in points if math.isfinite(p.perplexity)]
    decades = max(1, math.ceil(math.log10(max([*known, 2.0])) - 1e-9))
    step = max(1, math.ceil(decades / 5))
    ticks = [(10.0**i, f"{10**i:,}") for i in range(0, decades + 1, step)]
    return _Panel(top, lambda value: math.log10(max(value, 1.0)) / decades, ticks)


def _place(panel: _Panel, value: float) -> float:
    return panel.top + PANEL * (1 - min(max(panel.y(value), 0.0), 1.0))


def _axes(panel: _Panel, name: str) -> list[str]:
    right = WIDTH - RIGHT
    parts = [text(name, LEFT, panel.top - 7, fill=palette.QUIET)]
    for value, label in panel.ticks:
        y = _place(panel, value)
        parts.append(element("line", x1=LEFT, y1=y, x2=right, y2=y, stroke=palette.RULE))
        parts.append(text(label, LEFT - 7, y + 4, text_anchor="end", fill=palette.QUIET))
    return parts


def _level(panel: _Panel, value: float) -> str:
    """The model with nothing changed."""
    if not math.isfinite(value):
        return ""
    y, right = _place(panel, value), WIDTH - RIGHT
    line = element(
        "line", x1=LEFT, y1=y, x2=right, y2=y, stroke=palette.QUIET, stroke_dasharray="2 3"
    )
    return element("g", title(f"nothing changed: {number(value)}"), line)


def _line(
    panel: _Panel,
    points: Sequence[tuple[float, float, Point]],
    color: str,
    name: str,
    dashes: str,
) -> list[str]:
    known = [(x, _place(panel, value), value, p) for x, value, p in points if math.isfinite(value)]
    if not known:
        return []
    path = " ".join(f"{figure(x)},{figure(y)}" for x, y, _, _ in known)
    style = {"stroke_dasharray": dashes} if dashes else {}
    line = element("polyline", points=path, fill="none", stroke=color, stroke_width=1.8, **style)
    dots = [
        element(
            "circle",
            title(f"strength {p.strength:g}: {name} {number(value)}"),
            cx=x,
            cy=y,
            r=3,
            fill=color,
        )
        for x, y, value, p in known
    ]
    return [line, *dots]


def _legend(name: str) -> list[str]:
    """Above the upper panel, from the right."""
    parts = []
    entries = (("next token", palette.POSITIVE, ""), ("mean of new tokens", palette.FEATURE, "5 3"))
    for i, (label, color, dashes) in enumerate(entries):
        x = WIDTH - RIGHT - 230 + 95 * i
        style = {"stroke_dasharray": dashes} if dashes else {}
        parts.append(
            element(
                "line",
                x1=x,
                y1=TOP - 11,
                x2=x + 20,
                y2=TOP - 11,
                stroke=color,
                stroke_width=1.8,
                **style,
            )
        )
        parts.append(text(label, x + 25, TOP - 7, fill=palette.QUIET))
    return parts


def _x_axis(
    x: Callable[[float], float], strengths: Sequence[float], height: float, unit: str
) -> list[str]:
    """Labels where there is room, and the unit."""
    parts, last = [], -math.inf
    for strength in strengths:
        if x(strength) - last >= 26:
            last = x(strength)
            label = f"{strength:g}"
            y = height - BOTTOM + 16
            parts.append(text(label, last, y, text_anchor="middle", fill=palette.QUIET))
    middle = (LEFT + WIDTH - RIGHT) / 2
    end = text(
        f"strength ({unit}; dotted: nothing changed)",
        middle,
        height - 12,
        text_anchor="middle",
        fill=palette.INK,
    )
    return [*parts, end]
