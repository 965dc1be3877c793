"""How numbers are written, the same everywhere: terminal, figures, reports.

The viewer has the same forms in numbers.js.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circuit_tracer.graphs.bootstrap import Interval

UNKNOWN = "?"
"""What could not be measured."""


def percent(share: float, *, whole_from: float = 0.0995) -> str:
    """A share of 1 as a percentage: "12 %", "1.4 %", "0.03 %"; never "0 %" for what is not 0.

    Shares of `whole_from` and more are written without decimals.
    """
    value = 100 * share
    if not math.isfinite(value):
        return UNKNOWN
    if abs(share) >= whole_from or value == 0:
        return minus(f"{value:z.0f} %")
    if abs(value) >= 0.095:
        return minus(f"{value:.1f} %")
    small = f"{value:.2f} %" if abs(value) >= 0.005 else "<0.01 %" if value > 0 else ">-0.01 %"
    return minus(small)


def whole_percent(share: float) -> str:
    """A share of 1 as a percentage without decimals: "12 %"."""
    return percent(share, whole_from=0.0)


def signed_percent(share: float) -> str:
    """ "+12 %", "−1.4 %"."""
    return f"{'+' if share >= 0 else ''}{percent(share)}"


def number(value: float) -> str:
    """A number with three significant digits and no exponent for everyday sizes."""
    if math.isnan(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if 0.001 <= abs(value) < 1_000_000:
        digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
        return minus(f"{value:,.{digits}f}")
    return f"{value:.1e}"


def decimals(value: float, *, sign: bool = False) -> str:
    """ "0.72"; with its sign "+0.72", "−0.72"."""
    if math.isnan(value):
        return UNKNOWN
    return minus(f"{value:+z.2f}").replace("+0.00", "0.00") if sign else f"{value:.2f}"


def with_interval(figure: Interval, *, percent: bool = False, sign: bool = False) -> str:
    """ "0.83 [0.79, 0.88]", "83 % [79, 88]"."""
    if not math.isfinite(figure.value):
        return UNKNOWN
    form = "+z.2f" if sign else "z.2f"

    def written(value: float) -> str:
        whole = str(round(100 * value)) if math.isfinite(value) else UNKNOWN
        return whole if percent else f"{value:{form}}".replace("+0.00", "0.00")

    unit = " %" if percent else ""
    ends = f" [{written(figure.low)}, {written(figure.high)}]" if math.isfinite(figure.low) else ""
    return minus(f"{written(figure.value)}{unit}{ends}")


def minus(words: str) -> str:
    """Numbers with a true minus sign."""
    return words.replace("-", "−")
