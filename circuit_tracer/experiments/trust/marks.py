"""What speaks for a graph and what against: marks, and the bounds they go by (README, "Trust")."""

from __future__ import annotations

import math

from circuit_tracer.render.trust_panel import Mark

KNOCK_ON = (0.72, 0.5)
SUFFICIENT = (0.8, 0.5)
REPLACED = (0.8, 0.5)
HIDDEN = (0.1, 0.5)
"""Good from, bad below (or beyond)."""
RANKED = 0.72
FREE = 0.5
GATES = 0.8


def grade(value: float, good: float, bad: float) -> Mark:
    """By two bounds, whichever way round they go; what is not known speaks against nothing."""
    if math.isnan(value):
        return "~"
    if good > bad:
        return "+" if value >= good else "~" if value >= bad else "-"
    return "+" if value <= good else "~" if value <= bad else "-"


def at_least(value: float, good: float) -> Mark:
    """Good from a bound on, and never bad."""
    return "+" if value >= good else "~"
