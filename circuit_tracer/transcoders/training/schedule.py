"""Learning rate and penalty weight over a run: rise, stay, fall.

Both are functions of the share of tokens done, not of steps, so that they are the same whatever
the batches' exact sizes are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def learning_rate_factor(done: float, *, warm_up: float, decay_from: float) -> float:
    """Linear rise to 1 until `warm_up`, flat, linear fall from `decay_from` to 0 at the end.

    `done` is the share of the run that is over, 0 to 1.
    """
    if done < warm_up:
        return max(done / warm_up, 1e-3)
    if done <= decay_from:
        return 1.0
    return max((1.0 - done) / (1.0 - decay_from), 0.0)


def rise(done: float, *, until: float) -> float:
    """Linear rise to 1 until `until`, 1 from there on."""
    return 1.0 if done >= until else done / until


class SparsityController:
    """Steers a penalty's weight, one per layer, so that L0 glides to its target.

    The goal of a moment lies between the L0 at the start and the target, geometrically, and is
    reached at `until` of the run. Proportional-integral control on the logarithm of the weight:
    a layer with too many active features sees its weight grow, one with too few sees it shrink.
    Without a target the weight stays where it was set and rises from zero until `until`.
    """

    integral = 0.1
    proportional = 2.0

    def __init__(self, weights: list[float], target: float | None, *, until: float) -> None:
        self.base = list(weights)
        """Integral part of each layer's weight."""
        self.target = target
        self.until = until
        self.first: list[float] = []
        """L0 of each layer at the first step."""
        self.error = [0.0] * len(weights)
        """Logarithm of L0 over its present goal."""

    def weights(self, done: float) -> list[float]:
        """The penalty's weights when `done` (0 to 1) of the run is over."""
        if self.target is None:
            return [base * rise(done, until=self.until) for base in self.base]
        pairs = zip(self.base, self.error, strict=True)
        return [base * math.exp(self.proportional * error) for base, error in pairs]

    def update(self, l0: list[float], done: float) -> None:
        """Take one step after the L0 of every layer is known; nothing without a target."""
        if self.target is None:
            return
        self.first = self.first or list(l0)
        share = rise(done, until=self.until)
        for layer, count in enumerate(l0):
            start = max(self.first[layer], 1e-3)
            goal = start ** (1 - share) * max(self.target, 1e-3) ** share
            error = math.log(max(count, 1e-3) / goal)
            self.error[layer] = min(max(error, -1.0), 1.0)
            grown = self.base[layer] * math.exp(self.integral * self.error[layer])
            self.base[layer] = min(max(grown, 1e-9), 1e3)

    def state(self) -> dict[str, list[float]]:
        """For a checkpoint."""
        return {"base": list(self.base), "first": list(self.first), "error": list(self.error)}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """From a checkpoint."""
        self.base, self.first = list(state["base"]), list(state["first"])
        self.error = list(state["error"])
