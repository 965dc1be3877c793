"""What each token does to a target, along all paths and directly (method.md section 11)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenTotals:
    """Signed effects on one target, in units of its value; everything frozen as in the graph."""

    total: tuple[float, ...] = field(repr=False)
    """By position: along all paths at once, through features and past them."""
    direct: tuple[float, ...] = field(repr=False)
    """By position: the token's own edge, past all features."""
    error: float
    """All errors together, along all paths; 0 for neurons, which have none."""
    constant: float
    """What comes from no node: biases, and what is zeroed at BOS, along all paths."""

    @property
    def value(self) -> float:
        """Tokens, errors and constant together: the target's value."""
        return sum(self.total) + self.error + self.constant

    @property
    def shares(self) -> tuple[float, ...]:
        """By position |total| over the sum of all tokens' (0..1); 0 where all are 0."""
        whole = sum(map(abs, self.total))
        return tuple(abs(one) / whole if whole else 0.0 for one in self.total)
