"""The dose curve as an SVG figure: what a feature does above, what it costs below.

Two panels share their x axis: the target's probability (as the next token, and in the mean over
the new tokens), and the perplexity of the new text under the unchanged model, on a logarithmic
axis. A dotted line in each is the model with nothing changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from circuit_tracer.graphs.bootstrap import Interval
from circuit_tracer.graphs.token_text import shown
from circuit_tracer.render import palette
from circuit_tracer.render.chart import Line, LinePanel, Sheet
from circuit_tracer.render.chart_marks import Axis
from circuit_tracer.render.svg_page import MARGIN
from circuit_tracer.render.text import printable

if TYPE_CHECKING:
    from circuit_tracer.interventions.steering import Dose, Steered

WIDTH = 600.0 - 2 * MARGIN
LEFT = 62.0
UNITS = {"of-max": "times maximum", "value": "activation", "times": "times natural"}
"""What strengths count in, in words."""
PROBABILITIES = Axis(0.0, 1.0, 0.25, percent=True)


def dose_svg(before: Dose, doses: Sequence[Dose], *, title: str, unit: str, target: str) -> str:
    """The figure for rising doses; `before` is the model with nothing changed."""
    labels = {x: f"{x:g}" for x in sorted({0.0, *(dose.strength for dose in doses)})}
    x_name = f"strength ({unit}; dotted: nothing changed)"
    sheet = Sheet(printable(title), width=WIDTH)
    followed = [
        _line("next token", [(dose.strength, dose.first) for dose in doses], palette.POSITIVE),
        _line("new tokens", [(dose.strength, dose.mean) for dose in doses], palette.FEATURE, "5 3"),
    ]
    perplexities = [(dose.strength, dose.text.perplexity) for dose in doses]
    costs = [_line("perplexity", perplexities, palette.NEGATIVE)]
    natural = before.text.perplexity
    decades = Axis.decades([*(perplexity for _, perplexity in perplexities), natural])
    name = f"Probability of {printable(target) or 'the target'}"
    sheet.lines(
        LinePanel(name, followed, x_name, labels, PROBABILITIES, level=before.first),
        LinePanel("Perplexity of the new text", costs, x_name, labels, decades, level=natural),
        across=1,
        left=LEFT,
    )
    return sheet.svg(title)


def steering_svg(steered: Steered) -> str:
    """The curve of the first prompt that was steered."""
    names = ", ".join(f"{one.name} {one.label}".strip() for one in steered.features)
    before, *doses = steered.prompts[0][1].curve
    return dose_svg(
        before,
        doses,
        title=f"Holding {names}",
        unit=UNITS[steered.unit],
        target=shown(steered.target),
    )


def _line(name: str, points: Sequence[tuple[float, float]], color: str, dashes: str = "") -> Line:
    values = [(strength, Interval.bare(value)) for strength, value in points]
    return Line(name, values, color, dashes)
